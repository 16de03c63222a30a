//! Codebooks of earlier steps, and when they are replaced.
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use huffwire::gradient::encode::{self, Fixed, RunAlphabet};
use huffwire::gradient::{ValueBuf, Values};
use huffwire::refresh::{Limits, Refreshable, Refresher, Regret};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::values::{EncoderChoice, ValueInput, ValueMemory};
use crate::codebooks::Codebooks;
use crate::error::{Class, of_codec};
use crate::memory::{Input, work};

/// What fixed codebooks cost for some values, beside codebooks that are made for them. The bits of the codebooks
/// themselves are not counted.
///
/// >>> from huffwire import gradient
/// >>> values = ("i8", bytes([0, 0, 0, 1] * 1000))
/// >>> gradient.FixedBook.train([values]).drift(values).regret < 0.01
/// True
#[pyclass(name = "Drift", module = "huffwire.gradient", frozen, skip_from_py_object)]
pub(crate) struct Drift(Regret);

#[pymethods]
impl Drift {
    /// Bits that the fixed codebooks take.
    #[getter]
    const fn spent_bits(&self) -> u64 {
        self.0.spent_bits
    }

    /// Bits that codebooks made for these very values would take.
    #[getter]
    const fn fresh_bits(&self) -> u64 {
        self.0.fresh_bits
    }

    /// What is lost, relative to codebooks made for these values: 0.01 for one percent.
    #[getter]
    fn regret(&self) -> f64 {
        self.0.share()
    }

    fn __repr__(&self) -> String {
        let Regret { spent_bits, fresh_bits } = self.0;
        format!("<Drift: {spent_bits} bits where {fresh_bits} would do, {:.4}>", self.0.share())
    }
}

/// Some tensors of values, as Python passes them.
fn views<'a>(memory: &'a [ValueInput]) -> PyResult<Vec<ValueMemory<'a>>> {
    memory.iter().map(|(memory, wide)| ValueMemory::of(memory.bytes(), *wide)).collect()
}

/// What books cost for some values, beside new ones.
fn drift<B>(py: Python<'_>, books: &B, values: &ValueMemory<'_>) -> PyResult<Drift>
where
    B: Refreshable<Sample = ValueBuf> + Sync,
{
    let values = values.view();
    let regret = work(py, values.len(), || books.regret(&[values.to_buf()]));
    regret.map(Drift).map_err(of_codec)
}

/// Books of the same kind made for some values.
fn refit<B>(py: Python<'_>, books: &B, values: &ValueMemory<'_>) -> PyResult<B>
where
    B: Refreshable<Sample = ValueBuf> + Send + Sync,
{
    let values = values.view();
    work(py, values.len(), || books.refit(&[values.to_buf()])).map_err(of_codec)
}

/// A codebook over values, pairs or runs that both ends hold.
#[pyclass(name = "FixedBook", module = "huffwire._huffwire", frozen, skip_from_py_object)]
pub(crate) struct FixedBook(pub(super) Arc<Fixed>);

#[pymethods]
impl FixedBook {
    #[staticmethod]
    fn train(
        py: Python<'_>,
        tensors: Vec<ValueInput>,
        alphabet: &str,
        runs: u32,
    ) -> PyResult<Self> {
        let alphabet = match alphabet {
            "values" => RunAlphabet::Values,
            "pairs" => RunAlphabet::Pairs,
            "zero-runs" => RunAlphabet::ZeroRuns(runs),
            _ => {
                let known = "give \"values\", \"pairs\" or \"zero-runs\"";
                return Err(Class::Option.error(format!("alphabet={alphabet:?}: {known}")));
            }
        };
        let tensors = views(&tensors)?;
        let book = py.detach(|| Fixed::train(alphabet, tensors.iter().map(ValueMemory::view)));
        book.map(|book| Self(Arc::new(book))).map_err(of_codec)
    }

    #[staticmethod]
    fn from_bytes(data: Input) -> PyResult<Self> {
        Fixed::from_bytes(data.bytes()).map(|book| Self(Arc::new(book))).map_err(of_codec)
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    #[getter]
    fn id(&self) -> String {
        self.0.id().to_string()
    }

    #[getter]
    fn alphabet(&self) -> &'static str {
        match self.0.alphabet() {
            RunAlphabet::Values => "values",
            RunAlphabet::Pairs => "pairs",
            RunAlphabet::ZeroRuns(_) => "zero-runs",
        }
    }

    fn drift(&self, py: Python<'_>, values: ValueInput) -> PyResult<Drift> {
        let (memory, wide) = values;
        let values = ValueMemory::of(memory.bytes(), wide)?;
        drift(py, &*self.0, &values)
    }

    fn refit(&self, py: Python<'_>, values: ValueInput) -> PyResult<Self> {
        let (memory, wide) = values;
        let values = ValueMemory::of(memory.bytes(), wide)?;
        refit(py, &*self.0, &values).map(|books| Self(Arc::new(books)))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0.to_bytes() == other.0.to_bytes()
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.id().hash(&mut hasher);
        hasher.finish()
    }
}

/// Codebooks for the layers of bitmaps that both ends hold.
#[pyclass(name = "BitmapBooks", module = "huffwire._huffwire", frozen, skip_from_py_object)]
pub(crate) struct BitmapBooks(pub(super) Arc<encode::BitmapBooks>);

#[pymethods]
impl BitmapBooks {
    #[staticmethod]
    fn train(py: Python<'_>, tensors: Vec<ValueInput>) -> PyResult<Self> {
        let tensors = views(&tensors)?;
        let books = py.detach(|| encode::BitmapBooks::train(tensors.iter().map(ValueMemory::view)));
        books.map(|books| Self(Arc::new(books))).map_err(of_codec)
    }

    #[staticmethod]
    fn from_codebooks(codebooks: &Bound<'_, Codebooks>) -> PyResult<Self> {
        let books = encode::BitmapBooks::from_set(Arc::clone(&codebooks.get().set));
        books.map(|books| Self(Arc::new(books))).map_err(of_codec)
    }

    #[getter]
    fn codebooks(&self) -> Codebooks {
        Codebooks { set: Arc::clone(self.0.set()) }
    }

    #[getter]
    fn depth(&self) -> usize {
        self.0.depth()
    }

    fn drift(&self, py: Python<'_>, values: ValueInput) -> PyResult<Drift> {
        let (memory, wide) = values;
        let values = ValueMemory::of(memory.bytes(), wide)?;
        drift(py, &*self.0, &values)
    }

    fn refit(&self, py: Python<'_>, values: ValueInput) -> PyResult<Self> {
        let (memory, wide) = values;
        let values = ValueMemory::of(memory.bytes(), wide)?;
        refit(py, &*self.0, &values).map(|books| Self(Arc::new(books)))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.set().id().hash(&mut hasher);
        hasher.finish()
    }
}

/// When fixed books are replaced.
#[pyclass(name = "RefreshPolicy", module = "huffwire._huffwire", frozen, skip_from_py_object)]
pub(crate) struct RefreshPolicy(Mutex<Policy>);

/// Books of one kind in use, and those that are to replace them.
struct Life<B: Refreshable> {
    refresher: Refresher<B>,
    fresh: Option<B>,
}

impl<B> Life<B>
where
    B: for<'a> Refreshable<Message<'a> = Values<'a>>,
{
    fn new(books: B, limits: Limits) -> Self {
        Self { refresher: Refresher::new(books, limits), fresh: None }
    }

    /// What a judgement found, if it was time for one.
    fn observe(&mut self, values: Values<'_>) -> huffwire::Result<Option<Regret>> {
        self.refresher.observe(&values);
        if !self.refresher.is_due() {
            return Ok(None);
        }
        self.fresh = self.refresher.judge()?.map(|proposal| proposal.books);
        Ok(self.refresher.regret())
    }

    fn switch(&mut self, books: B) {
        self.fresh = None;
        self.refresher.switch(books);
    }
}

/// A policy for either kind of books.
enum Policy {
    Fixed(Box<Life<Fixed>>),
    Bitmap(Box<Life<encode::BitmapBooks>>),
}

impl RefreshPolicy {
    fn get(&self) -> MutexGuard<'_, Policy> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Books of either kind, for Python.
#[derive(IntoPyObject)]
pub(crate) enum Books {
    Fixed(FixedBook),
    Bitmap(BitmapBooks),
}

impl Books {
    fn fixed(book: &Fixed) -> Self {
        Self::Fixed(FixedBook(Arc::new(book.clone())))
    }

    fn bitmap(books: &encode::BitmapBooks) -> Self {
        Self::Bitmap(BitmapBooks(Arc::new(books.clone())))
    }
}

fn no_books() -> PyErr {
    Class::Option.error("books=: give a FixedBook or BitmapBooks, and of one kind to one policy")
}

#[pymethods]
impl RefreshPolicy {
    #[new]
    fn new(
        books: EncoderChoice,
        regret: f64,
        every: u64,
        interval: usize,
        samples: usize,
    ) -> PyResult<Self> {
        if regret.is_nan() || regret < 0.0 || every == 0 || !(2..=4096).contains(&samples) {
            let detail =
                "regret= must not be below 0, every= not below 1, and samples= be 2 to 4096";
            return Err(Class::Option.error(detail));
        }
        let limits = Limits { regret, every, interval, samples };
        let policy = match books {
            EncoderChoice::Fixed(book) => {
                Policy::Fixed(Box::new(Life::new(Fixed::clone(&book), limits)))
            }
            EncoderChoice::Bitmap(books) => {
                let books = encode::BitmapBooks::clone(&books);
                Policy::Bitmap(Box::new(Life::new(books, limits)))
            }
            EncoderChoice::Kind(_) => return Err(no_books()),
        };
        Ok(Self(Mutex::new(policy)))
    }

    #[getter]
    fn books(&self, py: Python<'_>) -> Books {
        py.detach(|| match &*self.get() {
            Policy::Fixed(policy) => Books::fixed(policy.refresher.books()),
            Policy::Bitmap(policy) => Books::bitmap(policy.refresher.books()),
        })
    }

    #[getter]
    fn fresh(&self, py: Python<'_>) -> Option<Books> {
        py.detach(|| match &*self.get() {
            Policy::Fixed(policy) => policy.fresh.as_ref().map(Books::fixed),
            Policy::Bitmap(policy) => policy.fresh.as_ref().map(Books::bitmap),
        })
    }

    fn observe(&self, py: Python<'_>, values: ValueInput) -> PyResult<Option<Drift>> {
        let (memory, wide) = values;
        let values = ValueMemory::of(memory.bytes(), wide)?;
        let drift = py.detach(|| match &mut *self.get() {
            Policy::Fixed(policy) => policy.observe(values.view()),
            Policy::Bitmap(policy) => policy.observe(values.view()),
        });
        Ok(drift.map_err(of_codec)?.map(Drift))
    }

    fn switch(&self, py: Python<'_>, books: EncoderChoice) -> PyResult<()> {
        py.detach(|| match (&mut *self.get(), books) {
            (Policy::Fixed(policy), EncoderChoice::Fixed(book)) => {
                policy.switch(Fixed::clone(&book));
                Ok(())
            }
            (Policy::Bitmap(policy), EncoderChoice::Bitmap(books)) => {
                policy.switch(encode::BitmapBooks::clone(&books));
                Ok(())
            }
            _ => Err(no_books()),
        })
    }
}
