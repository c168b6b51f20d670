//! The order of work: every stream is a queue with a thread of its own, and every piece of work completes a
//! [`Completion`] that other work and the host can wait for.
//!
//! Work waits for the completions it was given at submission, which all lie before it, so that waiting cannot go in
//! circles. Hardware is free to start queued work at once or late; under a schedule seed other than 0 each piece of work
//! is held, by a coin of the seed, until something waits for it or a little time has gone by, so that a program that
//! reads results without waiting gets stale ones here too.
//!
//! A grid with programmatic stream serialisation may start before the grid in front of it has ended, once that one's
//! blocks let it; it starts then, or under other seeds by a coin only at the end. Its own end counts as such when the
//! grid in front has ended too.

use super::config;
use super::table::lock;
use crate::machine::{GraphNode, Signal, StreamTag};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How long held work waits for somebody to want it. Programs may poll memory that the device writes, so it must start
/// at some time.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long a worker without work stays.
const IDLE: Duration = Duration::from_millis(500);

/// What is over: for each queue the number of its last piece of work.
pub type Clock = Arc<BTreeMap<u64, u64>>;

fn join(into: &mut Clock, other: &Clock) {
    if Arc::ptr_eq(into, other) || other.iter().all(|(queue, number)| into.get(queue).is_some_and(|n| n >= number)) {
        return;
    }
    let into = Arc::make_mut(into);
    for (queue, number) in other.iter() {
        let known = into.entry(*queue).or_default();
        *known = (*known).max(*number);
    }
}

/// What the host has waited for. Threads of the host are taken to know what any of them knows.
static HOST: Mutex<Option<Clock>> = Mutex::new(None);

thread_local! {
    static TAG: RefCell<StreamTag> = RefCell::default();
}

/// The place of the work that this thread is doing among the work of all queues.
pub fn current_tag() -> StreamTag {
    TAG.with_borrow(StreamTag::clone)
}

/// Does a part of this thread's work as a node of a graph.
pub fn as_node<R>(node: GraphNode, run: impl FnOnce() -> R) -> R {
    let outer = TAG.with_borrow_mut(|tag| tag.node.replace(node));
    let result = run();
    TAG.with_borrow_mut(|tag| tag.node = outer);
    result
}

/// The end of a piece of work.
pub struct Completion {
    ended: Mutex<Option<Instant>>,
    changed: Condvar,
    queue: Weak<Queue>,
    number: u64,
    /// What is over once it is.
    clock: Clock,
}

impl Completion {
    fn new(queue: &Arc<Queue>, number: u64, clock: Clock) -> Arc<Completion> {
        let ended = Mutex::new(None);
        Arc::new(Completion { ended, changed: Condvar::new(), queue: Arc::downgrade(queue), number, clock })
    }

    /// The end of work that is over already.
    pub fn ended_now() -> Arc<Completion> {
        let ended = Mutex::new(Some(Instant::now()));
        let clock = current_tag().after;
        Arc::new(Completion { ended, changed: Condvar::new(), queue: Weak::new(), number: 0, clock })
    }

    /// When the work ended; `None` while it has not.
    pub fn ended(&self) -> Option<Instant> {
        *lock(&self.ended)
    }

    /// Lets held work start without waiting for it.
    pub fn want(&self) {
        if self.ended().is_none()
            && let Some(queue) = self.queue.upgrade()
        {
            queue.want(self.number);
        }
    }

    /// Blocks the host until the work has ended.
    pub fn wait(&self) {
        self.block();
        self.observe();
    }

    /// The host has seen that the work is over.
    pub fn observe(&self) {
        if self.ended().is_some() {
            join(lock(&HOST).get_or_insert_default(), &self.clock);
        }
    }

    /// Blocks other work until this has ended.
    pub fn block(&self) {
        self.want();
        let mut ended = lock(&self.ended);
        while ended.is_none() {
            ended = self.changed.wait(ended).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn finish(&self) {
        *lock(&self.ended) = Some(Instant::now());
        self.changed.notify_all();
    }
}

/// A grid's part in programmatic dependent launch.
#[derive(Default)]
pub struct Grid {
    /// Its dependents may start.
    pub triggered: Signal,
    /// It has ended.
    pub ended: Signal,
}

/// The grid that work may start behind before it has ended, and its end.
struct Ahead {
    grid: Arc<Grid>,
    done: Arc<Completion>,
}

struct Work {
    tag: StreamTag,
    /// Runs it; behind this grid, if that has not ended.
    run: Box<dyn FnOnce(Option<Arc<Grid>>) + Send>,
    waits: Vec<Arc<Completion>>,
    done: Arc<Completion>,
    grid: Option<Arc<Grid>>,
    ahead: Option<Ahead>,
}

impl Work {
    fn carry_out(self, late: bool) {
        for wait in &self.waits {
            wait.block();
        }
        let mut behind = None;
        if let Some(ahead) = &self.ahead {
            if late {
                ahead.done.block();
            }
            ahead.grid.triggered.wait();
            behind = Some(ahead.grid.clone());
        }
        let run = self.run;
        tagged(self.tag, || run(behind));
        if let Some(grid) = &self.grid {
            grid.triggered.open();
            grid.ended.open();
        }
        if let Some(ahead) = &self.ahead {
            ahead.done.block();
        }
        self.done.finish();
    }
}

#[derive(Default)]
struct Inner {
    pending: VecDeque<Work>,
    /// The last work submitted, which the next one follows.
    last: Option<Arc<Completion>>,
    /// The grid that was submitted last, if that was the last work.
    last_grid: Option<Arc<Grid>>,
    worker: bool,
    /// Pieces of work under way.
    running: usize,
    /// Threads beside the worker that run a grid that started early.
    helpers: usize,
    submitted: u64,
    /// What is over once the last work is.
    clock: Clock,
    /// Work up to this number is wanted by somebody.
    wanted: u64,
}

/// One stream's order.
pub struct Queue {
    id: u64,
    inner: Mutex<Inner>,
    signal: Condvar,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Queue {
    pub fn new() -> Arc<Queue> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Arc::new(Queue { id, inner: Mutex::default(), signal: Condvar::new() })
    }

    /// Unique in the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The end of what is queued now; `None` when nothing is left.
    pub fn last(&self) -> Option<Arc<Completion>> {
        lock(&self.inner).last.clone().filter(|last| last.ended().is_none())
    }

    /// The end of what was queued last, be it over or not.
    pub fn end(&self) -> Option<Arc<Completion>> {
        lock(&self.inner).last.clone()
    }

    /// Waits for everything queued so far.
    pub fn drain(&self) {
        if let Some(last) = self.end() {
            last.wait();
        }
    }

    fn want(&self, number: u64) {
        let mut inner = lock(&self.inner);
        if inner.wanted < number {
            inner.wanted = number;
            self.signal.notify_all();
        }
    }

    /// Queues `run` behind everything in this queue and behind `waits`. With `at_once` the work is run on the caller's
    /// thread where nothing is left to wait for; the caller then waits for it anyway.
    pub fn submit(
        self: &Arc<Self>,
        mut waits: Vec<Arc<Completion>>,
        at_once: bool,
        run: impl FnOnce() + Send + 'static,
    ) -> Arc<Completion> {
        let mut inner = lock(&self.inner);
        let (tag, done) = self.number(&mut inner, &waits);
        waits.extend(inner.last.replace(done.clone()));
        waits.retain(|wait| wait.ended().is_none());
        inner.last_grid = None;
        if at_once && waits.is_empty() && inner.pending.is_empty() {
            drop(inner);
            tagged(tag, run);
            done.finish();
            return done;
        }
        let run = Box::new(move |_: Option<Arc<Grid>>| run());
        self.push(inner, Work { tag, run, waits, done: done.clone(), grid: None, ahead: None });
        done
    }

    /// Queues a grid; with `early` it may start before the grid in front of it has ended.
    pub fn submit_grid(
        self: &Arc<Self>,
        mut waits: Vec<Arc<Completion>>,
        early: bool,
        grid: Arc<Grid>,
        run: impl FnOnce(Option<Arc<Grid>>) + Send + 'static,
    ) -> Arc<Completion> {
        let mut inner = lock(&self.inner);
        let (mut tag, done) = self.number(&mut inner, &waits);
        // Whether the grid in front has ended by now is chance, unless the host has seen it.
        let seen = lock(&HOST).as_ref().and_then(|host| host.get(&self.id).copied()).unwrap_or(0);
        tag.ahead = Some(tag.number - 1).filter(|front| early && inner.last_grid.is_some() && *front > seen);
        let before = inner.last.replace(done.clone()).filter(|last| last.ended().is_none());
        let ahead = match (inner.last_grid.replace(grid.clone()), before) {
            (Some(grid), Some(done)) if early => Some(Ahead { grid, done }),
            (_, before) => {
                waits.extend(before);
                None
            }
        };
        waits.retain(|wait| wait.ended().is_none());
        self.push(inner, Work { tag, run: Box::new(run), waits, done: done.clone(), grid: Some(grid), ahead });
        done
    }

    /// The place and the end of a new piece of work.
    fn number(self: &Arc<Self>, inner: &mut Inner, waits: &[Arc<Completion>]) -> (StreamTag, Arc<Completion>) {
        inner.submitted += 1;
        let number = inner.submitted;
        if let Some(host) = &*lock(&HOST) {
            join(&mut inner.clock, host);
        }
        waits.iter().for_each(|wait| join(&mut inner.clock, &wait.clock));
        let tag = StreamTag { stream: self.id, number, after: inner.clock.clone(), node: None, ahead: None };
        Arc::make_mut(&mut inner.clock).insert(self.id, number);
        (tag, Completion::new(self, number, inner.clock.clone()))
    }

    fn push(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner>, work: Work) {
        inner.pending.push_back(work);
        self.start_early(&mut inner);
        if !inner.worker {
            inner.worker = true;
            let queue = self.clone();
            let name = format!("virtual-gpu stream {}", self.id);
            if std::thread::Builder::new().name(name).spawn(move || queue.work()).is_err() {
                // No thread to be had: this one does the work.
                drop(inner);
                self.clone().work();
                return;
            }
        }
        self.signal.notify_all();
    }

    /// Gives the next work a thread of its own if it may start before the work under way has ended. Without a thread it
    /// starts late, which is legal too.
    fn start_early(self: &Arc<Self>, inner: &mut Inner) {
        if inner.running == 0 || inner.helpers > 0 || inner.pending.front().is_none_or(|work| work.ahead.is_none()) {
            return;
        }
        let queue = self.clone();
        let name = format!("virtual-gpu stream {} ahead", self.id);
        inner.helpers += 1;
        let helper = move || {
            let mut inner = lock(&queue.inner);
            if inner.pending.front().is_some_and(|work| work.ahead.is_some())
                && let Some(work) = inner.pending.pop_front()
            {
                inner = queue.run_one(inner, work);
            }
            inner.helpers -= 1;
            // Work may have come while this thread was still counted.
            queue.start_early(&mut inner);
        };
        if std::thread::Builder::new().name(name).spawn(helper).is_err() {
            inner.helpers -= 1;
        }
    }

    fn run_one<'q>(self: &'q Arc<Self>, mut inner: MutexGuard<'q, Inner>, work: Work) -> MutexGuard<'q, Inner> {
        let seed = config::read(|config| config.schedule.seed);
        let late = is_held(seed ^ 1 << 32, self.id, work.done.number) && seed != 0;
        inner.running += 1;
        self.start_early(&mut inner);
        drop(inner);
        work.carry_out(late);
        let mut inner = lock(&self.inner);
        inner.running -= 1;
        inner
    }

    /// The worker: runs queued work in order and leaves when there has been none for a while.
    fn work(self: Arc<Self>) {
        let mut inner = lock(&self.inner);
        loop {
            let Some(work) = inner.pending.pop_front() else {
                let (next, timeout) = self.signal.wait_timeout(inner, IDLE).unwrap_or_else(PoisonError::into_inner);
                inner = next;
                if timeout.timed_out() && inner.pending.is_empty() {
                    inner.worker = false;
                    return;
                }
                continue;
            };
            let seed = config::read(|config| config.schedule.seed);
            if is_held(seed, self.id, work.done.number) {
                let patience = Instant::now() + PATIENCE;
                while inner.wanted < work.done.number {
                    let left = patience.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    inner = self.signal.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
            inner = self.run_one(inner, work);
        }
    }
}

/// Runs work as the work of a place.
fn tagged(tag: StreamTag, run: impl FnOnce()) {
    let before = TAG.replace(tag);
    run();
    TAG.set(before);
}

/// The coin of a schedule: whether this work starts late. Seed 0 holds nothing.
fn is_held(seed: u64, queue: u64, number: u64) -> bool {
    seed != 0 && mix(seed ^ mix(queue) ^ mix(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))) & 1 == 1
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
pub fn mix(mut value: u64) -> u64 {
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_runs_in_order_and_across_queues() {
        let (first, second) = (Queue::new(), Queue::new());
        let log = Arc::new(Mutex::new(Vec::new()));
        let note = |value: u32| {
            let log = log.clone();
            move || lock(&log).push(value)
        };
        first.submit(Vec::new(), false, note(1));
        let last = first.submit(Vec::new(), false, note(2));
        second.submit(vec![last], false, note(3));
        second.submit(Vec::new(), true, note(4)).wait();
        assert_eq!(*lock(&log), [1, 2, 3, 4]);
        assert!(first.last().is_none() && second.last().is_none());
    }

    #[test]
    fn work_knows_what_it_is_ordered_behind() {
        let queues = [Queue::new(), Queue::new(), Queue::new()];
        let seen = Arc::new(Mutex::new(Vec::new()));
        let note = || {
            let seen = seen.clone();
            move || lock(&seen).push(current_tag())
        };
        let first = queues[0].submit(Vec::new(), false, note());
        first.block();
        let second = queues[1].submit(vec![first.clone()], false, note());
        second.block();
        queues[2].submit(Vec::new(), false, note()).block();
        second.wait();
        queues[2].submit(Vec::new(), false, note()).block();
        let tags = lock(&seen);
        let knows = |tag: usize, queue: usize| tags[tag].after.get(&queues[queue].id()) == Some(&1);
        assert!(knows(1, 0), "an awaited completion orders, though it is over");
        assert!(!knows(2, 0) && !knows(2, 1), "nothing orders streams by itself");
        assert!(knows(3, 0) && knows(3, 1), "the host hands on what it waited for");
    }

    #[test]
    fn seeds_hold_some_work_and_seed_0_none() {
        let held = |seed| (0..100).filter(|&number| is_held(seed, 3, number)).count();
        assert_eq!(held(0), 0);
        for seed in 1..10 {
            assert!((20..80).contains(&held(seed)), "seed {seed}: {}", held(seed));
        }
    }

    #[test]
    fn held_work_runs_when_it_is_wanted() {
        config::update(|config| config.schedule.seed = 7);
        let queue = Queue::new();
        let all: Vec<_> = (0..8).map(|_| queue.submit(Vec::new(), false, || ())).collect();
        all[7].wait();
        assert!(all.iter().all(|one| one.ended().is_some()));
        config::update(|config| config.schedule.seed = 0);
    }

    #[test]
    fn idle_queues_run_on_the_callers_thread() {
        let queue = Queue::new();
        let caller = std::thread::current().id();
        let seen = Arc::new(Mutex::new(None));
        let inside = seen.clone();
        let done = queue.submit(Vec::new(), true, move || *lock(&inside) = Some(std::thread::current().id()));
        assert!(done.ended().is_some());
        assert_eq!(*lock(&seen), Some(caller));
    }
}
