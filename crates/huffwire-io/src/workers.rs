//! Blocks on several threads: results in order, memory bounded.
//!
//! The results do not depend on the number of threads.

mod groups;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;

/// Bytes that a thread does before it tells so.
const STEP: u64 = 4 << 20;

/// The threads that blocks are coded on.
///
/// ```
/// use huffwire_io::{Error, Workers};
///
/// let workers = Workers::new(2)?;
/// let mut squares = Vec::new();
/// let square = |job: &u64, result: &mut u64| {
///     *result = job * job;
///     Ok::<(), Error>(())
/// };
/// workers.run(1 << 17, 0..1000, square, |_, result| {
///     squares.push(*result); // In the order of the jobs.
///     Ok(())
/// })?;
/// assert_eq!(squares[..4], [0, 1, 4, 9]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Workers {
    /// `None`: the calling thread does all the work.
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl Workers {
    /// Starts so many threads; 0 means one for each core.
    ///
    /// # Errors
    /// [`Error::Threads`] when they cannot be started.
    pub fn new(threads: usize) -> Result<Self, Error> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| Error::Threads { threads, detail: error.to_string() })?;
        Ok(Self::on(Arc::new(pool)))
    }

    /// The threads of this pool.
    #[must_use]
    pub const fn on(pool: Arc<rayon::ThreadPool>) -> Self {
        Self { pool: Some(pool) }
    }

    /// No threads: the calling thread does all the work.
    #[must_use]
    pub const fn caller() -> Self {
        Self { pool: None }
    }

    /// Number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    /// Runs work that uses rayon by itself on these threads.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// One value for each thread, such as an encoder with its scratch memory.
    ///
    /// # Errors
    /// The error of `make`.
    pub fn each<T, E>(&self, mut make: impl FnMut() -> Result<T, E>) -> Result<PerThread<T>, E> {
        let values = (0..self.threads()).map(|_| make().map(Mutex::new));
        Ok(PerThread(values.collect::<Result<_, E>>()?))
    }

    /// Calls `work` for all jobs in parallel and `consume` for each of them in order, on the calling
    /// thread. `block_bytes` is the size of a job's elements. The first error, in the order of the jobs,
    /// ends the run; every job before it was consumed.
    ///
    /// `work` leaves its result in an `S`, which `consume` then gets. Each `S` is used again for a later
    /// job, so that its buffers need not be allocated again.
    ///
    /// # Errors
    /// Those of `work` and `consume`.
    pub fn run<J, S, E>(
        &self,
        block_bytes: usize,
        jobs: impl Iterator<Item = J>,
        work: impl Fn(&J, &mut S) -> Result<(), E> + Sync,
        consume: impl FnMut(&J, &mut S) -> Result<(), E>,
    ) -> Result<(), E>
    where
        J: Send,
        S: Default + Send,
        E: Send,
    {
        self.run_prepared(block_bytes, jobs, |_, _, _| (), work, consume)
    }

    /// As [`Workers::run`], after `prepare` was called for each job, in order, on the calling thread. It is told whether
    /// there is time: whether the threads have other work meanwhile and leave a core free. So it can do a part of the
    /// work then, and leave it to `work` otherwise.
    ///
    /// # Errors
    /// Those of `work` and `consume`.
    pub(crate) fn run_prepared<J, S, E>(
        &self,
        block_bytes: usize,
        jobs: impl Iterator<Item = J>,
        mut prepare: impl FnMut(&J, &mut S, bool),
        work: impl Fn(&J, &mut S) -> Result<(), E> + Sync,
        mut consume: impl FnMut(&J, &mut S) -> Result<(), E>,
    ) -> Result<(), E>
    where
        J: Send,
        S: Default + Send,
        E: Send,
    {
        if let Some(pool) = &self.pool {
            return groups::run(pool, block_bytes, jobs, prepare, work, consume);
        }
        let mut slot = S::default();
        for job in jobs {
            prepare(&job, &mut slot, false);
            work(&job, &mut slot)?;
            consume(&job, &mut slot)?;
        }
        Ok(())
    }

    /// Calls `work` for all jobs in parallel; the jobs say themselves where their results go. `work` returns the bytes
    /// that it has done, and `progress` is called with sums of them, on the calling thread. The first error of `work`,
    /// in the order of the jobs, or an error of `progress` ends the run.
    ///
    /// No thread waits for another one before the jobs are at an end.
    ///
    /// # Errors
    /// Those of `work` and `progress`.
    pub fn run_in_place<J: Send, E: From<F>, F: Send>(
        &self,
        mut jobs: impl Iterator<Item = J> + Send,
        work: impl Fn(&mut J) -> Result<u64, F> + Sync,
        mut progress: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(pool) = &self.pool else {
            let mut steps = 0;
            for mut job in jobs {
                steps += work(&mut job)?;
                if steps >= STEP {
                    progress(std::mem::take(&mut steps))?;
                }
            }
            return if steps > 0 { progress(steps) } else { Ok(()) };
        };
        let jobs = Mutex::new(jobs.by_ref().enumerate());
        let failed: Mutex<Option<(usize, F)>> = Mutex::new(None);
        let ended = AtomicBool::new(false);
        let (tell, told) = channel::<u64>();
        let each = |tell: Sender<u64>| {
            let mut steps = 0;
            while !ended.load(Ordering::Relaxed) {
                // Taken in order: when one fails, all before it were taken and will be done.
                let Some((index, mut job)) = lock(&jobs).next() else { break };
                match work(&mut job) {
                    Ok(bytes) => steps += bytes,
                    Err(error) => {
                        ended.store(true, Ordering::Relaxed);
                        let mut failed = lock(&failed);
                        if failed.as_ref().is_none_or(|(first, _)| index < *first) {
                            *failed = Some((index, error));
                        }
                        break;
                    }
                }
                if steps >= STEP {
                    // Nobody listens any more if the run is at an end.
                    let _ = tell.send(std::mem::take(&mut steps));
                }
            }
            if steps > 0 {
                let _ = tell.send(steps);
            }
        };
        let told = pool.in_place_scope(|scope| {
            for _ in 0..pool.current_num_threads() {
                let (each, tell) = (&each, tell.clone());
                scope.spawn(move |_| each(tell));
            }
            // What is left are the threads' own; when they are gone, so is the work.
            drop(tell);
            while let Ok(bytes) = told.recv() {
                // Not all that there are: threads with small jobs may tell of more of them all the time.
                let more = told.try_iter().take(pool.current_num_threads());
                let bytes = bytes + more.sum::<u64>();
                if let Err(error) = progress(bytes) {
                    ended.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error.into()),
            None => told,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One `T` for each thread of [`Workers`].
#[derive(Debug)]
pub struct PerThread<T>(Vec<Mutex<T>>);

impl<T> PerThread<T> {
    /// Calls `f` with the value of the current thread.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // Never contended: each thread of the pool has its own. Outside a pool the first serves.
        let index = rayon::current_thread_index().unwrap_or(0) % self.0.len();
        f(&mut self.0[index].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error of its own, so that the tests see which one arrives.
    #[derive(Debug, PartialEq)]
    struct Failure(String);

    impl From<Error> for Failure {
        fn from(error: Error) -> Self {
            Self(error.to_string())
        }
    }

    fn all() -> [Workers; 3] {
        [Workers::caller(), Workers::new(1).unwrap(), Workers::new(3).unwrap()]
    }

    #[test]
    fn results_come_in_order() {
        for workers in all() {
            let mut seen = Vec::new();
            let square = |&job: &u32, slot: &mut u32| {
                *slot = job * job;
                Ok::<(), Failure>(())
            };
            let consume = |&job: &u32, slot: &mut u32| {
                seen.push((job, *slot));
                Ok(())
            };
            workers.run(1 << 17, 0..1000, square, consume).unwrap();
            assert_eq!(seen, (0..1000).map(|i| (i, i * i)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn jobs_say_themselves_where_their_results_go() {
        for workers in all() {
            let mut squares = vec![0u64; 1000];
            let mut told = 0;
            let work = |(index, square): &mut (usize, &mut u64)| {
                **square = (*index * *index) as u64;
                Ok::<u64, Failure>(STEP / 3)
            };
            let progress = |bytes| {
                told += bytes;
                Ok::<(), Failure>(())
            };
            workers.run_in_place(squares.iter_mut().enumerate(), work, progress).unwrap();
            assert_eq!(told, 1000 * (STEP / 3));
            assert_eq!(squares, (0..1000).map(|i| i * i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn work_in_place_ends_with_the_first_error() {
        for workers in all() {
            let failing = |job: &mut u64| match *job {
                77.. => Err(Failure(format!("job {job}"))),
                _ => Ok(STEP),
            };
            let error =
                workers.run_in_place(0..1000, failing, |_| Ok::<(), Failure>(())).unwrap_err();
            assert_eq!(error.0, "job 77");
            let work = |_: &mut u64| Ok::<u64, Failure>(STEP);
            let enough = |_| Err(Failure("enough".to_owned()));
            let error = workers.run_in_place(0.., work, enough).unwrap_err();
            assert_eq!(error.0, "enough");
        }
    }

    #[test]
    fn the_first_error_ends_it_and_everything_before_it_was_consumed() {
        let failing_at = |limit: u32, job: u32| match job < limit {
            true => Ok(()),
            false => Err(Failure(format!("job {job}"))),
        };
        for workers in all() {
            let mut consumed = 0;
            let consume = |_: &u32, (): &mut ()| {
                consumed += 1;
                Ok(())
            };
            let work = |&job: &u32, (): &mut ()| failing_at(77, job);
            let error = workers.run(1 << 17, 0..1000, work, consume).unwrap_err();
            assert_eq!((error.0.as_str(), consumed), ("job 77", 77));
            let fail = |&job: &u32, (): &mut ()| failing_at(5, job);
            let error = workers.run(1 << 17, 0..1000, |_, _| Ok(()), fail).unwrap_err();
            assert_eq!(error.0, "job 5");
        }
    }
}
