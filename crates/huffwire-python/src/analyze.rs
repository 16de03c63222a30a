//! Analyses: how compressible tensors are, in files and in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use huffwire::refresh::Limits;
use huffwire::{CodebookSet, Dtype};
use huffwire_analysis::{
    Analysis, Error, File, InMemory, KindName, LeaveOut, MAX_SHARDS, Options, Scaling,
};
use huffwire_io::{Complete, Output, ReadOptions, TensorFile, Workers};
use pyo3::prelude::*;
use serde::Serialize;

use crate::calibrate::with_sets;
use crate::error::{Class, of_codec, of_io};
use crate::memory::Input;
use crate::options::{DecoderSets, dtype_of, symbols_of, whole_number};
use crate::threads;

/// What is analyzed under one name: a path, or tensors with their types and shapes.
#[derive(FromPyObject)]
pub(crate) enum Source {
    Path(PathBuf),
    Tensors(Vec<(String, String, Vec<u64>, Input)>),
}

/// A name, the number of a step if the name does not tell it, and what is analyzed.
type Named = (String, Option<u64>, Source);

/// A finished analysis.
#[pyclass(frozen, module = "huffwire._huffwire", name = "_Analysis", skip_from_py_object)]
pub(crate) struct PyAnalysis(Analysis);

/// The object that `to_json` writes; `docs/json.md` has its keys.
#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    #[serde(flatten)]
    analysis: &'a Analysis,
}

#[pymethods]
impl PyAnalysis {
    fn to_json(&self) -> PyResult<String> {
        let report = Report { schema_version: 1, analysis: &self.0 };
        serde_json::to_string(&report).map_err(|error| Class::Other.error(error.to_string()))
    }

    fn html(&self) -> String {
        self.0.html()
    }

    /// Names of figures, and what they are as SVG.
    fn figures(&self) -> Vec<(String, String)> {
        let figures = self.0.figures().into_iter();
        figures.map(|figure| (figure.name.clone(), figure.svg())).collect()
    }

    /// Writes the page into a file, which appears when it is complete.
    #[allow(clippy::needless_pass_by_value, reason = "that is how Python passes it")]
    fn report(&self, py: Python<'_>, path: PathBuf, force: bool) -> PyResult<()> {
        let write = || {
            let mut output = Output::create(&path, force, &[])?;
            output.write(self.0.html().as_bytes())?;
            Complete::publish_all(vec![output.complete()?])
        };
        py.detach(write).map_err(of_io)
    }
}

/// Analyzes files and tensors in memory.
#[pyfunction]
#[pyo3(signature = (
    files, calibrate_on, *, kinds, shards, axis, symbols, converted_to, scale, leave_out, timeline, shards_alone, codebooks,
    threads, progress
))]
#[allow(clippy::too_many_arguments, reason = "they are named")]
#[allow(clippy::needless_pass_by_value, reason = "that is how Python passes them")]
pub(crate) fn _analyze(
    py: Python<'_>,
    files: Vec<Named>,
    calibrate_on: Vec<Named>,
    kinds: Vec<String>,
    shards: u32,
    axis: i64,
    symbols: Vec<String>,
    converted_to: Vec<String>,
    scale: &str,
    leave_out: Option<&str>,
    timeline: Option<(f64, u64, usize, usize)>,
    shards_alone: Option<u64>,
    codebooks: DecoderSets,
    #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyAnalysis> {
    let options = Options {
        kinds: kinds.iter().map(|kind| kind_name(kind)).collect::<PyResult<_>>()?,
        shards: shards
            .try_into()
            .map_err(|_| Class::Option.error(format!("shards={shards}: give 1 to {MAX_SHARDS}")))?,
        axis,
        rules: symbols.iter().map(|name| symbols_of(name)).collect::<PyResult<_>>()?,
        derived: converted_to.iter().map(|name| dtype_of(name)).collect::<PyResult<_>>()?,
        scaling: scaling(scale)?,
        leave_out: leave_out.map(part).transpose()?,
        timeline: timeline.map(|(regret, every, interval, samples)| Limits {
            regret,
            every,
            interval,
            samples,
        }),
        shards_alone,
    };
    let threads = threads::count(threads)?;
    let (files, calibrate_on) = (borrowed(&files)?, borrowed(&calibrate_on)?);
    let analyze = || {
        let workers = Workers::new(threads).map_err(of_io)?;
        // Borrowed memory stays where it is while this call lasts.
        let files = open_all(files, &codebooks.0)?;
        let calibrate_on = open_all(calibrate_on, &codebooks.0)?;
        let total = huffwire_analysis::bytes_to_read(&files, &calibrate_on, &options);
        let (mut done, mut raised) = (0, None);
        let mut report = |bytes: u64| {
            done += bytes;
            let told = Python::attach(|py| {
                py.check_signals()?;
                progress.as_ref().map_or(Ok(()), |call| call.call1(py, (done, total)).map(drop))
            });
            told.map_err(|error| {
                raised = Some(error);
                Error::Stopped
            })
        };
        let analyzed =
            huffwire_analysis::analyze(&files, &calibrate_on, &options, &workers, &mut report);
        analyzed.map_err(|error| raised.take().unwrap_or_else(|| of_analysis(error)))
    };
    py.detach(analyze).map(PyAnalysis)
}

/// A source whose memory is borrowed.
struct Borrowed<'a> {
    name: &'a str,
    step: Option<u64>,
    source: BorrowedSource<'a>,
}

enum BorrowedSource<'a> {
    Path(&'a Path),
    Tensors(Vec<InMemory<'a>>),
}

fn borrowed(files: &[Named]) -> PyResult<Vec<Borrowed<'_>>> {
    let mut all = Vec::new();
    for (name, step, source) in files {
        let source = match source {
            Source::Path(path) => BorrowedSource::Path(path),
            Source::Tensors(tensors) => {
                let tensors = tensors.iter().map(|(name, dtype, shape, memory)| {
                    let dtype: Dtype = dtype_of(dtype)?;
                    Ok(InMemory::new(name, dtype, shape, memory.bytes()))
                });
                BorrowedSource::Tensors(tensors.collect::<PyResult<_>>()?)
            }
        };
        all.push(Borrowed { name, step: *step, source });
    }
    Ok(all)
}

fn open_all<'a>(all: Vec<Borrowed<'a>>, codebooks: &[Arc<CodebookSet>]) -> PyResult<Vec<File<'a>>> {
    all.into_iter().map(|file| file.open(codebooks)).collect()
}

impl<'a> Borrowed<'a> {
    fn open(self, codebooks: &[Arc<CodebookSet>]) -> PyResult<File<'a>> {
        let Self { name, step, source } = self;
        let file = match source {
            BorrowedSource::Tensors(tensors) => File::in_memory(name, tensors),
            BorrowedSource::Path(path) => {
                let file = TensorFile::open(path, None, ReadOptions::default()).map_err(of_io)?;
                match file {
                    TensorFile::Hw(reader) => {
                        File::new(name, with_sets(*reader, codebooks.to_vec()).map_err(of_io)?)
                    }
                    file => File::new(name, file),
                }
            }
        };
        Ok(match step {
            Some(step) => file.at_step(step),
            None => file,
        })
    }
}

fn kind_name(text: &str) -> PyResult<KindName> {
    text.parse().map_err(|error: String| Class::Option.error(format!("kinds=: {error}")))
}

fn scaling(name: &str) -> PyResult<Scaling> {
    match name {
        "tensor" => Ok(Scaling::Tensor),
        "block" => Ok(Scaling::Block),
        _ => Err(Class::Option.error(format!("scale={name:?}: give \"tensor\" or \"block\""))),
    }
}

fn part(name: &str) -> PyResult<LeaveOut> {
    match name {
        "files" => Ok(LeaveOut::Files),
        "layers" => Ok(LeaveOut::Layers),
        "shards" => Ok(LeaveOut::Shards),
        _ => Err(Class::Option
            .error(format!("leave_out={name:?}: give \"files\", \"layers\", \"shards\" or None"))),
    }
}

/// The exception for an error of an analysis.
fn of_analysis(error: Error) -> PyErr {
    match error {
        Error::File(error) => of_io(error),
        Error::Codec(error) => of_codec(error),
        error => Class::Option.error(error.to_string()),
    }
}
