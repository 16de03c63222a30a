//! Deltas: what changed in a tensor that both ends have. `huffwire/_deltas.py` and its neighbours for NumPy and PyTorch
//! call these functions; they have what Python callers see.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use huffwire::delta::{BlockHeader, Detached, Info, block_bytes};
use huffwire::{CodebookSet, ContentHash, Dtype, Error};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes};

use crate::codebooks::Codebooks;
use crate::codec::tensor;
use crate::coders;
use crate::error::{Class, of_codec};
use crate::memory::{Input, Output, new_bytes, work};
use crate::options::{DecoderSets, Encoding, dtype_of, expected, whole_number};
use crate::threads::threads;

/// The delta from one tensor to another, as one message.
#[pyfunction]
#[pyo3(signature = (source, base, dtype, level, symbols, codebooks, checksums, threads, context, /))]
#[expect(clippy::too_many_arguments, reason = "they are what Python callers may choose")]
pub(crate) fn _encode_delta<'py>(
    py: Python<'py>,
    source: Input,
    base: Input,
    dtype: &str,
    level: &str,
    symbols: &str,
    codebooks: Option<PyRef<'_, Codebooks>>,
    checksums: bool,
    #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
    #[pyo3(from_py_with = whole_number)] context: Option<u64>,
) -> PyResult<Bound<'py, PyBytes>> {
    let encoding = Encoding::new(level, symbols, codebooks.as_deref(), checksums)?;
    let (dtype, bytes, base) = (dtype_of(dtype)?, source.bytes(), base.bytes());
    if dtype.values_in(bytes.len() as u64).is_none() {
        return Err(of_codec(Error::PartialElement { dtype, bytes: bytes.len() }));
    }
    let threads = self::threads(py, threads, bytes.len())?;
    let tensor = tensor(dtype, bytes, context);
    coders::with_encoder(&encoding, |encoder| {
        encoder.set_threads(threads);
        // Of the longest message there may be, only what this one needs is written to, and takes memory.
        let bound = encoder.delta_bound(dtype, bytes.len() / dtype.unit_bytes());
        let mut length = 0;
        let fill = |out: &mut [u8]| {
            length = encoder.encode_tensor_delta(base, &tensor, out)?;
            Ok(())
        };
        let room = new_bytes(py, bound, fill, of_codec)?;
        Ok(PyBytes::new(py, &room.as_bytes()[..length]))
    })
}

/// The new elements that a delta makes of its base.
#[pyfunction]
#[pyo3(signature = (message, base, dtype, codebooks, threads, context, /))]
pub(crate) fn _decode_delta<'py>(
    py: Python<'py>,
    message: Input,
    base: Input,
    dtype: Option<&str>,
    codebooks: DecoderSets,
    #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
    #[pyo3(from_py_with = whole_number)] context: Option<u64>,
) -> PyResult<Bound<'py, PyBytes>> {
    let expected = expected(dtype.map(dtype_of).transpose()?, context, None);
    let (message, base) = (message.bytes(), base.bytes());
    let threads = self::threads(py, threads, base.len())?;
    coders::with_decoder(&codebooks.0, |decoder| {
        decoder.set_threads(threads);
        let fill =
            |out: &mut [u8]| decoder.decode_expected_delta(base, message, &expected, out).map(drop);
        new_bytes(py, base.len(), fill, of_codec)
    })
}

/// Decodes a delta into memory beside its base, both of the same size.
#[pyfunction]
#[pyo3(signature = (message, base, dtype, out, codebooks, threads, context, /))]
#[expect(clippy::too_many_arguments, reason = "they are what Python callers may choose")]
pub(crate) fn _decode_delta_into(
    py: Python<'_>,
    message: Input,
    base: Input,
    dtype: Option<&str>,
    mut out: Output,
    codebooks: DecoderSets,
    #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
    #[pyo3(from_py_with = whole_number)] context: Option<u64>,
) -> PyResult<()> {
    let expected = expected(dtype.map(dtype_of).transpose()?, context, None);
    let (message, base) = (message.bytes(), base.bytes());
    let out = out.apart_from(&[message, base])?;
    let threads = self::threads(py, threads, base.len())?;
    coders::with_decoder(&codebooks.0, |decoder| {
        decoder.set_threads(threads);
        let decoded =
            work(py, base.len(), || decoder.decode_expected_delta(base, message, &expected, out));
        decoded.map(|_| ()).map_err(of_codec)
    })
}

/// Turns the base into the new tensor, where it lies.
#[pyfunction]
#[pyo3(signature = (message, base, dtype, codebooks, threads, context, /))]
pub(crate) fn _apply_delta(
    py: Python<'_>,
    message: Input,
    mut base: Output,
    dtype: Option<&str>,
    codebooks: DecoderSets,
    #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
    #[pyo3(from_py_with = whole_number)] context: Option<u64>,
) -> PyResult<()> {
    let expected = expected(dtype.map(dtype_of).transpose()?, context, None);
    let message = message.bytes();
    let base = base.apart_from(&[message])?;
    let threads = self::threads(py, threads, base.len())?;
    coders::with_decoder(&codebooks.0, |decoder| {
        decoder.set_threads(threads);
        let applied =
            work(py, base.len(), || decoder.apply_expected_delta(message, &expected, base));
        applied.map(|_| ()).map_err(of_codec)
    })
}

/// The changes that a delta makes: the places of the words as 64-bit integers, and the new words.
#[pyfunction]
#[pyo3(signature = (message, base, dtype, codebooks, threads, context, /))]
pub(crate) fn _delta_changes<'py>(
    py: Python<'py>,
    message: Input,
    base: Input,
    dtype: Option<&str>,
    codebooks: DecoderSets,
    #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
    #[pyo3(from_py_with = whole_number)] context: Option<u64>,
) -> PyResult<(Bound<'py, PyByteArray>, Bound<'py, PyByteArray>)> {
    let expected = expected(dtype.map(dtype_of).transpose()?, context, None);
    let (message, base) = (message.bytes(), base.bytes());
    let threads = self::threads(py, threads, base.len())?;
    let changes = coders::with_decoder(&codebooks.0, |decoder| {
        decoder.set_threads(threads);
        work(py, base.len(), || decoder.delta_changes(message, &expected, base)).map_err(of_codec)
    })?;
    let fill = |out: &mut [u8]| {
        work(py, out.len(), || {
            for (out, index) in out.chunks_exact_mut(size_of::<u64>()).zip(&changes.indices) {
                out.copy_from_slice(&index.to_ne_bytes());
            }
        });
        Ok(())
    };
    let indices = PyByteArray::new_with(py, size_of::<u64>() * changes.indices.len(), fill)?;
    Ok((indices, PyByteArray::new(py, &changes.values)))
}

/// Delta that was decoded and checked beside its base, and is still to be written over it.
#[pyclass(frozen, module = "huffwire._huffwire", name = "_PreparedDelta", skip_from_py_object)]
pub(crate) struct PreparedDelta {
    message: PyBackedBytes,
    context: Option<u64>,
    sets: Vec<Arc<CodebookSet>>,
    /// Until it is written.
    detached: Mutex<Option<Detached>>,
    /// How many words change.
    #[pyo3(get)]
    changes: u64,
    /// Bytes of memory that it holds, the message apart.
    #[pyo3(get)]
    kept_bytes: usize,
}

#[pymethods]
impl PreparedDelta {
    /// Decodes a delta and compares base and result with its hashes.
    #[new]
    #[pyo3(signature = (message, base, dtype, codebooks, threads, context, /))]
    fn prepare(
        py: Python<'_>,
        message: Bound<'_, PyAny>,
        base: Input,
        dtype: Option<&str>,
        codebooks: DecoderSets,
        #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
        #[pyo3(from_py_with = whole_number)] context: Option<u64>,
    ) -> PyResult<Self> {
        let expected = expected(dtype.map(dtype_of).transpose()?, context, None);
        // What is kept must not change: anything but bytes is copied.
        let message: PyBackedBytes = match message.cast::<PyBytes>() {
            Ok(bytes) => bytes.clone().into(),
            Err(_) => PyBytes::new(py, message.extract::<Input>()?.bytes()).into(),
        };
        let (base, sets) = (base.bytes(), codebooks.0);
        let threads = self::threads(py, threads, base.len())?;
        let (changes, kept_bytes, detached) = coders::with_decoder(&sets, |decoder| {
            decoder.set_threads(threads);
            let prepared = work(py, base.len(), || {
                let prepared = decoder.prepare_delta(&message, &expected, base)?;
                Ok((prepared.changes(), prepared.kept_bytes(), prepared.detach()))
            });
            prepared.map_err(of_codec)
        })?;
        let detached = Mutex::new(Some(detached));
        Ok(Self { message, context, sets, detached, changes, kept_bytes })
    }

    /// Writes it over its base, which must not have changed since. It can be written once.
    #[pyo3(signature = (base, threads, /))]
    fn commit(
        &self,
        py: Python<'_>,
        mut base: Output,
        #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
    ) -> PyResult<()> {
        let base = base.apart_from(&[&self.message])?;
        let threads = self::threads(py, threads, base.len())?;
        let taken = self.detached.lock().unwrap_or_else(PoisonError::into_inner).take();
        let detached = taken.ok_or_else(|| Class::Option.error("the delta was written already"))?;
        let prepared = detached.attach(&self.message, self.context).map_err(of_codec)?;
        coders::with_decoder(&self.sets, |decoder| {
            decoder.set_threads(threads);
            work(py, base.len(), || decoder.commit_delta(&prepared, base)).map_err(of_codec)
        })
    }
}

/// What a block of a delta tells without the base.
#[pyclass(frozen, get_all, module = "huffwire", skip_from_py_object)]
pub(crate) struct DeltaBlock {
    /// What the block holds: "unchanged", "plain", "dense", "sparse" or "sparse, with densities".
    kind: &'static str,
    /// How many words change.
    changes: u32,
    /// The hash of the base's bytes, XXH3-128, as 32 hexadecimal digits.
    base: String,
    /// The hash of the new bytes.
    result: String,
}

#[pymethods]
impl DeltaBlock {
    fn __repr__(&self) -> String {
        format!("<DeltaBlock: {}, {} changes>", self.kind, self.changes)
    }
}

/// What a delta tells without its base.
#[pyclass(frozen, module = "huffwire", skip_from_py_object)]
pub(crate) struct DeltaInfo {
    info: Info,
    coded_bytes: usize,
}

#[pymethods]
impl DeltaInfo {
    /// The element type, by huffwire's name.
    #[getter]
    fn dtype(&self) -> &'static str {
        self.info.header.dtype.name()
    }

    /// Bytes of the tensor.
    #[getter]
    fn size(&self) -> PyResult<usize> {
        self.info.header.raw_bytes().map_err(of_codec)
    }

    /// Bytes of the message.
    #[getter]
    fn coded_size(&self) -> usize {
        self.coded_bytes
    }

    /// Words of the tensor: what changes, or does not. Elements, for most types.
    #[getter]
    fn words(&self) -> u64 {
        self.info.words()
    }

    /// How many words change.
    #[getter]
    fn changes(&self) -> u64 {
        self.info.changes()
    }

    /// Bits of the message for each word that changes; None if none does.
    #[getter]
    fn bits_per_change(&self) -> Option<f64> {
        let changes = self.info.changes();
        (changes > 0).then(|| 8.0 * self.coded_bytes as f64 / changes as f64)
    }

    /// What `huffwire.content_hash` gives for the base.
    #[getter]
    fn base(&self) -> String {
        self.hash(|block| block.base)
    }

    /// What `huffwire.content_hash` gives for the new tensor.
    #[getter]
    fn result(&self) -> String {
        self.hash(|block| block.result)
    }

    /// What each block tells, in order.
    #[getter]
    fn blocks(&self) -> Vec<DeltaBlock> {
        let blocks = self.info.blocks.iter().map(|block| DeltaBlock {
            kind: block.kind.name(),
            changes: block.changes,
            base: block.base.to_string(),
            result: block.result.to_string(),
        });
        blocks.collect()
    }

    fn __repr__(&self) -> String {
        let Self { info, coded_bytes } = self;
        let (dtype, words) = (info.header.dtype, info.words());
        format!(
            "<DeltaInfo: {} of {words} words of {dtype} change, {coded_bytes} bytes>",
            info.changes()
        )
    }
}

impl DeltaInfo {
    fn hash(&self, of: impl Fn(&BlockHeader) -> ContentHash) -> String {
        hash_of(self.info.blocks.iter().map(of))
    }
}

/// Reads the headers of a delta and of its blocks.
#[pyfunction]
#[pyo3(signature = (message, context, /))]
pub(crate) fn _inspect_delta(
    py: Python<'_>,
    message: Input,
    #[pyo3(from_py_with = whole_number)] context: Option<u64>,
) -> PyResult<DeltaInfo> {
    let message = message.bytes();
    let info = work(py, message.len(), || Info::read(message, context)).map_err(of_codec)?;
    Ok(DeltaInfo { info, coded_bytes: message.len() })
}

/// The hash of a tensor's content: of the hashes of its blocks.
#[pyfunction]
#[pyo3(signature = (source, dtype, /))]
pub(crate) fn _content_hash(py: Python<'_>, source: Input, dtype: &str) -> PyResult<String> {
    let (bytes, block) = (source.bytes(), block_bytes(dtype_of(dtype)?));
    Ok(work(py, bytes.len(), || hash_of(bytes.chunks(block).map(ContentHash::of))))
}

/// How many bytes a file has, and the hash that `_content_hash` has for them as elements of type u8.
///
/// The file is read a block at a time and not mapped into memory: if another process makes a mapped file shorter, the
/// system kills whoever reads it. No more is read than the file had when it was opened.
#[pyfunction]
#[pyo3(signature = (path, /))]
pub(crate) fn _hash_file(py: Python<'_>, path: PathBuf) -> PyResult<(u64, String)> {
    Ok(py.detach(|| hash_file(&path))?)
}

fn hash_file(path: &Path) -> io::Result<(u64, String)> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut file = file.take(size);
    let room = block_bytes(Dtype::U8);
    let mut block = Vec::with_capacity(room);
    let (mut bytes, mut hashes) = (0, Vec::new());
    while file.by_ref().take(room as u64).read_to_end(&mut block)? > 0 {
        bytes += block.len() as u64;
        hashes.push(ContentHash::of(&block));
        block.clear();
    }
    Ok((bytes, hash_of(hashes.into_iter())))
}

fn hash_of(blocks: impl Iterator<Item = ContentHash>) -> String {
    let hashes: Vec<u8> = blocks.flat_map(|hash| hash.0).collect();
    ContentHash::of(&hashes).to_string()
}
