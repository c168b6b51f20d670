//! The warp interpreter.
//!
//! A warp is a list of fragments (pc, lanes). The runnable fragment with the lowest pc runs until it meets the next
//! one, where they merge; because the decoder lays blocks out in a topological order with loops contiguous, this
//! reconverges at the nearest common post-dominator, and unlike a reconvergence stack it cannot deadlock on locks
//! between lanes: after a number of backward branches another fragment gets its turn.

use super::exec::{Cx, Flow, Fragment, QUANTUM, Wait};

/// Why a warp stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its share is used up.
    Budget,
    /// It polls.
    Yield,
    /// Nothing can run.
    Blocked,
    /// All lanes exited.
    Done,
    /// `cx.fault`.
    Fault,
}

/// Backward branches of a polling loop after which another fragment of the warp gets its turn. Loops that do not poll
/// end by themselves, and giving way in them would undo reconvergence.
const LOOPS: u32 = 512;

impl Cx<'_> {
    /// Counts a backward branch of a loop that polls.
    #[inline(always)]
    fn count_loop(&mut self) {
        if self.polls != 0 {
            self.polls = 0;
            self.loops += 1;
            // Whoever polls soon makes room for the warp it waits for.
            self.budget -= QUANTUM / 32;
        } else {
            self.progress = true;
        }
    }

    /// Sends the lanes of `taken` to `target`, the rest of the fragment to the next instruction.
    #[inline(always)]
    pub fn branch(&mut self, taken: u32, target: u32) -> Flow {
        if taken == self.mask {
            if target <= self.pc {
                self.budget -= i64::from(self.pc - target) + 1;
                self.count_loop();
            }
            self.pc = target;
            return Flow::Jump;
        }
        let rest = self.mask & !taken;
        self.warp.fragments.push(Fragment { pc: self.pc + 1, mask: rest, wait: Wait::No, gave_way: false });
        self.warp.fragments.push(Fragment { pc: target, mask: taken, wait: Wait::No, gave_way: false });
        self.budget -= 1;
        if target <= self.pc {
            self.count_loop();
        }
        self.mask = 0;
        Flow::Split
    }

    /// Sends each lane of `mask` to its own target.
    pub fn scatter(&mut self, mask: u32, targets: &[u32; 32]) -> Flow {
        let rest = self.mask & !mask;
        let mut left = mask;
        while left != 0 {
            let target = targets[left.trailing_zeros() as usize];
            let mut group = 0;
            for (l, t) in targets.iter().enumerate() {
                group |= u32::from(left >> l & 1 != 0 && *t == target) << l;
            }
            left &= !group;
            self.warp.fragments.push(Fragment { pc: target, mask: group, wait: Wait::No, gave_way: false });
            if target <= self.pc {
                self.budget -= 1;
                self.count_loop();
            }
        }
        if rest != 0 {
            self.warp.fragments.push(Fragment { pc: self.pc + 1, mask: rest, wait: Wait::No, gave_way: false });
        }
        self.mask = 0;
        self.budget -= 1;
        Flow::Split
    }

    /// Whether a fragment can go on; a barrier wait that is over moves it past the instruction.
    fn ready(&mut self, k: usize) -> bool {
        let f = self.warp.fragments[k];
        match f.wait {
            Wait::No => true,
            Wait::Retry => {
                self.warp.fragments[k].wait = Wait::No;
                true
            }
            Wait::Registers(need) => {
                if self.ctas[self.warp.cta].objects.registers.free < need {
                    return false;
                }
                self.warp.fragments[k].wait = Wait::No;
                true
            }
            Wait::Lanes(need) => need & self.warp.live & !f.mask == 0,
            Wait::WarpBarrier(need) => {
                let arrived = self
                    .warp
                    .fragments
                    .iter()
                    .filter(|o| o.wait == Wait::WarpBarrier(need))
                    .fold(0, |sum, o| sum | o.mask);
                if need & self.warp.live & !arrived != 0 {
                    return false;
                }
                for o in self.warp.fragments.iter_mut().filter(|o| o.wait == Wait::WarpBarrier(need)) {
                    o.wait = Wait::No;
                    o.pc += 1;
                }
                super::races::warp_barrier(self);
                true
            }
            Wait::Barrier { id, generation } => {
                let cta = &self.ctas[self.warp.cta];
                if cta.barriers[id as usize].generation == generation {
                    return false;
                }
                super::sync::finish_barrier(self, k, id);
                true
            }
            Wait::ClusterBarrier(generation) => {
                if self.ctas[0].cluster_barrier.generation == generation {
                    return false;
                }
                super::races::cluster_leave(self);
                let f = &mut self.warp.fragments[k];
                f.wait = Wait::No;
                f.pc += 1;
                true
            }
        }
    }

    /// Merges fragments at the same pc that wait for the same.
    fn merge(&mut self) {
        let list = &mut self.warp.fragments;
        list.sort_by_key(|f| f.pc);
        let mut k = 0;
        while k + 1 < list.len() {
            let (a, b) = (list[k], list[k + 1]);
            let both_plain = matches!(a.wait, Wait::No | Wait::Retry | Wait::Lanes(_))
                && matches!(b.wait, Wait::No | Wait::Retry | Wait::Lanes(_));
            if a.pc == b.pc && both_plain {
                list[k].mask |= b.mask;
                list[k].wait = Wait::No;
                list[k].gave_way &= b.gave_way;
                list.remove(k + 1);
            } else {
                k += 1;
            }
        }
    }

    /// Takes the next runnable fragment off the list.
    fn pick(&mut self) -> Option<Fragment> {
        if self.warp.fragments.len() == 1 {
            return if self.ready(0) { self.warp.fragments.pop() } else { None };
        }
        self.merge();
        let mut second = None;
        let mut k = 0;
        while k < self.warp.fragments.len() {
            if self.ready(k) {
                if !self.warp.fragments[k].gave_way {
                    return Some(self.warp.fragments.remove(k));
                }
                second.get_or_insert(k);
            }
            k += 1;
        }
        for f in &mut self.warp.fragments {
            f.gave_way = false;
        }
        second.map(|k| self.warp.fragments.remove(k))
    }

    /// Lets some lanes of the fragment run ahead of the others for a while: converged lanes need not run in step. They meet
    /// again before the next instruction that speaks of other lanes.
    fn divide(&mut self, limit: u32) -> u32 {
        let random = self.worker.next_random();
        let first = self.mask & (random >> 32) as u32;
        if random & 7 != 0 || first == 0 || first == self.mask {
            return limit;
        }
        let most = limit.min(self.pc + 1 + (random >> 3 & 15) as u32);
        let meta = &self.launch.code.meta;
        let end = (self.pc..most).find(|pc| !meta[*pc as usize].divisible).unwrap_or(most);
        if end <= self.pc + 1 {
            return limit;
        }
        let rest = Fragment { pc: self.pc, mask: self.mask & !first, wait: Wait::No, gave_way: false };
        self.warp.fragments.push(rest);
        self.mask = first;
        end
    }

    /// Runs the warp until it stops.
    pub fn run(&mut self) -> Stop {
        self.polls = self.warp.stalled;
        let stop = self.run_fragments();
        // A poll that gave way is still a poll at the next backward branch.
        self.warp.stalled = self.polls;
        stop
    }

    fn run_fragments(&mut self) -> Stop {
        loop {
            let Some(fragment) = self.pick() else {
                return if self.warp.fragments.is_empty() { Stop::Done } else { Stop::Blocked };
            };
            self.pc = fragment.pc;
            self.mask = fragment.mask;
            let limit = self.warp.fragments.iter().map(|f| f.pc).filter(|pc| *pc > self.pc).min().unwrap_or(u32::MAX);
            let limit = if self.launch.seed == 0 { limit } else { self.divide(limit) };
            let flow = if self.tainted { self.straight::<true>(limit) } else { self.straight::<false>(limit) };
            let mut wait = Wait::No;
            let mut gave_way = false;
            let mut stop = None;
            match flow {
                Flow::Exit | Flow::Split | Flow::Jump | Flow::Next => {}
                Flow::Block(w) => {
                    wait = w;
                    if w == Wait::Retry {
                        stop = Some(Stop::Yield);
                    }
                }
                Flow::Yield => stop = Some(Stop::Yield),
                Flow::Fault => return Stop::Fault,
            }
            if self.loops >= LOOPS && !self.warp.fragments.is_empty() {
                self.loops = 0;
                gave_way = true;
            }
            if self.mask != 0 {
                self.warp.fragments.push(Fragment { pc: self.pc, mask: self.mask, wait, gave_way });
            } else if gave_way && let Some(last) = self.warp.fragments.last_mut() {
                last.gave_way = true;
            }
            if let Some(stop) = stop {
                return stop;
            }
            if self.budget <= 0 {
                return if self.warp.fragments.is_empty() { Stop::Done } else { Stop::Budget };
            }
        }
    }

    /// Runs the current fragment until it stops, splits, uses up its share or reaches `limit`.
    fn straight<const TAINT: bool>(&mut self, limit: u32) -> Flow {
        let code = &self.launch.code.instrs[..];
        let shared_list = !self.warp.fragments.is_empty();
        loop {
            let at = self.pc;
            let i = &code[at as usize];
            let mask = self.mask & (self.mask_of(i.guard) ^ i.guard_flip);
            let count = &mut self.worker.counts[self.pc as usize];
            count.0 += 1;
            count.1 += if mask == u32::MAX { 32 } else { u64::from(mask.count_ones()) };
            if TAINT && let Err(()) = super::taint::before(self, i, mask) {
                return Flow::Fault;
            }
            // An instruction without lanes does nothing; none of them acts for absent lanes.
            let flow = if mask == 0 {
                Flow::Next
            } else {
                // SAFETY: the decoder made the instruction for this program and picked versions for this machine.
                unsafe { (i.run)(self, i, mask) }
            };
            if TAINT {
                super::taint::after(self, i, mask, at);
            }
            match flow {
                Flow::Next => self.pc += 1,
                Flow::Jump => {
                    if self.budget <= 0 || (shared_list && self.loops >= LOOPS) {
                        return Flow::Jump;
                    }
                }
                Flow::Yield => {
                    self.pc += 1;
                    return Flow::Yield;
                }
                other => return other,
            }
            if self.pc >= limit {
                return Flow::Next;
            }
            if !TAINT && self.tainted {
                return Flow::Next;
            }
        }
    }
}
