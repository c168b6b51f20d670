//! Barriers of blocks and clusters.

use super::exec::{Cx, Flow, Fragment, Instr, Wait};
use super::fault::FaultKind;

/// A barrier of a block.
#[derive(Debug, Clone, Copy, Default)]
pub struct Barrier {
    /// Completed phases.
    pub generation: u32,
    /// Threads that arrived in this phase.
    pub arrived: u32,
    /// Threads that complete it.
    pub expected: u32,
    /// Every live thread of the block completes it.
    pub everyone: bool,
    /// Threads that passed a true predicate in this phase, and in the last one.
    votes: u32,
    last_votes: u32,
    last_arrived: u32,
}

/// Flags of a barrier instruction, in `x`.
pub const ALIGNED: u32 = 1;
/// Arrives only.
pub const ARRIVE: u32 = 2;
/// Reductions, from bit 2.
pub const RED_POPC: u32 = 1 << 2;
/// And.
pub const RED_AND: u32 = 2 << 2;
/// Or.
pub const RED_OR: u32 = 3 << 2;
/// No thread count is given.
pub const EVERYONE: u32 = 1 << 4;
/// The reduction's predicate is negated.
pub const NEGATED: u32 = 1 << 5;

/// `a` barrier, `b` thread count, `c` predicate, `d` result.
pub(super) unsafe fn barrier(cx: &mut Cx<'_>, i: &Instr, mask: u32) -> Flow {
    let live = cx.warp.live;
    if i.x & ALIGNED != 0 && mask != live && cx.launch.checks.convergence {
        let text = format!(
            "an aligned barrier is executed by lanes {mask:#010x} of a warp whose live lanes are {live:#010x}: all \
             threads of a warp must execute it together"
        );
        return cx.fail(FaultKind::LaunchFailed, Some("convergence"), None, &text);
    }
    let lane = mask.trailing_zeros() as usize;
    let (id, count): (u32, u32) = (cx.lane(i.a, lane), cx.lane(i.b, lane));
    for l in (0..32).filter(|l| mask >> l & 1 != 0) {
        if cx.lane::<u32>(i.a, l) != id || cx.lane::<u32>(i.b, l) != count {
            let text = "lanes of a warp name different barriers or thread counts";
            return cx.fail(FaultKind::LaunchFailed, Some("convergence"), Some(l), text);
        }
    }
    if id > 15 {
        return cx.fail(FaultKind::IllegalInstruction, None, None, &format!("barrier {id}: there are 16"));
    }
    let everyone = i.x & EVERYONE != 0;
    if !everyone && (count == 0 || !count.is_multiple_of(32) || count > cx.launch.threads().next_multiple_of(32)) {
        let text = format!("a barrier of {count} threads: the count is a multiple of 32 within the block");
        return cx.fail(FaultKind::IllegalInstruction, None, None, &text);
    }
    cx.worker.traffic.barriers += 1;
    cx.progress = true;
    let reduction = i.x >> 2 & 3;
    let votes = if reduction != 0 {
        let p = cx.mask_of(i.c) ^ if i.x & NEGATED != 0 { u32::MAX } else { 0 };
        (p & mask).count_ones()
    } else {
        0
    };
    let live_threads = cx.cta().live;
    let convergence = cx.launch.checks.convergence;
    let b = &mut cx.cta().barriers[id as usize];
    if b.arrived == 0 {
        b.everyone = everyone;
        b.expected = if everyone { live_threads } else { count };
    } else if (b.everyone != everyone || (!everyone && b.expected != count)) && convergence {
        let text = format!(
            "barrier {id} was reached with a count of {} by other threads and with {} here",
            if b.everyone { "all".into() } else { b.expected.to_string() },
            if everyone { "all".into() } else { count.to_string() }
        );
        return cx.fail(FaultKind::LaunchFailed, Some("convergence"), None, &text);
    }
    // A block whose last warp is partial counts whole warps, as hardware does.
    b.arrived += if everyone { mask.count_ones() } else { mask.count_ones().next_multiple_of(32) };
    if everyone {
        b.expected = live_threads;
    }
    b.votes += votes;
    let generation = b.generation;
    if b.arrived > b.expected && convergence {
        let text = format!("barrier {id} expects {} threads and {} arrived", b.expected, b.arrived);
        return cx.fail(FaultKind::LaunchFailed, Some("convergence"), None, &text);
    }
    let complete = b.arrived >= b.expected;
    super::races::barrier_arrive(cx, id, i.x & ARRIVE == 0);
    if complete {
        complete_barrier(cx, id);
    }
    let rest = cx.mask & !mask;
    if i.x & ARRIVE != 0 {
        return Flow::Next;
    }
    if !complete {
        cx.worker.traffic.barrier_waits += 1;
    }
    if rest != 0 {
        cx.warp.fragments.push(Fragment { pc: cx.pc + 1, mask: rest, wait: Wait::No, gave_way: false });
        cx.mask = mask;
    }
    Flow::Block(Wait::Barrier { id, generation })
}

fn complete_barrier(cx: &mut Cx<'_>, id: u32) {
    let b = &mut cx.cta().barriers[id as usize];
    b.last_votes = b.votes;
    b.last_arrived = b.arrived;
    b.votes = 0;
    b.arrived = 0;
    b.generation = b.generation.wrapping_add(1);
    super::races::barrier_complete(cx, id);
}

/// The fragment's barrier is complete: gives it the reduction's result and moves it on.
pub(super) fn finish_barrier(cx: &mut Cx<'_>, fragment: usize, id: u32) {
    let f = cx.warp.fragments[fragment];
    let i = &cx.launch.code.instrs[f.pc as usize];
    let b = cx.ctas[cx.warp.cta].barriers[id as usize];
    let all = |v: bool| [v; 32];
    match i.x & RED_OR {
        RED_POPC => cx.put(i.d, &[b.last_votes; 32], f.mask),
        RED_AND => cx.put(i.d, &all(b.last_votes == b.last_arrived), f.mask),
        RED_OR => cx.put(i.d, &all(b.last_votes != 0), f.mask),
        _ => {}
    }
    let f = &mut cx.warp.fragments[fragment];
    f.wait = Wait::No;
    f.pc += 1;
}

/// Lanes exited: barriers of all threads may be complete now.
pub(super) fn lanes_exited(cx: &mut Cx<'_>, count: u32) {
    cx.cta().live -= count;
    let live = cx.cta().live;
    for id in 0..16 {
        let b = &mut cx.cta().barriers[id as usize];
        if b.everyone && b.arrived > 0 {
            b.expected = live;
            if b.arrived >= live {
                complete_barrier(cx, id);
            }
        }
    }
    complete_cluster_barrier(cx);
}

/// Flags of the cluster barrier in `x`.
pub const CLUSTER_ARRIVE: u32 = 1;
/// Waits.
pub const CLUSTER_WAIT: u32 = 2;
/// `.aligned`
pub const CLUSTER_ALIGNED: u32 = 4;
/// `.relaxed`
pub const CLUSTER_RELAXED: u32 = 8;

fn complete_cluster_barrier(cx: &mut Cx<'_>) {
    let live: u32 = cx.ctas.iter().map(|c| c.live).sum();
    let b = &mut cx.ctas[0].cluster_barrier;
    if b.arrived > 0 && b.arrived >= live {
        b.arrived = 0;
        b.generation = b.generation.wrapping_add(1);
        super::races::cluster_complete(cx);
    }
}

/// `barrier.cluster.arrive` and `.wait`.
pub(super) unsafe fn cluster_barrier(cx: &mut Cx<'_>, i: &Instr, mask: u32) -> Flow {
    let live = cx.warp.live;
    if i.x & CLUSTER_ALIGNED != 0 && mask != live && cx.launch.checks.convergence {
        let text = format!("an aligned cluster barrier is executed by lanes {mask:#010x} of {live:#010x}");
        return cx.fail(FaultKind::LaunchFailed, Some("convergence"), None, &text);
    }
    cx.progress = true;
    let generation = cx.ctas[0].cluster_barrier.generation;
    if i.x & CLUSTER_ARRIVE != 0 {
        for l in (0..32).filter(|l| mask >> l & 1 != 0) {
            if cx.warp.cluster_arrived[l].is_some() && cx.launch.checks.convergence {
                let text = "barrier.cluster.arrive twice without barrier.cluster.wait between";
                return cx.fail(FaultKind::LaunchFailed, Some("convergence"), Some(l), text);
            }
            cx.warp.cluster_arrived[l] = Some(generation);
        }
        cx.ctas[0].cluster_barrier.arrived += mask.count_ones();
        super::races::cluster_arrive(cx, i.x & CLUSTER_RELAXED != 0);
        complete_cluster_barrier(cx);
        return Flow::Next;
    }
    let lane = mask.trailing_zeros() as usize;
    let Some(arrived) = cx.warp.cluster_arrived[lane] else {
        let text = "barrier.cluster.wait without barrier.cluster.arrive before";
        return cx.fail(FaultKind::LaunchFailed, Some("convergence"), None, text);
    };
    for l in (0..32).filter(|l| mask >> l & 1 != 0) {
        cx.warp.cluster_arrived[l] = None;
    }
    if cx.ctas[0].cluster_barrier.generation != arrived {
        super::races::cluster_leave(cx);
        return Flow::Next;
    }
    let rest = cx.mask & !mask;
    if rest != 0 {
        cx.warp.fragments.push(Fragment { pc: cx.pc + 1, mask: rest, wait: Wait::No, gave_way: false });
        cx.mask = mask;
    }
    Flow::Block(Wait::ClusterBarrier(arrived))
}
