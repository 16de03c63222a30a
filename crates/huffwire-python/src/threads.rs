//! Threads: how many a call may use, and the pools that they live in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::{env, mem, process, thread};

use huffwire::Threads;
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::Class;

/// The most threads that a caller may ask for, as in the program.
const MOST: usize = 1024;

/// Pools by their number of threads. A call waits for no other: threads of a pool take work of all callers.
struct Pools {
    /// The process that started them. In a fork of it their threads do not exist.
    process: u32,
    by_size: HashMap<usize, Arc<ThreadPool>>,
}

/// Locked only by who holds the interpreter lock. Python forks with that lock held, so in a fork nobody who is gone
/// holds this one.
static POOLS: Mutex<Option<Pools>> = Mutex::new(None);

/// The threads for a call that works on so many bytes; `wanted` is what the caller asks for.
///
/// # Errors
/// `OptionError` for a number outside 1 to 1024, or when the system has no more threads.
pub(crate) fn threads(py: Python<'_>, wanted: Option<usize>, bytes: usize) -> PyResult<Threads> {
    // The library leaves less than 1 MiB to the calling thread. So the system need not be asked.
    let count = match wanted {
        Some(count) => checked(count)?,
        None if bytes < 1 << 20 => 1,
        None => default_count(),
    };
    if count == 1 { Ok(Threads::One) } else { Ok(Threads::Pool(pool(py, count)?)) }
}

/// How many threads a call may use; `wanted` is what the caller asks for.
///
/// # Errors
/// `OptionError` for a number outside 1 to 1024.
pub(crate) fn count(wanted: Option<usize>) -> PyResult<usize> {
    wanted.map_or_else(|| Ok(default_count()), checked)
}

/// The pool with so many threads, started when it is first wanted.
///
/// # Errors
/// `OptionError` when the system has no more threads.
pub(crate) fn pool(_: Python<'_>, count: usize) -> PyResult<Arc<ThreadPool>> {
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let process = process::id();
    if pools.as_ref().is_some_and(|pools| pools.process != process) {
        // Dropped, a pool would wake its threads, which a fork does not have.
        mem::forget(pools.take());
    }
    let by_size =
        &mut pools.get_or_insert_with(|| Pools { process, by_size: HashMap::new() }).by_size;
    if let Some(pool) = by_size.get(&count) {
        return Ok(Arc::clone(pool));
    }
    let builder = ThreadPoolBuilder::new().num_threads(count);
    let builder = builder.thread_name(|index| format!("huffwire-{index}"));
    let pool = Arc::new(builder.build().map_err(|error| {
        Class::Option.error(format!("{count} threads cannot be started: {error}; ask for fewer"))
    })?);
    by_size.insert(count, Arc::clone(&pool));
    Ok(pool)
}

fn checked(count: usize) -> PyResult<usize> {
    if (1..=MOST).contains(&count) {
        return Ok(count);
    }
    Err(Class::Option.error(format!("threads={count}: give a number from 1 to {MOST}, or None")))
}

/// What `OMP_NUM_THREADS` says, or else the processors that this process may use.
fn default_count() -> usize {
    let wish = env::var("OMP_NUM_THREADS").ok().and_then(|value| first_number(&value));
    wish.unwrap_or_else(processors).clamp(1, MOST)
}

/// The first number of a list such as `4` or `4,2` (OpenMP has one for each level of nesting).
fn first_number(value: &str) -> Option<usize> {
    let first = value.split(',').next()?.trim();
    first.parse().ok().filter(|&count| count > 0)
}

fn processors() -> usize {
    // Where a group of processes is limited to less time than its processors have, this tells. It reads files, and
    // nobody changes it while a process runs.
    static LIMIT: OnceLock<usize> = OnceLock::new();
    let limit = || thread::available_parallelism().map_or(1, usize::from);
    match affinity() {
        Some(now) => {
            let at_first = *LIMIT.get_or_init(|| {
                // Without a limit, what it tells is the affinity, and that may change.
                let limit = limit();
                if limit < now { limit } else { usize::MAX }
            });
            now.min(at_first)
        }
        None => limit(),
    }
}

/// The processors that this process may run on now.
#[cfg(target_os = "linux")]
fn affinity() -> Option<usize> {
    let set = rustix::thread::sched_getaffinity(None).ok()?;
    usize::try_from(set.count()).ok()
}

#[cfg(not(target_os = "linux"))]
const fn affinity() -> Option<usize> {
    None
}

/// The number of threads that calls use when they are not told otherwise: what the environment variable
/// `OMP_NUM_THREADS` says, or else as many as there are processors that this process may run on.
#[pyfunction]
pub(crate) fn default_threads() -> usize {
    default_count()
}
