//! Executable graphs: a plan of steps, launched, relaunched and updated.

use super::abi::Handle;
use super::config;
use super::context::Context;
use super::error::{Code, Error, Res};
use super::graph::{Graph, GraphMemory};
use super::ops::Op;
use super::queue::{Completion, as_node, mix};
use super::table::{Table, lock};
use crate::machine::GraphNode;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub static EXECS: Table<Exec> = Table::new(13);

/// One node of a plan.
#[derive(Clone)]
pub struct Step {
    /// The node of the graph that it was made from.
    pub node: Handle,
    pub op: Op,
    /// Indices of the steps that it follows.
    pub after: Vec<usize>,
    pub enabled: bool,
}

/// The steps of an executable graph, in an order that respects their dependencies.
#[derive(Clone)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Keeps the memory of allocation nodes.
    _memory: Vec<Arc<GraphMemory>>,
}

/// Numbers of nodes.
#[derive(Clone, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn insert(&mut self, index: u32) {
        let word = index as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (index % 64);
    }

    fn join(&mut self, other: &Bits) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(word, more)| *word |= more);
    }

    fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

/// One launch of a plan.
struct Run {
    seed: u64,
    /// Nodes so far, those of child graphs too.
    started: u32,
}

impl Step {
    /// Runs behind the nodes `over`; those that are over then.
    fn run(&self, context: &Arc<Context>, run: &mut Run, mut over: Bits) -> Res<Bits> {
        match &self.op {
            Op::Plan(plan) => plan.run(context, run, &over),
            Op::Child(graph) => Plan::build(graph)?.run(context, run, &over),
            op => {
                let index = run.started;
                let node = GraphNode { index, after: Arc::new(over.0.clone()), beside: over.len() < index };
                run.started += 1;
                as_node(node, || op.execute(context))?;
                over.insert(index);
                Ok(over)
            }
        }
    }
}

impl Plan {
    /// Orders a graph's nodes; an error where they wait for each other in a circle.
    pub fn build(graph: &Graph) -> Res<Plan> {
        let nodes = lock(&graph.nodes).clone();
        let mut index = BTreeMap::new();
        let mut steps: Vec<Step> = Vec::new();
        let mut memory = vec![graph.memory.clone()];
        while steps.len() < nodes.len() {
            let before = steps.len();
            for (handle, node) in &nodes {
                let ready =
                    !index.contains_key(handle) && node.dependencies.iter().all(|(from, _)| index.contains_key(from));
                if !ready {
                    continue;
                }
                let op = match &node.op {
                    Op::Child(child) => {
                        memory.push(child.memory.clone());
                        Op::Plan(Arc::new(Plan::build(child)?))
                    }
                    op => op.clone(),
                };
                let after = node.dependencies.iter().map(|(from, _)| index[from]).collect();
                index.insert(*handle, steps.len());
                steps.push(Step { node: *handle, op, after, enabled: true });
            }
            if steps.len() == before {
                return Err(Error::invalid("the graph has nodes that wait for each other in a circle"));
            }
        }
        Ok(Plan { steps, _memory: memory })
    }

    /// Runs every step on this thread. Steps that are not ordered may run in any order: the schedule's seed picks.
    pub fn execute(&self, context: &Arc<Context>) -> Res {
        let mut run = Run { seed: config::read(|config| config.schedule.seed), started: 0 };
        self.run(context, &mut run, &Bits::default()).map(|_| ())
    }

    /// Runs the steps behind the nodes `before`; the nodes that are over then.
    fn run(&self, context: &Arc<Context>, run: &mut Run, before: &Bits) -> Res<Bits> {
        let mut left: Vec<usize> = (0..self.steps.len()).collect();
        // The nodes that are over when a step is, for the steps that are.
        let mut done: Vec<Option<Bits>> = vec![None; self.steps.len()];
        let mut all = before.clone();
        let mut round = 0u64;
        while !left.is_empty() {
            let is_done = |&step: &usize| done[step].is_some();
            let ready: Vec<usize> =
                (0..left.len()).filter(|&at| self.steps[left[at]].after.iter().all(is_done)).collect();
            let pick = if run.seed == 0 { 0 } else { mix(run.seed ^ mix(round)) as usize % ready.len() };
            round += 1;
            let step = left.remove(ready[pick]);
            let mut over = before.clone();
            self.steps[step].after.iter().filter_map(|from| done[*from].as_ref()).for_each(|bits| over.join(bits));
            if self.steps[step].enabled {
                over = self.steps[step].run(context, run, over)?;
                context.check()?;
            }
            all.join(&over);
            done[step] = Some(over);
        }
        Ok(all)
    }

    /// The step of a node, for changing it.
    pub fn step_mut(&mut self, node: Handle) -> Res<&mut Step> {
        self.steps
            .iter_mut()
            .find(|step| step.node == node)
            .ok_or_else(|| Error::invalid("the node is not in this graph"))
    }
}

/// An executable graph.
pub struct Exec {
    pub handle: Handle,
    pub id: u32,
    pub flags: u64,
    /// Replaced as a whole when something changes, so that running launches keep theirs.
    pub plan: Mutex<Arc<Plan>>,
    /// The last launch; the next one follows it, in whatever stream.
    pub last: Mutex<Option<Arc<Completion>>>,
    pub objects: Mutex<BTreeMap<Handle, u32>>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Exec {
    pub fn create(graph: &Graph, flags: u64) -> Res<Arc<Exec>> {
        let plan = Plan::build(graph)?;
        let objects = lock(&graph.objects).clone();
        super::user_object::retain_all(&objects);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed) as u32;
        Ok(EXECS.add(|handle| Exec {
            handle,
            id,
            flags,
            plan: Mutex::new(Arc::new(plan)),
            last: Mutex::new(None),
            objects: Mutex::new(objects),
        }))
    }

    pub fn plan(&self) -> Arc<Plan> {
        lock(&self.plan).clone()
    }

    /// Changes the plan for launches from now on.
    pub fn change(&self, change: impl FnOnce(&mut Plan) -> Res) -> Res {
        let mut current = lock(&self.plan);
        let mut plan = Plan::clone(&current);
        change(&mut plan)?;
        *current = Arc::new(plan);
        Ok(())
    }

    /// Replaces the operation of a node by one of the same type.
    pub fn set_op(&self, node: Handle, op: Op) -> Res {
        self.change(|plan| {
            let step = plan.step_mut(node)?;
            if step.op.node_type() != op.node_type() {
                return Err(Error::invalid("the node is of another type"));
            }
            match difference(&step.op, &op) {
                None => {
                    step.op = op;
                    Ok(())
                }
                Some(_) => Err(Error::invalid("what changed is not among what an executable graph can take")),
            }
        })
    }
}

/// `CUgraphExecUpdateResult`
pub const TOPOLOGY_CHANGED: u32 = 2;
pub const TYPE_CHANGED: u32 = 3;
const FUNCTION_CHANGED: u32 = 4;
const PARAMETERS_CHANGED: u32 = 5;
const NOT_SUPPORTED: u32 = 6;

/// Why a step cannot become another one of the same type; `None` where it can.
pub fn difference(old: &Op, new: &Op) -> Option<u32> {
    match (old, new) {
        (Op::Kernel(old), Op::Kernel(new)) => {
            (old.function.module.context != new.function.module.context).then_some(FUNCTION_CHANGED)
        }
        // Where the bytes lie must stay: host or which device.
        (Op::Copy(old), Op::Copy(new)) => {
            let same = (old.src.device, old.dst.device) == (new.src.device, new.dst.device);
            (!same).then_some(PARAMETERS_CHANGED)
        }
        (Op::Fill(old), Op::Fill(new)) => {
            let same = old.device == new.device && (old.height > 1) == (new.height > 1);
            (!same).then_some(PARAMETERS_CHANGED)
        }
        (Op::Alloc { address: old, .. }, Op::Alloc { address: new, .. })
        | (Op::Free { address: old }, Op::Free { address: new }) => (old != new).then_some(NOT_SUPPORTED),
        (Op::Plan(old), Op::Plan(new)) => compare(old, new).err().map(|(result, _)| result),
        _ => None,
    }
}

/// Whether `new` has the shape of `old`; else the result and the index of the step of `new` that differs.
pub fn compare(old: &Plan, new: &Plan) -> Result<(), (u32, usize)> {
    if old.steps.len() != new.steps.len() {
        return Err((TOPOLOGY_CHANGED, 0));
    }
    for (index, (old, new)) in old.steps.iter().zip(&new.steps).enumerate() {
        if old.op.node_type() != new.op.node_type() {
            return Err((TYPE_CHANGED, index));
        }
        let sorted = |step: &Step| {
            let mut after = step.after.clone();
            after.sort_unstable();
            after
        };
        if sorted(old) != sorted(new) {
            return Err((TOPOLOGY_CHANGED, index));
        }
        if let Some(result) = difference(&old.op, &new.op) {
            return Err((result, index));
        }
    }
    Ok(())
}

/// A live executable graph by handle.
pub fn exec(handle: Handle) -> Res<Arc<Exec>> {
    super::state::driver()?;
    EXECS.get(handle).ok_or_else(|| Code::InvalidValue.into())
}
