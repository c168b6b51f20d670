//! Batches one after another, made when asked for or ahead by threads.

use crate::{Device, Error, Result, Tensor};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

pub(super) type Batch = Vec<Tensor>;

/// Batches, or why one could not be made.
pub(super) type Producer = Box<dyn Iterator<Item = Result<Batch>> + Send>;

/// The batches of an epoch; see [`DataLoader::epoch`](super::DataLoader::epoch).
///
/// An error stands in its batch's place, and the batches after it follow. Dropped early, it waits for its threads, which
/// finish the batches that they are at.
pub struct EpochBatches {
    source: Source,
    /// Batches that are still to come; unknown for streams.
    left: Option<usize>,
    device: Option<Device>,
}

enum Source {
    Here(Producer),
    Threads {
        /// One for each thread, which hold every n-th batch.
        queues: Vec<Receiver<Result<Batch>>>,
        threads: Vec<JoinHandle<()>>,
        /// The queue that has the next batch.
        turn: usize,
        failed: Option<Error>,
    },
    Ended,
}

impl EpochBatches {
    pub(super) fn here(producer: Producer, left: Option<usize>, device: Option<Device>) -> Self {
        EpochBatches { source: Source::Here(producer), left, device }
    }

    /// Each producer in its own thread, at most `ahead` finished batches waiting in its queue; taken in turns.
    pub(super) fn threads(producers: Vec<Producer>, ahead: usize, left: Option<usize>, device: Option<Device>) -> Self {
        let (mut queues, mut threads, mut failed) = (Vec::new(), Vec::new(), None);
        for (number, producer) in producers.into_iter().enumerate() {
            let (sender, receiver) = sync_channel(ahead);
            let work = move || {
                for batch in producer {
                    // Nobody takes it any more.
                    if sender.send(batch).is_err() {
                        return;
                    }
                }
            };
            match std::thread::Builder::new().name(format!("data-loader-{number}")).spawn(work) {
                Ok(thread) => threads.push(thread),
                Err(error) => failed = Some(Error::argument("DataLoader", format!("no thread could start: {error}"))),
            }
            queues.push(receiver);
        }
        EpochBatches { source: Source::Threads { queues, threads, turn: 0, failed }, left, device }
    }

    fn take(&mut self) -> Option<Result<Batch>> {
        match &mut self.source {
            Source::Here(producer) => producer.next(),
            Source::Ended => None,
            Source::Threads { queues, turn, failed, .. } => {
                if failed.is_none()
                    && let Ok(batch) = queues[*turn].recv()
                {
                    *turn = (*turn + 1) % queues.len();
                    return Some(batch);
                }
                let failed = failed.take();
                let panicked = self.end();
                // Producers guard against panics of data sets, so that this one is their own.
                failed.or(panicked).map(Err)
            }
        }
    }

    /// Stops and joins the threads; an error if one panicked.
    fn end(&mut self) -> Option<Error> {
        let Source::Threads { queues, threads, .. } = std::mem::replace(&mut self.source, Source::Ended) else {
            return None;
        };
        // A thread that waits for room in its queue wakes up.
        drop(queues);
        let panicked = threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
        (panicked > 0).then(|| Error::argument("DataLoader", format!("{panicked} of its threads panicked")))
    }
}

impl Iterator for EpochBatches {
    type Item = Result<Vec<Tensor>>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.take()?;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        let Some(device) = &self.device else { return Some(batch) };
        Some(batch.and_then(|batch| batch.iter().map(|tensor| tensor.to_device(device)).collect()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.unwrap_or(0), self.left)
    }
}

impl Drop for EpochBatches {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for EpochBatches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EpochBatches").field("left", &self.left).finish_non_exhaustive()
    }
}
