//! Groups of jobs on the threads of a pool, their results in order.
//!
//! A group is worked on by one thread, so its memory stays in one cache. Groups are given out as earlier ones are
//! consumed, so memory is bounded, and no thread waits for another one.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

/// Bytes of elements in a group: so few that they stay in a second-level cache together with what is made of them, and so
/// many that handing over a group costs little beside them.
const GROUP_BYTES: usize = 512 << 10;

/// Groups that exist at a time: a thread works on one and has others to go on with, while results are consumed.
const GROUPS_PER_THREAD: usize = 3;

/// Jobs with what was made of them, as a thread leaves them.
struct Group<J, S, E> {
    /// Those that were done: all, or those before the first one that failed.
    done: Vec<(J, S)>,
    error: Option<E>,
}

/// Calls `prepare` for all jobs in their order, `work` in parallel, and `consume` in their order again: `prepare` and
/// `consume` on the calling thread, `work` on those of the pool. `prepare` is told whether there is time: a core is free
/// for the calling thread, and the others have work meanwhile. The first error, in the order of the jobs, ends the run.
pub(super) fn run<J, S, E>(
    pool: &rayon::ThreadPool,
    block_bytes: usize,
    mut jobs: impl Iterator<Item = J>,
    mut prepare: impl FnMut(&J, &mut S, bool),
    work: impl Fn(&J, &mut S) -> Result<(), E> + Sync,
    mut consume: impl FnMut(&J, &mut S) -> Result<(), E>,
) -> Result<(), E>
where
    J: Send,
    S: Default + Send,
    E: Send,
{
    let threads = pool.current_num_threads();
    let has_spare_core = available_parallelism().is_ok_and(|cores| cores.get() > threads);
    let group_size = (GROUP_BYTES / block_bytes.max(1)).clamp(1, 64);
    let at_a_time = GROUPS_PER_THREAD * threads + 1;
    let finished = Finished::default();
    let (work, finished) = (&work, &finished);
    pool.in_place_scope(|scope| {
        // Threads stop early when the calling thread leaves, be it by a panic.
        let _end = End(&finished.ended);
        let (mut idle, mut in_order) = (Vec::new(), InOrder::default());
        let mut given = 0;
        let mut at_end = false;
        loop {
            in_order.put(finished.take(0));
            let unfinished = given - in_order.received;
            let may_give = !at_end && given - in_order.taken < at_a_time;
            // First that no thread runs out of work, then what is done, then more work ahead.
            if may_give && (unfinished < 2 * threads || !in_order.has_next()) {
                let has_time = has_spare_core && unfinished > threads;
                let fresh = |job| (job, idle.pop().unwrap_or_default());
                let mut group: Vec<(J, S)> = jobs.by_ref().take(group_size).map(fresh).collect();
                at_end = group.is_empty();
                if !at_end {
                    group.iter_mut().for_each(|(job, slot)| prepare(job, slot, has_time));
                    let number = given;
                    scope.spawn(move |_| finished.work_on(number, group, work));
                    given += 1;
                }
            } else if let Some(group) = in_order.next() {
                for (job, mut slot) in group.done {
                    consume(&job, &mut slot)?;
                    idle.push(slot);
                }
                if let Some(error) = group.error {
                    return Err(error);
                }
            } else if unfinished > 0 {
                // Woken rarely, and before the threads have nothing left to do.
                in_order.put(finished.take(unfinished.saturating_sub(threads).max(1)));
            } else {
                return Ok(());
            }
        }
    })
}

/// A group and its number, or the panic that ended the work on it.
type Numbered<J, S, E> = (usize, std::thread::Result<Group<J, S, E>>);

/// Groups that threads have finished, for the calling thread to take.
struct Finished<J, S, E> {
    groups: Mutex<Vec<Numbered<J, S, E>>>,
    enough: Condvar,
    /// How many groups the calling thread waits for; 0 if it does not wait. Changed only while `groups` is locked.
    wanted: AtomicUsize,
    /// Nobody takes groups any more.
    ended: AtomicBool,
}

impl<J, S, E> Default for Finished<J, S, E> {
    fn default() -> Self {
        let (groups, enough) = (Mutex::new(Vec::new()), Condvar::new());
        Self { groups, enough, wanted: AtomicUsize::new(0), ended: AtomicBool::new(false) }
    }
}

impl<J, S, E> Finished<J, S, E> {
    /// What a thread of the pool does with a group.
    fn work_on(
        &self,
        number: usize,
        mut group: Vec<(J, S)>,
        work: impl Fn(&J, &mut S) -> Result<(), E>,
    ) {
        if self.ended.load(Ordering::Relaxed) {
            return;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut jobs = group.iter_mut().enumerate();
            let failed = jobs.find_map(|(at, (job, slot))| Some((at, work(job, slot).err()?)));
            let (count, error) =
                failed.map_or((group.len(), None), |(at, error)| (at, Some(error)));
            group.truncate(count);
            Group { done: group, error }
        }));
        let mut groups = self.lock();
        groups.push((number, outcome));
        if groups.len() == self.wanted.load(Ordering::Relaxed) {
            drop(groups);
            self.enough.notify_one();
        }
    }

    /// Takes all groups that are finished; waits until they are so many.
    fn take(&self, at_least: usize) -> Vec<Numbered<J, S, E>> {
        let mut groups = self.lock();
        if groups.len() < at_least {
            self.wanted.store(at_least, Ordering::Relaxed);
            let waited = self.enough.wait_while(groups, |groups| groups.len() < at_least);
            groups = waited.unwrap_or_else(PoisonError::into_inner);
            self.wanted.store(0, Ordering::Relaxed);
        }
        std::mem::take(&mut groups)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Numbered<J, S, E>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a run when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Groups as they come, to be taken in their order.
struct InOrder<J, S, E> {
    /// The first is the next one to be taken; `None` while a thread works on it.
    waiting: VecDeque<Option<Group<J, S, E>>>,
    received: usize,
    taken: usize,
}

impl<J, S, E> Default for InOrder<J, S, E> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), received: 0, taken: 0 }
    }
}

impl<J, S, E> InOrder<J, S, E> {
    /// Adds groups; goes on with the panic of a thread.
    fn put(&mut self, groups: Vec<Numbered<J, S, E>>) {
        for (number, outcome) in groups {
            let group = outcome.unwrap_or_else(|panic| resume_unwind(panic));
            let index = number - self.taken;
            if self.waiting.len() <= index {
                self.waiting.resize_with(index + 1, || None);
            }
            self.waiting[index] = Some(group);
            self.received += 1;
        }
    }

    /// Whether the next group is there.
    fn has_next(&self) -> bool {
        matches!(self.waiting.front(), Some(Some(_)))
    }

    /// The next group, if it is there.
    fn next(&mut self) -> Option<Group<J, S, E>> {
        let next = self.waiting.front_mut()?.take()?;
        self.waiting.pop_front();
        self.taken += 1;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;
    use std::thread;

    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn preparation_and_consumption_are_in_order_and_on_the_calling_thread() {
        let here = thread::current().id();
        for threads in [1, 2, 5] {
            let (mut prepared, mut consumed) = (Vec::new(), Vec::new());
            let prepare = |&job: &usize, slot: &mut usize, _: bool| {
                assert_eq!(thread::current().id(), here);
                *slot = job + 1;
                prepared.push(job);
            };
            let work = |&job: &usize, slot: &mut usize| {
                assert_ne!(thread::current().id(), here);
                assert_eq!(*slot, job + 1, "the slot that was prepared");
                *slot += job;
                Ok::<(), ()>(())
            };
            let consume = |&job: &usize, slot: &mut usize| {
                assert_eq!((thread::current().id(), *slot), (here, 2 * job + 1));
                consumed.push(job);
                Ok(())
            };
            run(&pool(threads), GROUP_BYTES / 3, 0..1000, prepare, work, consume).unwrap();
            let all: Vec<usize> = (0..1000).collect();
            assert_eq!((prepared, consumed), (all.clone(), all));
        }
    }

    /// Counts how many there are.
    struct Counted;

    static SLOTS: AtomicUsize = AtomicUsize::new(0);

    impl Default for Counted {
        fn default() -> Self {
            SLOTS.fetch_add(1, SeqCst);
            Self
        }
    }

    #[test]
    fn slots_are_used_again_however_slow_the_consumer_is() {
        let (threads, per_group) = (2, 4);
        let work = |_: &u32, _: &mut Counted| Ok::<(), ()>(());
        let consume = |_: &u32, _: &mut Counted| {
            thread::yield_now();
            Ok(())
        };
        run(&pool(threads), GROUP_BYTES / per_group, 0..5000, |_, _, _| (), work, consume).unwrap();
        let most = (GROUPS_PER_THREAD * threads + 1) * per_group;
        let slots = SLOTS.load(SeqCst);
        assert!((1..=most).contains(&slots), "{slots} of {most}");
    }

    #[test]
    fn a_panic_of_a_thread_is_one_of_the_caller() {
        for threads in [1, 3] {
            let mut consumed = 0;
            let work = |&job: &u32, (): &mut ()| {
                assert_ne!(job, 700, "job 700");
                Ok::<(), ()>(())
            };
            let consume = |_: &u32, (): &mut ()| {
                consumed += 1;
                Ok(())
            };
            let pool = pool(threads);
            let run = || run(&pool, GROUP_BYTES, 0..1000, |_, _, _| (), work, consume);
            let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
            let message = panic.downcast_ref::<String>().unwrap();
            assert!(message.contains("job 700") && consumed <= 700, "{message}");
        }
    }

    #[test]
    fn no_jobs_are_no_work() {
        let nothing = |_: &u32, (): &mut ()| Err::<(), _>(());
        run(&pool(2), GROUP_BYTES, 0..0, |_, _, _| (), nothing, nothing).unwrap();
    }
}
