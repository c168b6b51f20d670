//! What a stream can be asked to do. The same operations are queued in streams and kept as the nodes of graphs.

use super::abi::{Handle, HostFn, StreamCallback, call_host, call_stream_callback};
use super::context::Context;
use super::copy::{Copy, Fill};
use super::error::{Code, Res};
use super::event::{Event, Mark};
use super::graph::Graph;
use super::graph_exec::Plan;
use super::launch::Launch;
use super::layouts::BatchMemOp;
use super::queue::Completion;
use super::table::lock;
use super::{memory, stream_values};
use crate::machine::Dependence;
use std::sync::Arc;

/// An operation with everything it needs.
#[derive(Clone)]
pub enum Op {
    Kernel(Arc<Launch>),
    Copy(Box<Copy>),
    Fill(Fill),
    Host {
        function: HostFn,
        data: usize,
    },
    Callback {
        callback: StreamCallback,
        stream: Handle,
        data: usize,
    },
    Empty,
    /// A child node with its graph.
    Child(Arc<Graph>),
    /// The launch of an executable graph.
    Plan(Arc<Plan>),
    Record(Arc<Event>),
    Wait(Arc<Event>),
    /// Memory of a graph becomes valid: `bytes` at `address`.
    Alloc {
        address: u64,
        bytes: usize,
    },
    Free {
        address: u64,
    },
    Values(Arc<Vec<BatchMemOp>>),
}

impl Op {
    /// `CUgraphNodeType`
    pub fn node_type(&self) -> u32 {
        match self {
            Op::Kernel(_) => 0,
            Op::Copy(_) => 1,
            Op::Fill(_) => 2,
            Op::Host { .. } | Op::Callback { .. } => 3,
            Op::Child(_) | Op::Plan(_) => 4,
            Op::Empty => 5,
            Op::Wait(_) => 6,
            Op::Record(_) => 7,
            Op::Alloc { .. } => 10,
            Op::Free { .. } => 11,
            Op::Values(_) => 12,
        }
    }

    /// Does it, on the calling thread, to its end.
    pub fn execute(&self, context: &Arc<Context>) -> Res {
        match self {
            Op::Kernel(launch) => launch.execute(context, Dependence::default()),
            Op::Copy(copy) => copy.execute(),
            Op::Fill(fill) => fill.execute(),
            Op::Host { function, data } => {
                call_host(*function, *data);
                Ok(())
            }
            Op::Callback { callback, stream, data } => {
                call_stream_callback(*callback, *stream, Code::Success as u32, *data);
                Ok(())
            }
            Op::Empty => Ok(()),
            Op::Child(graph) => Plan::build(graph)?.execute(context),
            Op::Plan(plan) => plan.execute(context),
            Op::Record(event) => {
                *lock(&event.mark) = Mark::Work(Completion::ended_now());
                Ok(())
            }
            Op::Wait(event) => {
                if let Mark::Work(completion) = event.mark() {
                    completion.block();
                }
                Ok(())
            }
            Op::Alloc { address, bytes } => memory::graph_alloc(*address, *bytes),
            Op::Free { address } => memory::free_in_order(*address),
            Op::Values(ops) => stream_values::execute(ops),
        }
    }
}
