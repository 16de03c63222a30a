//! What is analyzed: tensors in files, and tensors in memory.

use huffwire::Dtype;
use huffwire::file::TensorInfo;
use huffwire_io::{Origin, TensorFile, TensorRef};

use crate::error::Result;
use crate::steps::step_of;

/// A file of tensors, all files of a sharded model, or tensors in memory.
#[derive(Debug)]
pub struct File<'a> {
    /// What it is called in results. A number in it is that of a step, where steps matter and [`File::at_step`] told none.
    pub name: String,
    step: Option<u64>,
    source: Source<'a>,
}

#[derive(Debug)]
enum Source<'a> {
    File(TensorFile),
    Memory(Vec<InMemory<'a>>),
}

/// A tensor in memory.
#[derive(Debug, Clone)]
pub struct InMemory<'a> {
    info: TensorInfo,
    dtype: Dtype,
    bytes: &'a [u8],
}

impl<'a> InMemory<'a> {
    /// A tensor of some elements, as little-endian bytes. Bytes that are no whole number of elements are analyzed as
    /// bytes.
    #[must_use]
    pub fn new(name: &str, dtype: Dtype, shape: &[u64], bytes: &'a [u8]) -> Self {
        let whole = dtype.values_in(bytes.len() as u64).is_some();
        let spelling = dtype.name().to_owned();
        let info = TensorInfo { name: name.to_owned(), dtype: spelling, shape: shape.to_vec() };
        Self { info, dtype: if whole { dtype } else { Dtype::U8 }, bytes }
    }
}

impl<'a> File<'a> {
    /// The tensors of a file, under a name for people.
    #[must_use]
    pub fn new(name: &str, file: impl Into<TensorFile>) -> Self {
        Self { name: name.to_owned(), step: None, source: Source::File(file.into()) }
    }

    /// Tensors in memory, under a name for people.
    #[must_use]
    pub fn in_memory(name: &str, tensors: Vec<InMemory<'a>>) -> Self {
        Self { name: name.to_owned(), step: None, source: Source::Memory(tensors) }
    }

    /// The same, of this step, whatever its name says.
    #[must_use]
    pub fn at_step(self, step: u64) -> Self {
        Self { step: Some(step), ..self }
    }

    /// The number of its step.
    pub(crate) fn step(&self) -> Option<u64> {
        self.step.or_else(|| step_of(&self.name))
    }

    /// The files that it was opened from: no output may replace one of them.
    #[must_use]
    pub fn origins(&self) -> Vec<&Origin> {
        match &self.source {
            Source::File(file) => file.origins(),
            Source::Memory(_) => Vec::new(),
        }
    }

    /// All tensors.
    pub(crate) fn tensors(&self) -> Vec<Tensor<'_>> {
        match &self.source {
            Source::File(file) => file.all_tensors().into_iter().map(Tensor::of_file).collect(),
            Source::Memory(tensors) => tensors.iter().map(Tensor::of_memory).collect(),
        }
    }

    /// An error when a file is no longer as long as it was.
    pub(crate) fn check_length(&self) -> Result<()> {
        match &self.source {
            Source::File(file) => Ok(file.check_length()?),
            Source::Memory(_) => Ok(()),
        }
    }
}

/// A tensor, wherever it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tensor<'a> {
    pub(crate) info: &'a TensorInfo,
    /// The type that its bytes are elements of.
    pub(crate) dtype: Dtype,
    /// Size in bytes.
    pub(crate) bytes: u64,
    place: Place<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    File(TensorRef<'a>),
    Memory(&'a [u8]),
}

impl<'a> Tensor<'a> {
    const fn of_file(tensor: TensorRef<'a>) -> Self {
        let TensorRef { info, dtype, bytes, .. } = tensor;
        Self { info, dtype, bytes, place: Place::File(tensor) }
    }

    fn of_memory(tensor: &'a InMemory<'a>) -> Self {
        let InMemory { info, dtype, bytes } = tensor;
        Self { info, dtype: *dtype, bytes: bytes.len() as u64, place: Place::Memory(bytes) }
    }

    /// Reads so many of its bytes, from `start` on. They must be there.
    pub(crate) fn read_into(&self, start: u64, bytes: &mut [u8]) -> Result<()> {
        match &self.place {
            Place::File(tensor) => Ok(tensor.read_into(start, bytes)?),
            Place::Memory(all) => {
                let start = start as usize;
                bytes.copy_from_slice(&all[start..start + bytes.len()]);
                Ok(())
            }
        }
    }

    /// Bytes that are best read together, from a multiple of them on.
    pub(crate) const fn block_bytes(&self) -> u64 {
        match &self.place {
            Place::File(tensor) => tensor.block_bytes() as u64,
            Place::Memory(_) => 1,
        }
    }
}
