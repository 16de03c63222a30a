//! The blocks of a message on several threads, by *runs*: consecutive blocks that one thread codes with its
//! own scratch memory, by the same function that codes all blocks where there is but one thread.
//!
//! Whoever is idle takes the next run, so nobody waits for the slowest, and runs of unequal cost even out.
//! Decoded runs have their place in the output from the start. Where a coded run belongs is known when those
//! before it are coded: if they are when it is taken, it goes straight there, or else into a buffer first.

use std::slice::Chunks;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Blocks, blocks_capacity, decode_blocks, encode_blocks, take_front};
use crate::block::{BlockDecoder, BlockEncoder};
use crate::codec::{Decoding, Encoding};
use crate::error::{Error, Result};
use crate::parallel::Workers;
use crate::platform::Platform;

/// Most bytes of elements in a run, unless a block is larger: once coded it is in the L2 cache when it moves to
/// its place.
const RUN_BYTES: usize = 512 << 10;

/// Fewer bytes of elements stay on the calling thread: half of them would not make up for waking another.
const SHARED_BYTES: usize = 1 << 20;

/// Runs for each thread, if there are blocks enough: at the end of a message nobody waits for long.
const RUNS_PER_THREAD: usize = 2;

/// Buffers for each thread: one to write to, one that waits for its place.
const BUFFERS_PER_THREAD: usize = 2;

/// How the blocks of a message are shared among threads.
struct Shares {
    threads: usize,
    /// Bytes of elements.
    run_bytes: usize,
}

impl Shares {
    /// `None`: it is not worth it.
    fn new(threads: usize, block_bytes: usize, bytes: usize) -> Option<Self> {
        if threads < 2 || bytes < SHARED_BYTES {
            return None;
        }
        let blocks = bytes.div_ceil(block_bytes);
        // An even number: two blocks are decoded at a time.
        let even = blocks.div_ceil(RUNS_PER_THREAD * threads).next_multiple_of(2);
        let run = even.min((RUN_BYTES / block_bytes).max(1));
        let threads = threads.min(blocks.div_ceil(run));
        (threads > 1).then_some(Self { threads, run_bytes: run * block_bytes })
    }
}

/// What encoding keeps from message to message.
#[derive(Debug)]
pub(crate) struct EncodeScratch {
    pub(crate) workers: Workers<BlockEncoder>,
    buffers: Vec<Vec<u8>>,
}

impl EncodeScratch {
    pub(crate) fn new(platform: Platform) -> Self {
        Self { workers: Workers::new(BlockEncoder::new, platform), buffers: Vec::new() }
    }
}

/// Encodes all blocks of a message into `out`, which has room for the worst case; returns their length.
pub(super) fn encode(
    encoding: Encoding<'_>,
    scratch: &mut EncodeScratch,
    block_bytes: usize,
    bytes: &[u8],
    out: &mut [u8],
) -> Result<usize> {
    let EncodeScratch { workers, buffers } = scratch;
    let Some(Shares { threads, run_bytes }) = Shares::new(workers.size(), block_bytes, bytes.len())
    else {
        return encode_blocks(encoding, workers.own(), block_bytes, bytes, true, out);
    };
    buffers.resize_with(buffers.len().max(BUFFERS_PER_THREAD * threads), Vec::new);
    let room = blocks_capacity(run_bytes / block_bytes, block_bytes);
    let assembly = Assembly::new(bytes.chunks(run_bytes), std::mem::take(buffers), out);
    workers.work(threads, |encoder| {
        let _guard = StopOnPanic(&assembly);
        while let Some(mut run) = assembly.take() {
            let in_place = matches!(run.target, Target::Message(_));
            let out = match &mut run.target {
                Target::Message(out) => out,
                Target::Buffer(buffer) => {
                    // Never shorter: what is new must be set to zero first.
                    buffer.resize(buffer.len().max(room), 0);
                    &mut buffer[..]
                }
            };
            match encode_blocks(encoding, encoder, block_bytes, run.bytes, in_place, out) {
                Ok(length) => assembly.put(run, length),
                Err(error) => assembly.fail(run.index, error),
            }
        }
    });
    let progress = assembly.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    *buffers = progress.buffers;
    progress.error.map_or(Ok(progress.length), |(_, error)| Err(error))
}

/// A run that a thread encodes.
struct Run<'a> {
    index: usize,
    bytes: &'a [u8],
    target: Target<'a>,
}

/// Where the coded run goes.
enum Target<'a> {
    /// All of the message that is not written yet.
    Message(&'a mut [u8]),
    /// A place of its own, until the message is written so far.
    Buffer(Vec<u8>),
}

/// A run that waits for its place.
struct Coded {
    index: usize,
    buffer: Vec<u8>,
    length: usize,
}

/// Makes a message of runs that are coded in any order.
struct Assembly<'a> {
    progress: Mutex<Progress<'a>>,
    /// There is a target for another run, or all is over.
    changed: Condvar,
}

struct Progress<'a> {
    /// Those that nobody has taken.
    runs: Chunks<'a, u8>,
    taken: usize,
    /// Runs that have their place in the message, and their length.
    placed: usize,
    length: usize,
    /// Where the next ones go; empty while somebody writes there.
    out: &'a mut [u8],
    coded: Vec<Coded>,
    /// Those that nobody uses. There are few, so that memory stays small while one thread is late.
    buffers: Vec<Vec<u8>>,
    stopped: bool,
    /// The first in the order of the runs.
    error: Option<(usize, Error)>,
}

impl<'a> Progress<'a> {
    fn target(&mut self) -> Option<Target<'a>> {
        if self.taken == self.placed {
            return Some(Target::Message(std::mem::take(&mut self.out)));
        }
        self.buffers.pop().map(Target::Buffer)
    }

    /// The next run in order is coded: where it lies.
    fn place(&mut self, length: usize) -> &'a mut [u8] {
        self.placed += 1;
        self.length += length;
        take_front(&mut self.out, length)
    }

    /// The next run in order with its place, if it waits for it.
    fn place_coded(&mut self) -> Option<(Coded, &'a mut [u8])> {
        let at = self.coded.iter().position(|coded| coded.index == self.placed)?;
        let coded = self.coded.swap_remove(at);
        let place = self.place(coded.length);
        Some((coded, place))
    }
}

impl<'a> Assembly<'a> {
    fn new(runs: Chunks<'a, u8>, buffers: Vec<Vec<u8>>, out: &'a mut [u8]) -> Self {
        let progress = Progress {
            runs,
            taken: 0,
            placed: 0,
            length: 0,
            out,
            coded: Vec::new(),
            buffers,
            stopped: false,
            error: None,
        };
        Self { progress: Mutex::new(progress), changed: Condvar::new() }
    }

    /// The next run to code, as soon as there is a target for it. There will be one: runs are taken in order,
    /// so one of those that occupy the targets is what all others wait for.
    fn take(&self) -> Option<Run<'a>> {
        let mut progress = lock(&self.progress);
        while !progress.stopped && progress.runs.len() > 0 {
            if let Some(target) = progress.target() {
                let (index, bytes) = (progress.taken, progress.runs.next()?);
                progress.taken += 1;
                return Some(Run { index, bytes, target });
            }
            progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Takes a coded run back; moves it to its place if need be, and those that waited for it.
    fn put(&self, run: Run<'a>, length: usize) {
        let mut progress = lock(&self.progress);
        match run.target {
            Target::Message(out) => {
                progress.out = out;
                progress.place(length);
                self.changed.notify_all();
            }
            Target::Buffer(buffer) => {
                progress.coded.push(Coded { index: run.index, buffer, length });
            }
        }
        while let Some((coded, place)) = progress.place_coded() {
            drop(progress);
            place.copy_from_slice(&coded.buffer[..coded.length]);
            progress = lock(&self.progress);
            progress.buffers.push(coded.buffer);
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

/// A thread that panics never brings its buffer back: nobody shall wait for it.
struct StopOnPanic<'a, 'b>(&'a Assembly<'b>);

impl Drop for StopOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0.progress).stopped = true;
            self.0.changed.notify_all();
        }
    }
}

/// What nobody has begun to decode.
struct Undecoded<'a, 'b> {
    blocks: &'b mut Blocks<'a>,
    out: &'b mut [u8],
    /// The first in the order of the blocks, with the first block of its run.
    error: Option<(u64, Error)>,
}

/// Decodes all of `blocks` into `out`, which is as long as their elements. The error is that of the first
/// block that has one.
pub(super) fn decode(
    decoding: Decoding<'_>,
    workers: &mut Workers<BlockDecoder>,
    blocks: &mut Blocks<'_>,
    out: &mut [u8],
) -> Result<()> {
    let block_bytes = blocks.block_bytes();
    let Some(Shares { threads, run_bytes }) =
        Shares::new(workers.size(), block_bytes, blocks.raw_bytes())
    else {
        return decode_blocks(decoding, workers.own(), blocks, out);
    };
    let undecoded = Mutex::new(Undecoded { blocks, out, error: None });
    // Runs are taken in order: when one fails, those before it are finished or in work.
    let take = || {
        let Undecoded { blocks, out, error } = &mut *lock(&undecoded);
        if error.is_some() || blocks.raw_bytes() == 0 {
            return None;
        }
        let run = blocks.take_run(run_bytes / block_bytes);
        let place = take_front(out, run.raw_bytes());
        Some((run, place))
    };
    workers.work(threads, |decoder| {
        while let Some((mut run, place)) = take() {
            let index = run.index();
            if let Err(error) = decode_blocks(decoding, decoder, &mut run, place) {
                keep_first(&mut lock(&undecoded).error, index, error);
            }
        }
    });
    let undecoded = undecoded.into_inner().unwrap_or_else(PoisonError::into_inner);
    undecoded.error.map_or(Ok(()), |(_, error)| Err(error))
}

/// How many blocks are decoded at a time where memory must not grow on a claim: as many as keep all threads
/// busy.
pub(super) fn at_a_time<W: Send>(workers: &Workers<W>, block_bytes: usize) -> usize {
    (workers.size() * RUNS_PER_THREAD * RUN_BYTES).div_ceil(block_bytes)
}

fn keep_first<I: PartialOrd>(first: &mut Option<(I, Error)>, index: I, error: Error) {
    if first.as_ref().is_none_or(|(known, _)| index < *known) {
        *first = Some((index, error));
    }
}

/// No thread leaves anything half done under a lock, so a panic elsewhere changes nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// "Codes" a run: it stays as it is.
    fn code<'a>(assembly: &Assembly<'a>, mut run: Run<'a>) {
        let length = run.bytes.len();
        let out: &mut [u8] = match &mut run.target {
            Target::Message(out) => out,
            Target::Buffer(buffer) => buffer,
        };
        out[..length].copy_from_slice(run.bytes);
        assembly.put(run, length);
    }

    #[test]
    fn runs_are_put_together_in_order() {
        let (bytes, mut out) = ([1, 1, 2, 2, 3, 3, 4], [0; 9]);
        let assembly = Assembly::new(bytes.chunks(2), vec![vec![0; 2]; 2], &mut out);
        let [first, second, third] = [0; 3].map(|_| assembly.take().unwrap());
        assert!(matches!(first.target, Target::Message(_)));
        thread::scope(|scope| {
            // The message and both buffers are in use: this one waits until one comes back.
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

    #[test]
    fn small_messages_are_not_shared_and_runs_are_even() {
        assert!(Shares::new(8, 1 << 17, SHARED_BYTES - 1).is_none());
        assert!(Shares::new(1, 1 << 17, 1 << 30).is_none());
        for (threads, bytes, expected) in
            [(2, 8, (2, 2)), (2, 9, (2, 4)), (8, 9, (5, 2)), (8, 800, (8, 4))]
        {
            let shares = Shares::new(threads, 1 << 17, bytes << 17).unwrap();
            assert_eq!((shares.threads, shares.run_bytes >> 17), expected, "{threads}, {bytes}");
        }
        let large = Shares::new(3, 1 << 20, 5 << 20).unwrap();
        assert_eq!((large.threads, large.run_bytes), (3, 1 << 20));
    }
}
