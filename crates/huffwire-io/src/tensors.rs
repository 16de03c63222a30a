//! Tensors in files of any kind, the .hw files among them.

use std::collections::BTreeSet;
use std::path::Path;

use huffwire::Dtype;
use huffwire::file::{Item, TensorInfo};

use crate::error::{Error, Result};
use crate::formats::{RawOptions, npy};
use crate::input::{Input, InputFile, Origin, Piece};
use crate::reader::{ReadOptions, Reader, is_hw_file};

/// A file of tensors of any kind, .hw files included.
#[derive(Debug)]
pub enum TensorFile {
    /// A file of another format, or the files of a sharded model.
    Files(Vec<Input>),
    /// A .hw file.
    Hw(Box<Reader>),
}

/// A tensor in a file.
#[derive(Debug, Clone, Copy)]
pub struct TensorRef<'a> {
    /// Name, type and shape.
    pub info: &'a TensorInfo,
    /// The type that its elements are coded as.
    pub dtype: Dtype,
    /// Size in bytes.
    pub bytes: u64,
    place: Place<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    File(&'a Input, &'a Piece),
    Hw(&'a Reader, &'a Item),
}

impl TensorFile {
    /// Opens a .hw file, or a file of any format that [`Input::open`] knows.
    ///
    /// # Errors
    /// Those of [`Input::open`] and [`Reader::new`].
    pub fn open(path: &Path, raw: Option<&RawOptions>, options: ReadOptions) -> Result<Self> {
        let file = InputFile::open(path)?;
        if raw.is_none() && is_hw_file(&file.start(8)?) {
            return Ok(Self::Hw(Box::new(Reader::new(file, options)?)));
        }
        Input::open(path, raw).map(Self::Files)
    }

    /// All tensors, in the order of the file. Of several with one name it is the first one.
    #[must_use]
    pub fn tensors(&self) -> Vec<TensorRef<'_>> {
        let mut seen = BTreeSet::new();
        let all = self.all_tensors();
        all.into_iter().filter(|tensor| seen.insert(&tensor.info.name)).collect()
    }

    /// All tensors, in the order of the file, also several of one name.
    #[must_use]
    pub fn all_tensors(&self) -> Vec<TensorRef<'_>> {
        match self {
            Self::Files(inputs) => {
                let of_input = |input| {
                    let of_piece = move |(info, piece)| TensorRef::of_piece(input, info, piece);
                    Input::tensors(input).map(of_piece)
                };
                inputs.iter().flat_map(of_input).collect()
            }
            Self::Hw(reader) => {
                let of_item = |(info, item)| TensorRef::of_item(reader, info, item);
                reader.tensors().map(of_item).collect()
            }
        }
    }

    /// The files that it reads, also those of a base: no output may replace one of them.
    #[must_use]
    pub fn origins(&self) -> Vec<&Origin> {
        match self {
            Self::Files(inputs) => inputs.iter().map(|input| input.file.origin()).collect(),
            Self::Hw(reader) => reader.origins(),
        }
    }

    /// An error when one of these files is no longer as long as it was.
    ///
    /// # Errors
    /// [`Error::Changed`].
    pub fn check_length(&self) -> Result<()> {
        match self {
            Self::Files(inputs) => inputs.iter().try_for_each(|input| input.file.check_length()),
            Self::Hw(reader) => reader.check_length(),
        }
    }
}

impl<'a> TensorRef<'a> {
    const fn of_piece(input: &'a Input, info: &'a TensorInfo, piece: &'a Piece) -> Self {
        let place = Place::File(input, piece);
        Self { info, dtype: piece.dtype, bytes: piece.bytes(), place }
    }

    const fn of_item(reader: &'a Reader, info: &'a TensorInfo, item: &'a Item) -> Self {
        let place = Place::Hw(reader, item);
        Self { info, dtype: item.dtype, bytes: item.raw_bytes, place }
    }

    /// Reads so many bytes of its elements, from the byte `start` on. Of a .hw file the blocks that hold them are
    /// decoded, on the calling thread if the file was opened with [`ReadOptions::default`].
    ///
    /// # Errors
    /// Those of reading and decoding; [`Error::Range`] where the tensor has no such bytes.
    pub fn read_into(&self, start: u64, bytes: &mut [u8]) -> Result<()> {
        if start.checked_add(bytes.len() as u64).is_none_or(|end| end > self.bytes) {
            let detail = format!("{} bytes from byte {start} on, of {}", bytes.len(), self.bytes);
            let path = self.origin().label().to_owned();
            return Err(Error::Range { path, name: self.info.name.clone(), detail });
        }
        match self.place {
            Place::File(input, piece) => input.file.read_exact_at(bytes, piece.range.start + start),
            Place::Hw(reader, item) => reader.read_bytes(item, start, bytes),
        }
    }

    /// Bytes that are best read together, from a multiple of them on: those of a block of a .hw file. 1 for other files.
    #[must_use]
    pub const fn block_bytes(&self) -> usize {
        match self.place {
            Place::File(..) => 1,
            Place::Hw(_, item) => item.block_bytes(),
        }
    }

    /// Whether the first index runs fastest, as arrays in `.npy` files may have it, and nothing else.
    pub(crate) fn is_fortran_order(&self) -> Result<bool> {
        let header = match self.place {
            Place::File(input, piece) => match &input.pieces[..] {
                [header, array] if array == piece && npy::recognises(&input.file.start(12)?) => {
                    input.file.read(header.range.clone())?
                }
                _ => return Ok(false),
            },
            Place::Hw(reader, item) => match reader.npy_header_of(item) {
                Some(header) => {
                    let mut bytes = vec![0; header.raw_bytes.min(npy::MAX_HEAD_BYTES) as usize];
                    reader.read_bytes(header, 0, &mut bytes)?;
                    bytes
                }
                None => return Ok(false),
            },
        };
        Ok(npy::is_fortran_order(&header))
    }

    fn origin(&self) -> &'a Origin {
        match self.place {
            Place::File(input, _) => input.file.origin(),
            Place::Hw(reader, _) => reader.file().origin(),
        }
    }
}

impl From<Vec<Input>> for TensorFile {
    fn from(inputs: Vec<Input>) -> Self {
        Self::Files(inputs)
    }
}

impl From<Reader> for TensorFile {
    fn from(reader: Reader) -> Self {
        Self::Hw(Box::new(reader))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{WriteOptions, Writer};

    #[test]
    fn any_bytes_are_read_from_a_hw_file_and_from_its_original() {
        let folder = tempfile::tempdir().unwrap();
        let [plain, packed] = ["x.bin", "x.hw"].map(|name| folder.path().join(name));
        let bytes: Vec<u8> = (0..300_000u32).map(|i| (i >> 7) as u8).collect();
        std::fs::write(&plain, &bytes).unwrap();
        let raw = RawOptions::new(Dtype::Bf16);
        let inputs = Input::open(&plain, Some(&raw)).unwrap();
        let mut writer = Writer::create(&packed, false, WriteOptions::default()).unwrap();
        writer.add_inputs(&inputs, |_| {}).unwrap();
        writer.finish().unwrap();
        for (path, raw, block) in [(&plain, Some(&raw), 1), (&packed, None, 1 << 17)] {
            let file = TensorFile::open(path, raw, ReadOptions::default()).unwrap();
            let [tensor] = file.all_tensors()[..] else { panic!("one tensor") };
            assert_eq!((tensor.bytes, tensor.block_bytes()), (300_000, block));
            for range in [0..300_000, 131_070..131_080, 299_999..300_000, 7..7] {
                let mut read = vec![0; range.len()];
                tensor.read_into(range.start as u64, &mut read).unwrap();
                assert!(read == bytes[range.clone()], "{range:?}");
            }
            let beyond = tensor.read_into(299_999, &mut [0; 2]).unwrap_err().to_string();
            assert!(beyond.contains("299999"), "{beyond}");
            assert!(tensor.read_into(u64::MAX, &mut [0; 2]).is_err());
        }
    }
}
