//! Statistics: histograms and PMFs of the symbols of tensors, and what codes make of them.
use std::sync::{Mutex, MutexGuard, PoisonError};

use huffwire::calibrate;
use huffwire::stats;
use huffwire::{Dtype, Encoder, SymbolRule};
use pyo3::prelude::*;
use rayon::prelude::*;

use crate::codebooks::Codebooks;
use crate::error::{Class, of_codec};
use crate::memory::{Input, work};
use crate::options::{Encoding, dtype_of, symbols_of, whole_number};
use crate::threads;

/// Bytes of a tensor that a thread counts at a time.
const PIECE: usize = 1 << 20;
/// Bytes of a tensor in a message whose size is measured.
const MESSAGE: usize = 1 << 26;

/// A probability mass function: probabilities of up to some hundred symbols, whose sum is 1.
///
/// It is made of weights, which need not sum up to 1. Raises OptionError for weights that are negative, not finite, or
/// all 0.
///
/// >>> from huffwire.stats import Pmf
/// >>> Pmf([2, 1, 1]).probabilities
/// [0.5, 0.25, 0.25]
#[pyclass(name = "Pmf", module = "huffwire.stats", frozen, skip_from_py_object)]
pub(crate) struct Pmf(stats::Pmf);

impl Pmf {
    pub(crate) const fn inner(&self) -> &stats::Pmf {
        &self.0
    }
}

#[pymethods]
impl Pmf {
    #[new]
    fn new(weights: Vec<f64>) -> PyResult<Self> {
        stats::Pmf::from_weights(&weights).map(Self).ok_or_else(|| {
            Class::Option
                .error("weights of a PMF must be finite and not negative, and one must be above 0")
        })
    }

    /// The mean of several PMFs over as many symbols, each of the same weight.
    ///
    /// Raises OptionError if there are none, or they differ in the number of symbols.
    ///
    /// >>> from huffwire.stats import Pmf
    /// >>> Pmf.average([Pmf([1, 0]), Pmf([1, 1])]).probabilities
    /// [0.75, 0.25]
    #[staticmethod]
    fn average(pmfs: Vec<PyRef<'_, Self>>) -> PyResult<Self> {
        let average = stats::Pmf::average(pmfs.iter().map(|pmf| &pmf.0));
        average.map(Self).ok_or_else(|| {
            Class::Option.error("an average needs at least one PMF, and all over as many symbols")
        })
    }

    /// The probabilities, a list in the order of the symbols.
    #[getter]
    fn probabilities(&self) -> Vec<f64> {
        self.0.probabilities().to_vec()
    }

    /// Shannon's entropy in bits per symbol.
    ///
    /// >>> from huffwire.stats import Pmf
    /// >>> Pmf([1, 1, 1, 1]).entropy()
    /// 2.0
    fn entropy(&self) -> f64 {
        self.0.entropy()
    }

    /// The mean bits per symbol of a Huffman code made from this PMF, its codebook not counted.
    ///
    /// >>> from huffwire.stats import Pmf
    /// >>> Pmf([2, 1, 1]).huffman_bits()
    /// 1.5
    fn huffman_bits(&self) -> f64 {
        self.0.huffman_bits()
    }

    /// The Kullback-Leibler divergence from a model, in bits: what an ideal code for the model spends on top of the entropy.
    /// Infinite if the model rules out a symbol that occurs.
    ///
    /// >>> from huffwire.stats import Pmf
    /// >>> Pmf([1, 1, 0, 0]).kl_divergence(Pmf([1, 1, 1, 1]))
    /// 1.0
    fn kl_divergence(&self, model: &Self) -> f64 {
        self.0.kl_divergence(&model.0)
    }

    /// The same PMF with the share `epsilon` of the probability, from 0 to 1, spread over all symbols.
    ///
    /// >>> from huffwire.stats import Pmf
    /// >>> Pmf([1, 0]).smoothed(0.5).probabilities
    /// [0.75, 0.25]
    fn smoothed(&self, epsilon: f64) -> PyResult<Self> {
        if !(0.0..=1.0).contains(&epsilon) {
            return Err(Class::Option.error("epsilon must lie between 0 and 1"));
        }
        Ok(Self(self.0.smoothed(epsilon)))
    }

    /// Percent saved by a perfect code on symbols of `raw_bits` bits.
    ///
    /// >>> from huffwire.stats import Pmf
    /// >>> Pmf([2, 1, 1, 0]).ideal_compressibility(2)
    /// 25.0
    fn ideal_compressibility(&self, raw_bits: f64) -> f64 {
        self.0.ideal_compressibility(raw_bits)
    }

    /// Percent saved by a Huffman code made from this PMF, its codebook not counted, on symbols of `raw_bits` bits.
    ///
    /// >>> from huffwire.stats import Pmf
    /// >>> Pmf([2, 1, 1, 0]).huffman_compressibility(2)
    /// 25.0
    fn huffman_compressibility(&self, raw_bits: f64) -> f64 {
        self.0.huffman_compressibility(raw_bits)
    }

    fn __len__(&self) -> usize {
        self.0.probabilities().len()
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn __repr__(&self) -> String {
        let symbols = self.0.probabilities().len();
        format!("<huffwire.stats.Pmf of {symbols} symbols, {:.3} bits>", self.0.entropy())
    }
}

/// A plane of symbols: layout, number, bits of a symbol, whether it holds exponents, counts, PMF.
type Plane<'py> = (&'static str, usize, u8, bool, Vec<u64>, Option<Bound<'py, Pmf>>);

/// Histograms of all planes of symbols of a tensor; `huffwire.stats.profile` makes them.
///
/// >>> import huffwire.stats as stats
/// >>> stats.profile(("bf16", bytes(600)))
/// <huffwire.stats.Profile of 300 units of bf16>
#[pyclass(name = "Profile", module = "huffwire.stats", frozen, skip_from_py_object)]
pub(crate) struct Profile {
    dtype: Dtype,
    inner: Mutex<calibrate::Profile>,
}

impl From<calibrate::Profile> for Profile {
    fn from(profile: calibrate::Profile) -> Self {
        Self { dtype: profile.dtype(), inner: Mutex::new(profile) }
    }
}

impl Profile {
    pub(crate) fn get(&self) -> MutexGuard<'_, calibrate::Profile> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Profile {
    /// The profile of elements in memory; see `huffwire.stats.profile`.
    #[staticmethod]
    #[pyo3(signature = (dtype, memory, symbols, threads))]
    fn _of(
        py: Python<'_>,
        dtype: &str,
        memory: Input,
        symbols: &str,
        #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
    ) -> PyResult<Self> {
        let (dtype, rule) = (dtype_of(dtype)?, symbols_of(symbols)?);
        let bytes = memory.bytes();
        let counted = if bytes.len() <= PIECE {
            work(py, bytes.len(), || profile(dtype, rule, bytes))
        } else {
            let pool = threads::pool(py, threads::count(threads)?)?;
            py.detach(|| pool.install(|| profile(dtype, rule, bytes)))
        };
        Ok(counted.map_err(of_codec)?.into())
    }

    /// The element type.
    #[getter]
    const fn dtype(&self) -> &'static str {
        self.dtype.name()
    }

    /// How many units (elements) were counted.
    #[getter]
    fn units(&self) -> u64 {
        self.get().units()
    }

    /// The planes as tuples of the fields of `huffwire.stats.Plane`; `huffwire.stats.planes` makes these of them.
    fn _planes<'py>(&self, py: Python<'py>) -> PyResult<Vec<Plane<'py>>> {
        let profile = self.get();
        let mut planes = Vec::new();
        for layout in profile.layouts() {
            for (number, plane) in self.dtype.planes(layout).iter().enumerate() {
                let Some(counts) = profile.counts(layout, number) else { continue };
                let pmf = profile.pmf(layout, number).map(|pmf| Bound::new(py, Pmf(pmf)));
                let (name, counts) = (layout.name(), counts.to_vec());
                planes.push((name, number, plane.width, plane.centred, counts, pmf.transpose()?));
            }
        }
        Ok(planes)
    }

    /// Bytes raw, at Shannon's entropy, and under a Huffman code for this tensor.
    fn _ideal(&self) -> (u64, f64, f64) {
        let ideal = self.get().ideal();
        (ideal.raw_bytes, ideal.shannon_bytes, ideal.huffman_bytes)
    }

    fn __repr__(&self) -> String {
        format!("<huffwire.stats.Profile of {} units of {}>", self.get().units(), self.dtype)
    }
}

/// The profile of a tensor, counted by the threads of the current pool.
pub(crate) fn profile(
    dtype: Dtype,
    rule: SymbolRule,
    bytes: &[u8],
) -> huffwire::Result<calibrate::Profile> {
    let unit = dtype.unit_bytes();
    // A rest that is no unit is in the last piece, which says so.
    let of = |piece: &[u8]| {
        let mut profile = calibrate::Profile::new(dtype, rule);
        profile.add(piece).map(|()| profile)
    };
    if bytes.len() <= PIECE {
        return of(bytes);
    }
    let pieces = bytes.par_chunks(PIECE / unit * unit).map(of);
    let merged = pieces.try_reduce_with(|mut all, more| {
        all.merge(&more);
        Ok(all)
    });
    merged.unwrap_or_else(|| of(&[]))
}

/// The bytes of a tensor as messages of at most 64 MiB of elements each.
#[pyfunction]
#[pyo3(signature = (dtype, memory, codebooks, symbols, level, threads))]
pub(crate) fn encoded_bytes(
    py: Python<'_>,
    dtype: &str,
    memory: Input,
    codebooks: Option<&Bound<'_, Codebooks>>,
    symbols: &str,
    level: &str,
    #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
) -> PyResult<u64> {
    let dtype = dtype_of(dtype)?;
    let Encoding { set, options } = Encoding::new(level, symbols, codebooks.map(Bound::get), true)?;
    let bytes = memory.bytes();
    let threads = threads::threads(py, threads, bytes.len())?;
    let size: huffwire::Result<u64> = work(py, bytes.len(), || {
        let mut encoder = Encoder::new(set, options)?.with_threads(threads);
        let pieces = bytes.chunks(MESSAGE / dtype.unit_bytes() * dtype.unit_bytes());
        pieces.map(|piece| Ok(encoder.encode_to_vec(dtype, piece)?.len() as u64)).sum()
    });
    size.map_err(of_codec)
}
