//! Threads: which threads work on a job, and how they share its batches. This module does not know messages.

mod each;
mod in_order;
mod share;

#[cfg(feature = "rayon")]
use std::sync::Arc;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::kernels::platform::Platform;

pub(crate) use each::each;
pub(crate) use in_order::in_order;
pub(crate) use share::{BATCH_BYTES, Share};

/// Which threads an [`Encoder`](crate::Encoder) or [`Decoder`](crate::Decoder) uses for a message.
///
/// Bytes, elements and errors are the same for every number of threads. Only messages are shared among
/// threads, and those of less than 1 MiB of elements (or of a single block) stay on the calling thread: with AVX-512
/// to wake a sleeping thread takes about as long as to code them. Blocks
/// ([`Encoder::encode_block`](crate::Encoder::encode_block)) are always coded on the calling thread.
///
/// The calling thread works too, so a pool of one thread is the same as [`Threads::One`]. Each thread that
/// helped leaves its scratch memory with the encoder or decoder, for the next message. A call from within a pool is
/// fine, also when all its threads are in such calls. A call ends when the pool has run all helpers, also those that
/// found nothing left to do: the pool's threads must not wait for the caller.
///
/// [`Decoder::decode`](crate::Decoder::decode) into a buffer that is used again gains most.
/// [`Decoder::decode_to_vec`](crate::Decoder::decode_to_vec) gets its memory from the system bit by bit, on the
/// calling thread.
///
/// ```
/// # #[cfg(feature = "rayon")] {
/// use huffwire::{Decoder, Dtype, Encoder, Threads};
///
/// let tensor: Vec<u8> = (0..1 << 20).flat_map(|i: u32| (i as f32).sqrt().to_le_bytes()).collect();
/// let mut encoder = Encoder::builtin().with_threads(Threads::Current);
/// let message = encoder.encode_to_vec(Dtype::F32, &tensor)?;
/// assert_eq!(message, Encoder::builtin().encode_to_vec(Dtype::F32, &tensor)?);
///
/// let mut restored = vec![0; tensor.len()];
/// Decoder::builtin().with_threads(Threads::Current).decode(&message, &mut restored)?;
/// assert_eq!(restored, tensor);
/// # }
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Threads {
    /// The calling thread alone.
    #[default]
    One,
    /// The rayon pool that the caller is in, or else the global one.
    #[cfg(feature = "rayon")]
    Current,
    /// A pool of the caller's.
    #[cfg(feature = "rayon")]
    Pool(Arc<rayon::ThreadPool>),
}

impl Threads {
    /// How many threads there are.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::One => 1,
            #[cfg(feature = "rayon")]
            Self::Current => rayon::current_num_threads(),
            #[cfg(feature = "rayon")]
            Self::Pool(pool) => pool.current_num_threads(),
        }
    }
}

/// A worker (scratch memory) for each thread, kept from message to message.
#[derive(Debug)]
pub(crate) struct Workers<W> {
    threads: Threads,
    platform: Platform,
    make: fn(Platform) -> W,
    own: W,
    /// Made when they are first needed.
    helpers: Vec<W>,
}

impl<W: Send> Workers<W> {
    pub(crate) fn new(make: fn(Platform) -> W, platform: Platform) -> Self {
        Self { threads: Threads::One, platform, make, own: make(platform), helpers: Vec::new() }
    }

    pub(crate) fn set_threads(&mut self, threads: Threads) {
        self.threads = threads;
    }

    pub(crate) fn set_platform(&mut self, platform: Platform) {
        self.platform = platform;
        self.own = (self.make)(platform);
        self.helpers.clear();
    }

    /// How many can work at the same time.
    pub(crate) fn size(&self) -> usize {
        self.threads.count()
    }

    /// Which threads work.
    pub(crate) const fn threads(&self) -> &Threads {
        &self.threads
    }

    /// What the workers were made for.
    pub(crate) const fn platform(&self) -> Platform {
        self.platform
    }

    /// The calling thread's.
    pub(crate) const fn own(&mut self) -> &mut W {
        &mut self.own
    }

    /// Calls `work` for `count` workers, one after the other, up to the first error.
    pub(crate) fn each_one(
        &mut self,
        count: usize,
        work: impl FnMut(&mut W) -> Result<()>,
    ) -> Result<()> {
        let (own, helpers) = self.so_many(count);
        std::iter::once(own).chain(helpers).try_for_each(work)
    }

    /// The calling thread's worker, and others to make it `count`.
    fn so_many(&mut self, count: usize) -> (&mut W, &mut [W]) {
        let helpers = count.saturating_sub(1);
        if self.helpers.len() < helpers {
            self.helpers.resize_with(helpers, || (self.make)(self.platform));
        }
        (&mut self.own, &mut self.helpers[..helpers])
    }

    /// Calls `work` for `count` workers at the same time; returns when all are done.
    pub(crate) fn work(&mut self, count: usize, work: impl Fn(&mut W) + Sync) {
        let threads = self.threads.clone();
        let (own, helpers) = self.so_many(count);
        match &threads {
            Threads::One => std::iter::once(own).chain(helpers).for_each(work),
            #[cfg(feature = "rayon")]
            Threads::Current => rayon::in_place_scope(|scope| share(scope, own, helpers, &work)),
            #[cfg(feature = "rayon")]
            Threads::Pool(pool) => pool.in_place_scope(|scope| share(scope, own, helpers, &work)),
        }
    }
}

/// Helpers work on the pool's threads, `own` on this one.
#[cfg(feature = "rayon")]
fn share<'scope, W: Send>(
    scope: &rayon::Scope<'scope>,
    own: &mut W,
    helpers: &'scope mut [W],
    work: &'scope (impl Fn(&mut W) + Sync),
) {
    for helper in helpers {
        scope.spawn(move |_| work(helper));
    }
    work(own);
}

fn keep_first(first: &mut Option<(usize, Error)>, index: usize, error: Error) {
    if first.as_ref().is_none_or(|(known, _)| index < *known) {
        *first = Some((index, error));
    }
}

/// No thread leaves anything half done under a lock, so a panic elsewhere changes nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[cfg(feature = "rayon")]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::thread;

    fn pool(threads: usize) -> Arc<rayon::ThreadPool> {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
        Arc::new(builder.thread_name(|index| format!("pool-{index}")).build().unwrap())
    }

    /// The names of the threads that work at the same time for a three workers.
    fn names(threads: Threads) -> Vec<Option<String>> {
        let mut workers = Workers::new(|_| None, Platform::Portable);
        workers.set_threads(threads);
        assert_eq!(workers.size(), 3);
        let all = Barrier::new(3);
        workers.work(3, |name| {
            all.wait();
            *name = thread::current().name().map(str::to_owned);
        });
        workers.helpers.into_iter().chain([workers.own]).collect()
    }

    #[test]
    fn the_callers_pool_helps_the_calling_thread() {
        let pool = pool(3);
        let mut found = names(Threads::Pool(Arc::clone(&pool)));
        assert_eq!(found.pop().as_ref().map(Option::as_deref), Some(thread::current().name()));
        assert!(found.iter().flatten().all(|name| name.starts_with("pool-")), "{found:?}");
        let found = pool.install(|| names(Threads::Current));
        assert!(found.iter().flatten().all(|name| name.starts_with("pool-")), "{found:?}");
    }

    #[test]
    fn one_thread_is_the_calling_one() {
        assert_eq!(Threads::default().count(), 1);
        let mut workers = Workers::new(|_| None, Platform::Portable);
        workers.work(1, |id| *id = Some(thread::current().id()));
        assert_eq!(*workers.own(), Some(thread::current().id()));
        assert!(workers.helpers.is_empty());
    }
}
