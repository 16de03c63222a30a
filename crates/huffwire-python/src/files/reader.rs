//! Reading `.hw` files.

use std::io::Cursor;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use huffwire::file::{Item, Original, TensorInfo};
use huffwire::{CodebookSet, Dtype};
use huffwire_io::formats::safetensors::{Header, MAX_HEADER_BYTES};
use huffwire_io::{Destination, InputFile, ReadOptions, Reader, Region, Workers};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use super::base::FileBase;
use super::progress::Progress;
use super::{Failure, workers};
use crate::codebooks::Codebooks;
use crate::error::{Class, of_io};
use crate::memory::Output;
use crate::options::{DecoderSets, whole_number};

/// A `.hw` file that is open. The file behind it stays open as long as this object lives.
///
/// Tensors are named by their place in `tensors()`, because several may have one name.
#[pyclass(frozen, module = "huffwire._huffwire", skip_from_py_object)]
pub(crate) struct FileReader {
    reader: Reader,
    /// The most bytes of tensors that one call may decode.
    max_size: u64,
    /// Where the tensors are: the place of the original, and of the item in it.
    places: Vec<(usize, usize)>,
}

/// Headers and indexes of so many bytes are decoded even where `max_size` is less.
const HEADERS: u64 = 1 << 20;

/// A tensor to decode, or a part of it: its place in `tensors()`, the shape and a range of each dimension if it is a
/// part, and the memory.
type Wanted = (usize, Option<(Vec<u64>, Vec<(u64, u64)>)>, Output);

#[pymethods]
impl FileReader {
    /// Opens the file `path`, whose deltas are restored with `base`. No call decodes more than `max_size` bytes of
    /// tensors.
    #[new]
    #[pyo3(signature = (path, *, max_size=None, codebooks=None, base=None))]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        #[pyo3(from_py_with = whole_number)] max_size: Option<u64>,
        codebooks: Option<DecoderSets>,
        base: Option<&FileBase>,
    ) -> PyResult<Self> {
        py.detach(|| Self::new(InputFile::open(&path), max_size, codebooks, base)).map_err(of_io)
    }

    /// Opens a file in memory.
    #[staticmethod]
    #[pyo3(signature = (data, *, max_size=None, codebooks=None, base=None))]
    fn from_bytes(
        py: Python<'_>,
        data: PyBackedBytes,
        #[pyo3(from_py_with = whole_number)] max_size: Option<u64>,
        codebooks: Option<DecoderSets>,
        base: Option<&FileBase>,
    ) -> PyResult<Self> {
        let file = InputFile::from_reader("the bytes given", Cursor::new(data));
        py.detach(|| Self::new(file, max_size, codebooks, base)).map_err(of_io)
    }

    /// The file's name in messages.
    #[getter]
    fn label(&self) -> &str {
        self.reader.file().label()
    }

    /// Size of the file in bytes.
    #[getter]
    fn coded_bytes(&self) -> u64 {
        self.reader.file().bytes()
    }

    /// The names of the original files.
    fn originals(&self) -> Vec<&str> {
        self.reader.directory().originals.iter().map(|original| original.name.as_str()).collect()
    }

    /// The tensors in the order of the file. Each is a tuple: name; element type as the original file spells it;
    /// huffwire's name of that type, or None if there is none; shape; size in bytes; place of its original file in
    /// `originals()`.
    fn tensors<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let tensors = self.places.iter().filter_map(|&(place, index)| {
            let item = self.item(place, index)?;
            let TensorInfo { name, dtype, shape } = item.tensor.as_ref()?;
            let known = self.dtype_of(place, item).map(Dtype::name);
            Some((name, dtype, known, PyTuple::new(py, shape), item.raw_bytes, place))
        });
        tensors
            .map(|(name, dtype, known, shape, bytes, place)| {
                (name, dtype, known, shape?, bytes, place).into_pyobject(py)
            })
            .collect()
    }

    /// Whether a tensor, named by its place in `tensors()`, is a delta.
    #[pyo3(signature = (place, /))]
    fn is_delta(&self, place: usize) -> PyResult<bool> {
        Ok(self.tensor(place)?.kind == huffwire::Kind::Delta)
    }

    /// A tensor that is a delta, as a message.
    #[pyo3(signature = (place, /))]
    fn delta_message<'py>(&self, py: Python<'py>, place: usize) -> PyResult<Bound<'py, PyBytes>> {
        let item = self.tensor(place)?;
        let message = py.detach(|| self.reader.delta_message(item)).map_err(of_io)?;
        Ok(PyBytes::new(py, &message))
    }

    /// The codebooks that the file contains.
    fn codebooks(&self) -> Vec<Codebooks> {
        let sets = self.reader.directory().sets.iter();
        sets.filter_map(|set| Some(Codebooks { set: set.embedded.clone()? })).collect()
    }

    /// The metadata of an original `.safetensors` file, or None. The header of that file must tell of its tensors what
    /// the directory tells.
    fn metadata<'py>(
        &self,
        py: Python<'py>,
        original: usize,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let header = py.detach(|| self.header(self.original(original)?)).map_err(PyErr::from)?;
        let Some(metadata) = header.and_then(|header| header.metadata) else { return Ok(None) };
        let dict = PyDict::new(py);
        for (key, value) in metadata {
            dict.set_item(key, value)?;
        }
        Ok(Some(dict))
    }

    /// The bytes of an original file, of which there may be `limit` at most.
    fn content<'py>(
        &self,
        py: Python<'py>,
        original: usize,
        limit: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let original = self.original(original).map_err(PyErr::from)?;
        let bytes = py.detach(|| {
            let mut content = Vec::new();
            for item in &original.items {
                let limit = limit.saturating_sub(content.len() as u64);
                content.extend(self.bytes_of(item, &original.name, limit)?);
            }
            Ok::<_, Failure>(content)
        })?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Decodes tensors straight into memory, on so many threads. `progress` is called with the bytes done, counted
    /// from `done`, and with `total`.
    #[pyo3(signature = (wanted, *, threads=None, progress=None, done=0, total=0))]
    fn decode(
        &self,
        py: Python<'_>,
        mut wanted: Vec<Wanted>,
        #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
        progress: Option<Py<PyAny>>,
        done: u64,
        total: u64,
    ) -> PyResult<()> {
        let mut destinations = Vec::with_capacity(wanted.len());
        for (place, part, output) in &mut wanted {
            let item = self.tensor(*place)?;
            let region = match part {
                None => Ok(Region::all(item.raw_bytes)),
                Some((shape, ranges)) => {
                    let ranges: Vec<_> = ranges.iter().map(|&(start, end)| start..end).collect();
                    Region::new(item.raw_bytes, shape, &ranges)
                }
            };
            let region = region.map_err(|detail| Class::Mismatch.error(detail))?;
            destinations.push(Destination { item, region, memory: output.apart_from(&[])? });
        }
        check_apart(&destinations)?;
        let bytes: u64 = destinations.iter().map(|to| to.region.bytes()).sum();
        if bytes > self.max_size {
            let what = match &destinations[..] {
                [one] => one.item.tensor.as_ref().map(|tensor| format!("tensor {:?}", tensor.name)),
                _ => None,
            };
            return Err(Class::Limit.error(format!(
                "{}: {} has {bytes} bytes to decode, and max_size is {}",
                self.label(),
                what.unwrap_or_else(|| format!("a call for {} tensors", destinations.len())),
                self.max_size
            )));
        }
        // Threads would wait for each other longer than they work.
        let workers = if bytes < 1 << 20 { Workers::caller() } else { workers(py, threads)? };
        let mut progress = Progress::new(progress, done, total);
        let work =
            || self.reader.decode_into(&workers, &mut destinations, |bytes| progress.add(bytes));
        Ok(crate::memory::work(py, bytes as usize, work)?)
    }
}

/// A reader that has these sets, if it needs them.
///
/// # Errors
/// Those of [`Reader::with_codebooks`] and [`Reader::check_codebooks`].
pub(super) fn with_codebooks(
    mut reader: Reader,
    sets: &[Arc<CodebookSet>],
) -> huffwire_io::Result<Reader> {
    let listed = |reader: &Reader, id| reader.directory().sets.iter().any(|set| set.id == id);
    // First those that the file names: the others may then be superfluous, and are no error.
    let (named, others): (Vec<_>, Vec<_>) = sets.iter().partition(|set| listed(&reader, set.id()));
    for set in named.into_iter().chain(others) {
        reader = reader.with_codebooks(Arc::clone(set), "codebooks=")?;
    }
    reader.check_codebooks()?;
    Ok(reader)
}

impl FileReader {
    fn new(
        file: huffwire_io::Result<InputFile>,
        max_size: Option<u64>,
        codebooks: Option<DecoderSets>,
        base: Option<&FileBase>,
    ) -> huffwire_io::Result<Self> {
        let max_size = max_size.unwrap_or(u64::MAX);
        let options = ReadOptions { max_size: max_size.max(HEADERS), ..ReadOptions::default() };
        let sets = codebooks.map_or_else(Vec::new, |codebooks| codebooks.0);
        let mut reader = with_codebooks(Reader::new(file?, options)?, &sets)?;
        if let Some(base) = base {
            reader = reader.with_base(Arc::clone(&base.base))?;
        }
        let originals = reader.directory().originals.iter().enumerate();
        let places = originals.flat_map(|(place, original)| {
            let tensors =
                original.items.iter().enumerate().filter(|(_, item)| item.tensor.is_some());
            tensors.map(move |(index, _)| (place, index))
        });
        let places = places.collect();
        Ok(Self { reader, max_size, places })
    }

    fn original(&self, place: usize) -> Result<&Original, Failure> {
        let missing = || Class::NoSuchTensor.error(format!("original file number {place}"));
        self.reader.directory().originals.get(place).ok_or_else(|| Failure::Raised(missing()))
    }

    /// The item of a tensor.
    fn tensor(&self, place: usize) -> PyResult<&Item> {
        let item = self.places.get(place).and_then(|&(original, index)| self.item(original, index));
        item.ok_or_else(|| Class::NoSuchTensor.error(format!("tensor number {place}")))
    }

    fn item(&self, place: usize, index: usize) -> Option<&Item> {
        self.reader.directory().originals.get(place)?.items.get(index)
    }

    /// The type of a tensor's elements, where its original tells it and its shape and size agree with it.
    fn dtype_of(&self, place: usize, item: &Item) -> Option<Dtype> {
        let TensorInfo { dtype, shape, .. } = item.tensor.as_ref()?;
        let known = Dtype::from_safetensors_name(dtype).or_else(|| Dtype::from_numpy_name(dtype));
        let known = known.or_else(|| match dtype.as_str() {
            // NumPy has no bf16 of its own: ml_dtypes stores it as two opaque bytes.
            "<V2" | "|V2" if item.dtype == Dtype::Bf16 => Some(Dtype::Bf16),
            name => name.parse().ok(),
        })?;
        let elements = shape.iter().try_fold(1u64, |product, &d| product.checked_mul(d));
        let bytes = match elements {
            None if shape.contains(&0) => 0,
            elements => known.bytes_of(elements?)?,
        };
        (bytes == item.raw_bytes && !self.is_fortran(place)).then_some(known)
    }

    /// Whether an original is a `.npy` file whose array is not in C order.
    fn is_fortran(&self, place: usize) -> bool {
        let Some(original) = self.reader.directory().originals.get(place) else { return false };
        let [header, _] = &original.items[..] else { return false };
        if header.tensor.is_some() || !original.name.to_ascii_lowercase().ends_with(".npy") {
            return false;
        }
        // Whatever cannot be read is not taken for C order.
        self.bytes_of(header, &original.name, 1 << 20).map_or(true, |bytes| {
            !String::from_utf8_lossy(&bytes).contains("'fortran_order': False")
        })
    }

    /// The header of an original `.safetensors` file; `None` for other files.
    fn header(&self, original: &Original) -> Result<Option<Header>, Failure> {
        let label = self.reader.file().label();
        let [first, ..] = &original.items[..] else { return Ok(None) };
        let named = original.name.to_ascii_lowercase().ends_with(".safetensors");
        if !named || first.tensor.is_some() {
            return Ok(None);
        }
        let bytes = self.bytes_of(first, "a safetensors header", MAX_HEADER_BYTES + 8)?;
        let header = Header::parse(label, &bytes)?;
        header.check(label, original)?;
        Ok(Some(header))
    }

    /// The bytes of an item that is no tensor.
    fn bytes_of(&self, item: &Item, what: &str, limit: u64) -> Result<Vec<u8>, Failure> {
        let limit = limit.min(self.max_size.max(HEADERS));
        if item.raw_bytes > limit {
            return Err(Failure::File(huffwire_io::Error::TooLarge {
                path: self.reader.file().label().to_owned(),
                what: what.to_owned(),
                bytes: item.raw_bytes,
                limit,
            }));
        }
        let mut bytes = vec![0; item.raw_bytes as usize];
        let region = Region::all(item.raw_bytes);
        let mut to = [Destination { item, region, memory: &mut bytes }];
        self.reader.decode_into(&Workers::caller(), &mut to, |_| Ok::<(), Failure>(()))?;
        Ok(bytes)
    }
}

/// Checks that no two destinations share memory.
fn check_apart(destinations: &[Destination<'_, '_>]) -> PyResult<()> {
    let range = |to: &Destination<'_, '_>| -> Range<usize> {
        let start = to.memory.as_ptr().addr();
        start..start + to.memory.len()
    };
    let mut ranges: Vec<_> =
        destinations.iter().map(range).filter(|range| !range.is_empty()).collect();
    ranges.sort_by_key(|range| range.start);
    match ranges.windows(2).any(|pair| pair[0].end > pair[1].start) {
        true => Err(Class::Output.error("two outputs overlap in memory: give each its own")),
        false => Ok(()),
    }
}
