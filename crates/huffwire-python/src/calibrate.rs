//! Calibration: codebooks made from tensors in memory and in files.
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use huffwire::calibrate::{self, Options};
use huffwire::codebook::CodeLimit;
use huffwire::{CodebookSet, Dtype, Kind, SymbolRule};
use huffwire_io::{Input, Piece, ReadOptions, Reader, Workers, is_hw_file};
use pyo3::prelude::*;

use crate::codebooks::Codebooks;
use crate::error::{Class, of_codec, of_io};
use crate::options::{DecoderSets, symbols_of, whole_number};
use crate::stats::Profile;
use crate::threads;

/// Bytes of elements that are counted at a time.
const BLOCK_BYTES: usize = 1 << 18;

/// What calibration found for a plane of a kind of tensors: the fields of `KindReport` in `huffwire/_calibrate.py`.
type KindReport = (String, &'static str, &'static str, u8, usize, Vec<usize>, f64, f64, f64, f64);

/// Profiles of tensors, by kind.
#[pyclass(name = "Collector", module = "huffwire._huffwire", frozen, skip_from_py_object)]
pub(crate) struct Collector(Mutex<calibrate::Collector>);

impl Collector {
    fn get(&self) -> MutexGuard<'_, calibrate::Collector> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Collector {
    #[new]
    fn new(symbols: &str) -> PyResult<Self> {
        Ok(Self(Mutex::new(calibrate::Collector::new(symbols_of(symbols)?))))
    }

    fn push(&self, kind: &str, profile: &Profile) -> PyResult<()> {
        let profile = profile.get().clone();
        self.get().push(kind, profile).map_err(of_codec)
    }

    #[getter]
    fn shards(&self) -> usize {
        self.get().shards()
    }

    fn build(
        &self,
        py: Python<'_>,
        name: String,
        codes: Option<i64>,
        books_per_kind: Option<i64>,
        smoothing: f64,
        builtin: bool,
    ) -> PyResult<(Codebooks, Vec<KindReport>)> {
        let codes = match codes {
            None => None,
            Some(8) => Some(CodeLimit::Bits8),
            Some(12) => Some(CodeLimit::Bits12),
            Some(other) => {
                let detail = format!("codes of at most {other} bits; 8 and 12 are possible");
                return Err(Class::Option.error(detail));
            }
        };
        // 0 and less are refused by the library.
        let books_per_kind = books_per_kind.map(|books| usize::try_from(books).unwrap_or(0));
        let options = Options { name, codes, books_per_kind, smoothing, builtin };
        let made = py.detach(|| self.get().build(&options)).map_err(of_codec)?;
        let kinds = made.kinds.into_iter().map(|report| {
            let books = report.books.into_iter().map(usize::from).collect();
            (
                report.kind,
                report.dtype.name(),
                report.layout.name(),
                report.plane,
                report.shards,
                books,
                report.shannon_bits,
                report.huffman_bits,
                report.book_bits,
                report.mean_kl_bits,
            )
        });
        Ok((Codebooks { set: Arc::new(made.set) }, kinds.collect()))
    }
}

/// The kind of a tensor: its name, with `*` in place of every run of digits.
///
/// >>> import huffwire
/// >>> huffwire.kind_of("model.layers.11.mlp.weight")
/// 'model.layers.*.mlp.weight'
#[pyfunction]
#[pyo3(signature = (name, /))]
pub(crate) fn kind_of(name: &str) -> String {
    calibrate::kind_of(name)
}

/// Names and profiles of all tensors of a file.
#[pyfunction]
pub(crate) fn profile_file(
    py: Python<'_>,
    path: PathBuf,
    symbols: &str,
    #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
    codebooks: DecoderSets,
    progress: Option<Py<PyAny>>,
) -> PyResult<Vec<(String, Profile)>> {
    let rule = symbols_of(symbols)?;
    let threads = threads::count(threads)?;
    let mut found = Vec::new();
    py.detach(|| {
        let workers = Arc::new(Workers::new(threads).map_err(of_io)?);
        let mut report = |done: u64, total: u64| match &progress {
            None => Python::attach(|py| py.check_signals()),
            Some(call) => Python::attach(|py| {
                py.check_signals()?;
                call.call1(py, (done, total)).map(drop)
            }),
        };
        let counting = Counting { rule, report: &mut report, found: &mut found };
        let start = huffwire_io::InputFile::open(&path).and_then(|file| file.start(8));
        if is_hw_file(&start.map_err(of_io)?) {
            counting.compressed(&path, workers, codebooks.0)
        } else {
            counting.plain(&path, &workers)
        }
    })?;
    Ok(found.into_iter().map(|(name, profile)| (name, profile.into())).collect())
}

/// Symbols that are being counted, tensor by tensor.
struct Counting<'a> {
    rule: SymbolRule,
    report: &'a mut dyn FnMut(u64, u64) -> PyResult<()>,
    found: &'a mut Vec<(String, calibrate::Profile)>,
}

/// An error of a file, or one that Python raised meanwhile.
enum Stop {
    File(huffwire_io::Error),
    Codec(huffwire::Error),
    Python(PyErr),
}

impl From<huffwire_io::Error> for Stop {
    fn from(error: huffwire_io::Error) -> Self {
        Self::File(error)
    }
}

impl From<Stop> for PyErr {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::File(error) => of_io(error),
            Stop::Codec(error) => of_codec(error),
            Stop::Python(error) => error,
        }
    }
}

/// A part of a tensor in a file.
struct Job<'a> {
    input: &'a Input,
    piece: &'a Piece,
    range: Range<u64>,
}

impl Counting<'_> {
    /// The tensors of a file that is not compressed.
    fn plain(self, path: &Path, workers: &Workers) -> PyResult<()> {
        let Self { rule, report, found } = self;
        let inputs = Input::open(path, None).map_err(of_io)?;
        let tensors = || {
            let all = inputs.iter().flat_map(|input| input.pieces.iter().map(move |p| (input, p)));
            all.filter(|(_, piece)| piece.tensor.is_some())
        };
        let total = tensors().map(|(_, piece)| piece.bytes()).sum();
        let jobs = tensors().flat_map(|(input, piece)| {
            let size = whole_units(piece.dtype, BLOCK_BYTES) as u64;
            let starts = piece.range.clone().step_by(size as usize);
            starts.map(move |start| {
                let range = start..piece.range.end.min(start + size);
                Job { input, piece, range }
            })
        });
        let count = |job: &Job<'_>, slot: &mut Option<calibrate::Profile>| {
            let bytes = job.input.file.read(job.range.clone())?;
            let mut profile = calibrate::Profile::new(job.piece.dtype, rule);
            profile.add(&bytes).map_err(Stop::Codec)?;
            *slot = Some(profile);
            Ok::<(), Stop>(())
        };
        let (mut done, mut open) = (0, None);
        workers.run(BLOCK_BYTES, jobs, count, |job, slot| {
            let Some(part) = slot.take() else { return Ok(()) };
            merge(&mut open, part);
            done += job.range.end - job.range.start;
            report(done, total).map_err(Stop::Python)?;
            if job.range.end == job.piece.range.end
                && let Some(profile) = open.take()
            {
                found.push((job.piece.name().to_owned(), profile));
            }
            Ok(())
        })?;
        inputs.iter().try_for_each(|input| input.file.check_length()).map_err(of_io)
    }

    /// The tensors of a .hw file.
    fn compressed(
        self,
        path: &Path,
        workers: Arc<Workers>,
        sets: Vec<Arc<CodebookSet>>,
    ) -> PyResult<()> {
        let Self { rule, report, found } = self;
        let file = huffwire_io::InputFile::open(path).map_err(of_io)?;
        let options = ReadOptions { workers, ..ReadOptions::default() };
        let reader = with_sets(Reader::new(file, options).map_err(of_io)?, sets).map_err(of_io)?;
        let total = reader.tensors().map(|(_, item)| item.raw_bytes).sum();
        let mut done = 0;
        for (info, item) in reader.tensors() {
            let mut profile = calibrate::Profile::new(item.dtype, rule);
            reader.decode_blocks(Reader::blocks(item), |_, decoded| {
                let bytes = decoded?;
                profile.add(bytes).map_err(Stop::Codec)?;
                done += bytes.len() as u64;
                report(done, total).map_err(Stop::Python)
            })?;
            found.push((info.name.clone(), profile));
        }
        Ok(())
    }
}

/// Gives a .hw file the codebooks that it needs. If one is missing, reading tells it.
pub(crate) fn with_sets(
    mut reader: Reader,
    sets: Vec<Arc<CodebookSet>>,
) -> huffwire_io::Result<Reader> {
    let is_listed = |reader: &Reader, set: &CodebookSet| {
        reader.directory().sets.iter().any(|listed| listed.id == set.id())
    };
    let (listed, others): (Vec<_>, Vec<_>) =
        sets.into_iter().partition(|set| is_listed(&reader, set));
    for set in listed.into_iter().chain(others) {
        // Quantized values may need sets that the file does not list.
        let has_values = || reader.tensors().any(|(_, item)| item.kind == Kind::Values);
        if is_listed(&reader, &set) || has_values() {
            reader = reader.with_codebooks(set, "the codebooks given")?;
        }
    }
    Ok(reader)
}

fn merge(open: &mut Option<calibrate::Profile>, part: calibrate::Profile) {
    match open {
        Some(profile) => profile.merge(&part),
        none => *none = Some(part),
    }
}

/// The most bytes that are whole units, up to a limit.
const fn whole_units(dtype: Dtype, bytes: usize) -> usize {
    bytes / dtype.unit_bytes() * dtype.unit_bytes()
}
