//! Blocks in parallel, results in order, memory bounded.
//!
//! Jobs are taken in batches. All threads work on a batch, while the caller consumes the one before;
//! so at most two batches exist at a time, and what comes out does not depend on the number of
//! threads.

use std::num::NonZeroUsize;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow};
use rayon::prelude::*;

/// Bytes of elements that each thread gets in a batch: enough to even out blocks of unequal cost.
const BYTES_PER_THREAD: usize = 1 << 20;

/// The threads of this run.
#[derive(Debug)]
pub(crate) struct Workers {
    pool: rayon::ThreadPool,
}

impl Workers {
    /// As many threads as asked for, or one for each core.
    pub(crate) fn new(threads: Option<NonZeroUsize>) -> Result<Self> {
        let threads = threads.map_or(0, NonZeroUsize::get);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        Ok(Self { pool: pool.context("the threads cannot be started; pass a smaller --threads")? })
    }

    /// Runs something that uses rayon by itself.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    /// One value for each thread, such as an encoder with its scratch memory.
    pub(crate) fn each<T>(&self, mut make: impl FnMut() -> Result<T>) -> Result<PerThread<T>> {
        let threads = self.pool.current_num_threads();
        Ok(PerThread((0..threads).map(|_| make().map(Mutex::new)).collect::<Result<_>>()?))
    }

    /// Calls `work` for all jobs in parallel and `consume` for each of them in order, on the
    /// calling thread. `block_bytes` is the size of a job's elements. The first error, in the order
    /// of the jobs, ends it.
    ///
    /// An `S` is what `work` hands to `consume`; they are used again, so that buffers stay.
    pub(crate) fn run<J, S>(
        &self,
        block_bytes: usize,
        mut jobs: impl Iterator<Item = J> + Send,
        work: impl Fn(&J, &mut S) -> Result<()> + Sync,
        mut consume: impl FnMut(&J, &mut S) -> Result<()>,
    ) -> Result<()>
    where
        J: Send + Sync,
        S: Default + Send,
    {
        let per_thread = (BYTES_PER_THREAD / block_bytes.max(1)).clamp(2, 64);
        let batch_size = self.pool.current_num_threads() * per_thread;
        // Of size 0: a finished batch waits until the one before it is consumed.
        let (done, finished) = sync_channel::<Vec<(J, S)>>(0);
        let (give_back, used) = channel::<S>();
        let work = &work;
        let produce = move || -> Result<()> {
            loop {
                let fresh = || used.try_recv().unwrap_or_default();
                let mut batch: Vec<(J, S)> =
                    jobs.by_ref().take(batch_size).map(|job| (job, fresh())).collect();
                if batch.is_empty() {
                    return Ok(());
                }
                let each = |(job, slot): &mut (J, S)| work(job, slot);
                let results: Vec<_> =
                    self.pool.install(|| batch.par_iter_mut().map(each).collect());
                let failed = results.iter().position(Result::is_err);
                batch.truncate(failed.unwrap_or(batch.len()));
                // The consumer gave up; its error is the one to report.
                if done.send(batch).is_err() {
                    return Ok(());
                }
                results.into_iter().collect::<Result<()>>()?;
            }
        };
        thread::scope(|scope| {
            let producer = scope.spawn(produce);
            let consumed = finished.into_iter().try_for_each(|batch| {
                batch.into_iter().try_for_each(|(job, mut slot)| {
                    consume(&job, &mut slot)?;
                    let _ = give_back.send(slot); // Nobody needs it any more at the very end.
                    Ok(())
                })
            });
            let produced = producer.join().map_err(|_| anyhow!("a worker thread failed"))?;
            consumed.and(produced)
        })
    }
}

/// One `T` for each thread of a pool.
#[derive(Debug)]
pub(crate) struct PerThread<T>(Vec<Mutex<T>>);

impl<T> PerThread<T> {
    /// Calls `f` with the value of the current thread.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // Never contended: each thread of the pool has its own. Outside a pool the first serves.
        let index = rayon::current_thread_index().unwrap_or(0) % self.0.len();
        f(&mut self.0[index].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;

    fn workers() -> Workers {
        Workers::new(NonZeroUsize::new(3)).unwrap()
    }

    #[test]
    fn results_come_in_order() {
        let mut seen = Vec::new();
        let square = |&job: &u32, slot: &mut u32| {
            *slot = job * job;
            Ok(())
        };
        let consume = |&job: &u32, slot: &mut u32| {
            seen.push((job, *slot));
            Ok(())
        };
        workers().run(1 << 17, 0..1000, square, consume).unwrap();
        assert_eq!(seen, (0..1000).map(|i| (i, i * i)).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_error_ends_it_and_everything_before_it_was_consumed() {
        let work = |&job: &u32, _: &mut ()| {
            ensure!(job < 77, "job {job}");
            Ok(())
        };
        let mut consumed = 0;
        let consume = |_: &u32, (): &mut ()| {
            consumed += 1;
            Ok(())
        };
        let error = workers().run(1 << 17, 0..1000, work, consume).unwrap_err();
        assert_eq!(error.to_string(), "job 77");
        assert_eq!(consumed, 77);
        let fail = |&job: &u32, (): &mut ()| {
            ensure!(job < 5, "consumer {job}");
            Ok(())
        };
        let error = workers().run(1 << 17, 0..1000, |_, _| Ok(()), fail).unwrap_err();
        assert_eq!(error.to_string(), "consumer 5");
    }
}
