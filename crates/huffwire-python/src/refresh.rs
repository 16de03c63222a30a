//! The class `_Refresher`: when codebooks in use should be replaced, and by which.

use std::sync::{Mutex, MutexGuard, PoisonError};

use huffwire::Tensor;
use huffwire::refresh::{self, Limits, TensorBooks};
use pyo3::prelude::*;

use crate::codebooks::Codebooks;
use crate::error::{Class, of_codec};
use crate::memory::Input;
use crate::options::{Encoding, dtype_of};

/// Codebooks in use, and samples of what is sent with them: `huffwire::refresh` of the library.
#[pyclass(frozen, module = "huffwire", name = "_Refresher", skip_from_py_object)]
pub(crate) struct Refresher {
    inner: Mutex<refresh::Refresher<TensorBooks>>,
    encoding: Encoding,
}

impl Refresher {
    fn inner(&self) -> MutexGuard<'_, refresh::Refresher<TensorBooks>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Refresher {
    /// A refresher for codebooks that are in use from now on; None stands for the built-in ones.
    #[new]
    #[pyo3(signature = (
        codebooks=None, *, level="fast", symbols="auto", regret=0.02, every=1000, interval=8 << 20, samples=32
    ))]
    #[allow(clippy::too_many_arguments, reason = "they are named")]
    fn new(
        codebooks: Option<&Codebooks>,
        level: &str,
        symbols: &str,
        regret: f64,
        every: u64,
        interval: usize,
        samples: usize,
    ) -> PyResult<Self> {
        if regret.is_nan() || regret < 0.0 {
            return Err(
                Class::Option.error(format!("regret={regret}: give 0 or more, such as 0.02"))
            );
        }
        if !(2..=4096).contains(&samples) {
            return Err(Class::Option.error(format!("samples={samples}: give 2 to 4096")));
        }
        let encoding = Encoding::new(level, symbols, codebooks, true)?;
        let books = TensorBooks::new(encoding.set.clone()).encoding(encoding.options);
        let limits = Limits { regret, every, interval, samples };
        Ok(Self { inner: Mutex::new(refresh::Refresher::new(books, limits)), encoding })
    }

    /// Takes notice of a tensor that is sent, and copies a part of it if a sample is due. Returns whether it is time for
    /// a judgement.
    #[pyo3(signature = (source, dtype, name="", /))]
    fn observe(&self, source: Input, dtype: &str, name: &str) -> PyResult<bool> {
        let tensor = Tensor::new(dtype_of(dtype)?, source.bytes()).named(name);
        let mut inner = self.inner();
        inner.observe(&tensor);
        Ok(inner.is_due())
    }

    /// Whether it is time for a judgement.
    fn is_due(&self) -> bool {
        self.inner().is_due()
    }

    /// New codebooks if they pay, and how many bytes they are expected to save in `every` messages; None if they do not
    /// pay, or if it is not time, which does not matter with `now`. This takes milliseconds, without the interpreter
    /// lock, and does not hold up `observe`.
    #[pyo3(signature = (*, now=false))]
    fn judge(&self, py: Python<'_>, now: bool) -> PyResult<Option<(Codebooks, f64)>> {
        let mut copy = {
            let mut inner = self.inner();
            if !now && !inner.is_due() {
                return Ok(None);
            }
            let copy = inner.clone();
            inner.postpone(None);
            copy
        };
        let before = copy.books().set().id();
        let proposal = py.detach(|| copy.judge_now()).map_err(of_codec)?;
        let mut inner = self.inner();
        // After a switch the judgement is about codebooks that are no longer in use.
        if inner.books().set().id() == before {
            inner.postpone(copy.regret());
        }
        Ok(proposal.map(|found| (Codebooks { set: found.books.set().clone() }, found.saved_bytes)))
    }

    /// The regret found by the last judgement: 0.01 for one percent. None before the first one and after a switch.
    #[getter]
    fn regret(&self) -> Option<f64> {
        self.inner().regret().map(|regret| regret.share())
    }

    /// From now on these codebooks are in use.
    #[pyo3(signature = (codebooks, /))]
    fn switch(&self, codebooks: &Codebooks) {
        let books = TensorBooks::new(codebooks.set.clone()).encoding(self.encoding.options);
        self.inner().switch(books);
    }
}
