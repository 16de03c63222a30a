//! Telling Python how far the work is.

use pyo3::prelude::*;

use super::Failure;

/// Calls a function of Python with the bytes done and the bytes there are.
pub(super) struct Progress {
    callable: Option<Py<PyAny>>,
    done: u64,
    total: u64,
}

impl Progress {
    /// `done` bytes were done by earlier calls.
    pub(super) const fn new(callable: Option<Py<PyAny>>, done: u64, total: u64) -> Self {
        Self { callable, done, total }
    }

    /// So many bytes are done, too. An exception ends the work; so does a signal, such as that of Ctrl-C.
    pub(super) fn add(&mut self, bytes: u64) -> Result<(), Failure> {
        self.done += bytes;
        let told = Python::attach(|py| {
            py.check_signals()?;
            match &self.callable {
                Some(callable) => callable.call1(py, (self.done, self.total)).map(drop),
                None => Ok(()),
            }
        });
        told.map_err(Failure::Raised)
    }
}

/// Gathers many small steps, each of which would cost more to tell than to do.
pub(super) struct Steps {
    progress: Progress,
    waiting: u64,
}

impl Steps {
    const BYTES: u64 = 8 << 20;

    pub(super) const fn new(progress: Progress) -> Self {
        Self { progress, waiting: 0 }
    }

    /// As [`Progress::add`], from time to time.
    pub(super) fn add(&mut self, bytes: u64) -> Result<(), Failure> {
        self.waiting += bytes;
        if self.waiting < Self::BYTES { Ok(()) } else { self.finish() }
    }

    /// Tells what was not told yet.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        match std::mem::take(&mut self.waiting) {
            0 => Ok(()),
            bytes => self.progress.add(bytes),
        }
    }
}
