//! Graphs: nodes, dependencies, copies.

use super::abi::Handle;
use super::error::{Code, Error, Res};
use super::memory;
use super::ops::Op;
use super::table::{Table, lock};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

pub static GRAPHS: Table<Graph> = Table::new(11);
/// Every node of every graph, with the graph that it is in.
pub static NODES: Table<NodeEntry> = Table::new(12);

/// Where a node is.
pub struct NodeEntry {
    pub graph: Handle,
    pub id: u32,
}

/// `CUgraphEdgeData`: ports and type of a dependency.
pub type EdgeData = [u8; 8];

/// A node.
#[derive(Clone)]
pub struct Node {
    pub op: Op,
    /// What it follows.
    pub dependencies: Vec<(Handle, EdgeData)>,
}

/// Memory that allocation nodes of a graph stand for; it goes when the graph and all that was made from it are gone.
#[derive(Default)]
pub struct GraphMemory {
    addresses: Mutex<Vec<u64>>,
}

impl GraphMemory {
    pub fn add(&self, address: u64) {
        lock(&self.addresses).push(address);
    }
}

impl Drop for GraphMemory {
    fn drop(&mut self) {
        for address in lock(&self.addresses).drain(..) {
            if let Some(allocation) = memory::allocation_from(address) {
                // A context that is gone has released it already.
                let _ = memory::release(&allocation);
            }
        }
    }
}

/// A graph.
pub struct Graph {
    pub handle: Handle,
    pub id: u32,
    /// By handle, which is the order of their making.
    pub nodes: Mutex<BTreeMap<Handle, Node>>,
    pub memory: Arc<GraphMemory>,
    /// For a copy: the node here for every node of the original.
    pub originals: BTreeMap<Handle, Handle>,
    /// User objects and how often the graph holds each.
    pub objects: Mutex<BTreeMap<Handle, u32>>,
}

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

impl Graph {
    /// An empty graph.
    pub fn create() -> Arc<Graph> {
        GRAPHS.add(|handle| Graph {
            handle,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            nodes: Mutex::default(),
            memory: Arc::default(),
            originals: BTreeMap::new(),
            objects: Mutex::default(),
        })
    }

    /// A copy with nodes of its own; child graphs are copied with it.
    pub fn copy(&self) -> Arc<Graph> {
        let nodes = lock(&self.nodes).clone();
        let mut originals = BTreeMap::new();
        let handle = GRAPHS.reserve();
        for (index, original) in nodes.keys().enumerate() {
            let copy = NODES.add(|node| {
                originals.insert(*original, node);
                NodeEntry { graph: handle, id: index as u32 }
            });
            debug_assert_eq!(copy.graph, handle);
        }
        let translated = nodes.iter().map(|(original, node)| {
            let op = match &node.op {
                Op::Child(child) => Op::Child(child.copy()),
                op => op.clone(),
            };
            let dependencies = node.dependencies.iter().map(|(from, data)| (originals[from], *data)).collect();
            (originals[original], Node { op, dependencies })
        });
        let graph = Arc::new(Graph {
            handle,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            nodes: Mutex::new(translated.collect()),
            memory: self.memory.clone(),
            originals,
            objects: Mutex::default(),
        });
        GRAPHS.insert(handle, graph.clone());
        graph
    }

    /// Adds a node behind `dependencies`, all of this graph and no two the same.
    pub fn add(&self, dependencies: &[(Handle, EdgeData)], op: Op) -> Res<Handle> {
        let mut nodes = lock(&self.nodes);
        for (index, (dependency, _)) in dependencies.iter().enumerate() {
            if !nodes.contains_key(dependency) {
                return Err(Error::invalid("a dependency is not a node of this graph"));
            }
            if dependencies[..index].iter().any(|(other, _)| other == dependency) {
                return Err(Error::invalid("a dependency is given twice"));
            }
        }
        if let Op::Alloc { address, .. } = &op {
            self.memory.add(*address);
        }
        let handle = NODES.reserve();
        NODES.insert(handle, Arc::new(NodeEntry { graph: self.handle, id: nodes.len() as u32 }));
        nodes.insert(handle, Node { op, dependencies: dependencies.to_vec() });
        Ok(handle)
    }

    /// The nodes with the given dependency.
    pub fn dependents(&self, of: Handle) -> Vec<(Handle, EdgeData)> {
        let nodes = lock(&self.nodes);
        let edges =
            nodes.iter().flat_map(|(to, node)| node.dependencies.iter().map(move |(from, data)| (*from, *to, *data)));
        edges.filter(|edge| edge.0 == of).map(|(_, to, data)| (to, data)).collect()
    }

    /// Whether every node of `wanted` is one of `from` or lies before one of them.
    pub fn all_before(&self, wanted: &[Handle], from: &[Handle]) -> bool {
        let nodes = lock(&self.nodes);
        let mut seen = std::collections::BTreeSet::new();
        let mut left = from.to_vec();
        while let Some(node) = left.pop() {
            if seen.insert(node)
                && let Some(node) = nodes.get(&node)
            {
                left.extend(node.dependencies.iter().map(|(from, _)| *from));
            }
        }
        wanted.iter().all(|node| seen.contains(node))
    }

    /// Takes the graph and its nodes out of the tables; what was made from it goes on.
    pub fn destroy(&self) {
        GRAPHS.remove(self.handle);
        for (handle, node) in std::mem::take(&mut *lock(&self.nodes)) {
            NODES.remove(handle);
            if let Op::Child(child) = node.op {
                child.destroy();
            }
        }
        super::user_object::release_all(std::mem::take(&mut *lock(&self.objects)));
    }
}

/// A live graph by handle. Wrong graph handles are wrong values, as the API has it.
pub fn graph(handle: Handle) -> Res<Arc<Graph>> {
    super::state::driver()?;
    GRAPHS.get(handle).ok_or_else(|| Error::invalid("no such graph"))
}

/// The graph that a node is in.
pub fn graph_of(node: Handle) -> Res<Arc<Graph>> {
    super::state::driver()?;
    let entry = NODES.get(node).ok_or_else(|| Error::invalid("no such graph node"))?;
    GRAPHS.get(entry.graph).ok_or_else(|| Code::InvalidValue.into())
}

/// The operation of a node.
pub fn op_of(node: Handle) -> Res<Op> {
    let graph = graph_of(node)?;
    let nodes = lock(&graph.nodes);
    nodes.get(&node).map(|node| node.op.clone()).ok_or_else(|| Code::InvalidValue.into())
}

/// Replaces the operation of a node by one of the same type.
pub fn set_op(node: Handle, op: Op) -> Res {
    let graph = graph_of(node)?;
    let mut nodes = lock(&graph.nodes);
    let node = nodes.get_mut(&node).ok_or(Code::InvalidValue)?;
    if node.op.node_type() != op.node_type() {
        return Err(Error::invalid("the node is of another type"));
    }
    node.op = op;
    Ok(())
}
