//! Jobs whose results have known places: decoded batches of a message.

use std::sync::{Mutex, PoisonError};

use super::{Workers, keep_first, lock};
use crate::error::{Error, Result};

/// Calls `work` for each batch, on several threads. The error is that of the first batch in order that has one.
pub(crate) fn each<W: Send, T: Send>(
    workers: &mut Workers<W>,
    threads: usize,
    batches: impl Iterator<Item = T> + Send,
    work: impl Fn(&mut W, T) -> Result<()> + Sync,
) -> Result<()> {
    let left = Mutex::new((batches.enumerate(), None::<(usize, Error)>));
    // Batches are taken in order: when one fails, those before it are finished or in work.
    let take = || {
        let (batches, error) = &mut *lock(&left);
        if error.is_some() { None } else { batches.next() }
    };
    workers.work(threads, |worker| {
        while let Some((index, batch)) = take() {
            if let Err(error) = work(worker, batch) {
                keep_first(&mut lock(&left).1, index, error);
            }
        }
    });
    let (_, error) = left.into_inner().unwrap_or_else(PoisonError::into_inner);
    error.map_or(Ok(()), |(_, error)| Err(error))
}
