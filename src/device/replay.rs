//! What a captured step changes on the host: counts that each launch of its graph must change again, since the code that
//! changed them does not run again.

use std::cell::RefCell;

/// A change, repeated by a call.
pub(crate) type Effect = Box<dyn Fn() + Send + Sync>;

thread_local! {
    /// The changes since this thread began to note them.
    static NOTED: RefCell<Option<Vec<Effect>>> = const { RefCell::new(None) };
}

/// Whether the calling thread notes changes: whether it captures a step.
pub(crate) fn noting() -> bool {
    NOTED.with(|noted| noted.borrow().is_some())
}

/// Notes a change that has just been made, where changes are noted.
pub(crate) fn note<F: Fn() + Send + Sync + 'static>(effect: impl FnOnce() -> F) {
    NOTED.with(|noted| {
        if let Some(noted) = &mut *noted.borrow_mut() {
            noted.push(Box::new(effect()));
        }
    });
}

/// Runs `f` and gives the changes that it noted.
pub(crate) fn effects_of<R>(f: impl FnOnce() -> R) -> (R, Vec<Effect>) {
    /// Also where `f` panics, later changes are not noted.
    struct Noting(Option<Vec<Effect>>);
    impl Drop for Noting {
        fn drop(&mut self) {
            NOTED.with(|noted| *noted.borrow_mut() = self.0.take());
        }
    }
    let outer = Noting(NOTED.with(|noted| noted.borrow_mut().replace(vec![])));
    let out = f();
    let effects = NOTED.with(|noted| noted.borrow_mut().take()).unwrap_or_default();
    drop(outer);
    (out, effects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn changes_are_noted_only_inside_and_can_be_repeated() {
        let count = Arc::new(AtomicU32::new(0));
        let add = |by: u32| {
            count.fetch_add(by, Ordering::Relaxed);
            let count = count.clone();
            note(|| {
                move || {
                    count.fetch_add(by, Ordering::Relaxed);
                }
            });
        };
        add(1);
        let ((), effects) = effects_of(|| {
            add(10);
            add(100);
        });
        add(1);
        assert_eq!((count.load(Ordering::Relaxed), effects.len()), (112, 2));
        effects.iter().for_each(|effect| effect());
        assert_eq!(count.load(Ordering::Relaxed), 222);
        assert!(!noting());
    }
}
