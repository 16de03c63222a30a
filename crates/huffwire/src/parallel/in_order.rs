//! Jobs whose results follow one another and whose lengths are not known in advance: coded batches of a message.
//!
//! An idle thread takes the next batch, so no thread waits for the slowest one. The place of a result is known when all
//! batches before it are finished. If they are finished when a thread takes a batch, the result is written straight to
//! its place, else into a buffer first.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Workers, keep_first, lock};
use crate::error::{Error, Result};

/// Buffers for each thread: one to write to, one that waits for its place.
const BUFFERS_PER_THREAD: usize = 2;

/// Calls `work` for each batch, on several threads; returns the length of all results, which lie in `out` in the
/// order of the batches.
///
/// `work` gets a worker, the batch, whether the place it writes to is the final one, and that place, of at least
/// `room` bytes; it returns the length of its result. `out` must have room for all results, the last one with its
/// whole `room`, or `work` must cope with less. `buffers` are kept from call to call.
pub(crate) fn in_order<W: Send, T: Send>(
    workers: &mut Workers<W>,
    threads: usize,
    batches: impl ExactSizeIterator<Item = T> + Send,
    room: usize,
    buffers: &mut Vec<Vec<u8>>,
    out: &mut [u8],
    work: impl Fn(&mut W, T, bool, &mut [u8]) -> Result<usize> + Sync,
) -> Result<usize> {
    buffers.resize_with(buffers.len().max(BUFFERS_PER_THREAD * threads), Vec::new);
    let assembly = Assembly::new(batches, std::mem::take(buffers), out);
    workers.work(threads, |worker| {
        let _guard = StopOnPanic(&assembly);
        while let Some(Taken { index, batch, mut target }) = assembly.take() {
            let in_place = matches!(target, Target::Place(_));
            let out = match &mut target {
                Target::Place(out) => out,
                Target::Buffer(buffer) => {
                    // Never shorter: what is new must be set to zero first.
                    buffer.resize(buffer.len().max(room), 0);
                    &mut buffer[..]
                }
            };
            match work(worker, batch, in_place, out) {
                Ok(length) => assembly.put(index, target, length),
                Err(error) => assembly.fail(index, error),
            }
        }
    });
    let progress = assembly.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    *buffers = progress.buffers;
    progress.error.map_or(Ok(progress.length), |(_, error)| Err(error))
}

/// Batch that a thread works on.
struct Taken<'a, T> {
    index: usize,
    batch: T,
    target: Target<'a>,
}

/// Where the result of a batch goes.
enum Target<'a> {
    /// All of the output that is not written yet.
    Place(&'a mut [u8]),
    /// Memory of its own, until the output is written so far.
    Buffer(Vec<u8>),
}

/// Result that waits for its place.
struct Finished {
    index: usize,
    buffer: Vec<u8>,
    length: usize,
}

/// Results put together in order, made in any order.
struct Assembly<'a, I> {
    progress: Mutex<Progress<'a, I>>,
    /// Signals that there is a target for another batch, or that all is over.
    changed: Condvar,
}

struct Progress<'a, I> {
    /// Batches that no thread has taken.
    batches: I,
    taken: usize,
    /// Results that have their place, and their length.
    placed: usize,
    length: usize,
    /// The place of the next results; empty while a thread writes there.
    out: &'a mut [u8],
    finished: Vec<Finished>,
    /// Buffers that no thread uses. There are few, so that memory stays small while one thread is late.
    buffers: Vec<Vec<u8>>,
    stopped: bool,
    /// The first error in the order of the batches.
    error: Option<(usize, Error)>,
}

impl<'a, I> Progress<'a, I> {
    fn target(&mut self) -> Option<Target<'a>> {
        if self.taken == self.placed {
            return Some(Target::Place(std::mem::take(&mut self.out)));
        }
        self.buffers.pop().map(Target::Buffer)
    }

    /// The place of the next result in order.
    fn place(&mut self, length: usize) -> &'a mut [u8] {
        self.placed += 1;
        self.length += length;
        take_front(&mut self.out, length)
    }

    /// The next result in order with its place, if it waits for it.
    fn place_finished(&mut self) -> Option<(Finished, &'a mut [u8])> {
        let at = self.finished.iter().position(|finished| finished.index == self.placed)?;
        let finished = self.finished.swap_remove(at);
        let place = self.place(finished.length);
        Some((finished, place))
    }
}

impl<'a, T, I: ExactSizeIterator<Item = T>> Assembly<'a, I> {
    fn new(batches: I, buffers: Vec<Vec<u8>>, out: &'a mut [u8]) -> Self {
        let progress = Progress {
            batches,
            taken: 0,
            placed: 0,
            length: 0,
            out,
            finished: Vec::new(),
            buffers,
            stopped: false,
            error: None,
        };
        Self { progress: Mutex::new(progress), changed: Condvar::new() }
    }

    /// The next batch, as soon as there is a target for it. There will be one: batches are taken in order,
    /// so one of those that occupy the targets is what all others wait for.
    fn take(&self) -> Option<Taken<'a, T>> {
        let mut progress = lock(&self.progress);
        while !progress.stopped && progress.batches.len() > 0 {
            if let Some(target) = progress.target() {
                let (index, batch) = (progress.taken, progress.batches.next()?);
                progress.taken += 1;
                return Some(Taken { index, batch, target });
            }
            progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Takes a result back; moves it to its place if need be, and those that waited for it.
    fn put(&self, index: usize, target: Target<'a>, length: usize) {
        let mut progress = lock(&self.progress);
        match target {
            Target::Place(out) => {
                progress.out = out;
                progress.place(length);
                self.changed.notify_all();
            }
            Target::Buffer(buffer) => progress.finished.push(Finished { index, buffer, length }),
        }
        while let Some((finished, place)) = progress.place_finished() {
            drop(progress);
            place.copy_from_slice(&finished.buffer[..finished.length]);
            progress = lock(&self.progress);
            progress.buffers.push(finished.buffer);
            self.changed.notify_all();
        }
    }

    fn fail(&self, index: usize, error: Error) {
        let mut progress = lock(&self.progress);
        keep_first(&mut progress.error, index, error);
        progress.stopped = true;
        self.changed.notify_all();
    }
}

/// Stops all threads when one panics: it never brings its buffer back, and nobody shall wait for that.
struct StopOnPanic<'a, 'b, I>(&'a Assembly<'b, I>);

impl<I> Drop for StopOnPanic<'_, '_, I> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut progress: MutexGuard<'_, _> = lock(&self.0.progress);
            progress.stopped = true;
            self.0.changed.notify_all();
        }
    }
}

/// Takes out the first bytes of a slice.
fn take_front<'a>(slice: &mut &'a mut [u8], count: usize) -> &'a mut [u8] {
    let (front, rest) = std::mem::take(slice).split_at_mut(count);
    *slice = rest;
    front
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::Chunks;
    use std::thread;

    /// "Codes" a batch: it stays as it is.
    fn code<'a>(assembly: &Assembly<'a, Chunks<'_, u8>>, taken: Taken<'a, &[u8]>) {
        let Taken { index, batch, mut target } = taken;
        let out: &mut [u8] = match &mut target {
            Target::Place(out) => out,
            Target::Buffer(buffer) => buffer,
        };
        out[..batch.len()].copy_from_slice(batch);
        assembly.put(index, target, batch.len());
    }

    #[test]
    fn results_are_put_together_in_order() {
        let (bytes, mut out) = ([1, 1, 2, 2, 3, 3, 4], [0; 9]);
        let assembly = Assembly::new(bytes.chunks(2), vec![vec![0; 2]; 2], &mut out);
        let [first, second, third] = [0; 3].map(|_| assembly.take().unwrap());
        assert!(matches!(first.target, Target::Place(_)));
        thread::scope(|scope| {
            // The place and both buffers are in use: this one waits until one comes back.
            let fourth = scope.spawn(|| assembly.take().unwrap());
            code(&assembly, third);
            code(&assembly, second);
            code(&assembly, first);
            let fourth = fourth.join().unwrap();
            assert_eq!(fourth.index, 3);
            code(&assembly, fourth);
        });
        assert!(assembly.take().is_none());
        assert_eq!(lock(&assembly.progress).length, 7);
        drop(assembly);
        assert_eq!(out, [1, 1, 2, 2, 3, 3, 4, 0, 0]);
    }

    #[test]
    fn nobody_waits_for_a_thread_that_panics() {
        let (bytes, mut out) = ([0; 4], [0; 4]);
        let assembly = Assembly::new(bytes.chunks(1), Vec::new(), &mut out);
        let taken = assembly.take();
        thread::scope(|scope| {
            let waits = scope.spawn(|| assembly.take().is_none());
            let panics = scope.spawn(|| {
                let _guard = StopOnPanic(&assembly);
                panic!("what a bug would do: {}", taken.is_some());
            });
            assert!(panics.join().is_err());
            assert!(waits.join().unwrap());
        });
    }
}
