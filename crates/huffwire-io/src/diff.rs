//! Which tensors of two files are the same.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;

use huffwire::Dtype;
use huffwire::file::{Item, TensorInfo};

use crate::error::{Error, Result};
use crate::formats::{RawOptions, npy};
use crate::input::{Input, InputFile, Piece};
use crate::reader::{ReadOptions, Reader, is_hw_file};

/// Bytes of each file that are compared at a time.
const AT_ONCE: u64 = 4 << 20;

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

/// How a tensor differs between two files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It does not: type, shape, order of elements and all bits are the same.
    Equal,
    /// So many of its elements have other bits.
    Changed {
        /// Elements that differ.
        changed: u64,
        /// All its elements.
        elements: u64,
    },
    /// Its type, its shape or the order of its elements is another one; the elements were not compared.
    Reshaped,
    /// Only the first file has it.
    OnlyFirst,
    /// Only the second file has it.
    OnlySecond,
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
        let all: Vec<TensorRef<'_>> = match self {
            Self::Files(inputs) => {
                let pieces =
                    inputs.iter().flat_map(|input| input.pieces.iter().map(move |p| (input, p)));
                pieces.filter_map(|(input, piece)| TensorRef::of_piece(input, piece)).collect()
            }
            Self::Hw(reader) => {
                let of_item = |(info, item)| TensorRef::of_item(reader, info, item);
                reader.tensors().map(of_item).collect()
            }
        };
        let mut seen = BTreeSet::new();
        all.into_iter().filter(|tensor| seen.insert(&tensor.info.name)).collect()
    }

    /// An error when one of the files is no longer as long as it was.
    ///
    /// # Errors
    /// [`Error::Changed`].
    pub fn check_length(&self) -> Result<()> {
        match self {
            Self::Files(inputs) => inputs.iter().try_for_each(|input| input.file.check_length()),
            Self::Hw(reader) => reader.file().check_length(),
        }
    }
}

impl<'a> TensorRef<'a> {
    fn of_piece(input: &'a Input, piece: &'a Piece) -> Option<Self> {
        let info = piece.tensor.as_ref()?;
        let place = Place::File(input, piece);
        Some(Self { info, dtype: piece.dtype, bytes: piece.bytes(), place })
    }

    const fn of_item(reader: &'a Reader, info: &'a TensorInfo, item: &'a Item) -> Self {
        let place = Place::Hw(reader, item);
        Self { info, dtype: item.dtype, bytes: item.raw_bytes, place }
    }

    /// Some of its bytes.
    fn read(&self, range: &Range<u64>) -> Result<Vec<u8>> {
        match self.place {
            Place::File(input, piece) => {
                let start = piece.range.start;
                input.file.read(start + range.start..start + range.end)
            }
            Place::Hw(reader, item) => reader.read_bytes(item, range),
        }
    }

    /// Whether types, shapes and orders are the same, so that elements can be compared.
    fn is_like(&self, other: &Self) -> Result<bool> {
        let is_like = self.bytes == other.bytes
            && self.info.shape == other.info.shape
            && self.dtype == other.dtype
            && meaning(self.dtype, &self.info.dtype) == meaning(other.dtype, &other.info.dtype);
        // Elements in a row have only one order.
        let is_row = self.info.shape.iter().filter(|&&size| size > 1).count() < 2;
        Ok(is_like && (is_row || self.is_fortran_order()? == other.is_fortran_order()?))
    }

    /// Whether the first index runs fastest, which arrays of `.npy` files alone can have.
    fn is_fortran_order(&self) -> Result<bool> {
        let header = match self.place {
            Place::File(input, piece) => match &input.pieces[..] {
                [header, array] if array == piece && npy::recognises(&input.file.start(12)?) => {
                    input.file.read(header.range.clone())?
                }
                _ => return Ok(false),
            },
            Place::Hw(reader, item) => match reader.npy_header_of(item) {
                Some(header) => {
                    let bytes = header.raw_bytes.min(npy::MAX_HEAD_BYTES);
                    reader.read_bytes(header, &(0..bytes))?
                }
                None => return Ok(false),
            },
        };
        Ok(npy::is_fortran_order(&header))
    }
}

/// What a type that is coded as mere bytes or words is in truth: as its file spells it. The other types say so
/// themselves, in whatever spelling.
fn meaning(dtype: Dtype, spelling: &str) -> Option<&str> {
    let is_word = matches!(dtype, Dtype::Word16 | Dtype::Word32 | Dtype::Word64);
    let is_itself = spelling.parse::<Dtype>() == Ok(dtype) || dtype.numpy_name() == Some(spelling);
    ((is_word || dtype == Dtype::U8) && !is_itself).then_some(spelling)
}

/// Compares all tensors of two files: those of the first in its order, then those that only the second has. `found` is
/// called for each, with the tensor of the first file if there is one; `progress` with the number of bytes done since
/// its last call.
///
/// # Errors
/// Those of reading, and the first error of `found`.
pub fn diff<E: From<Error>>(
    first: &TensorFile,
    second: &TensorFile,
    mut found: impl FnMut(&TensorRef<'_>, Change) -> Result<(), E>,
    mut progress: impl FnMut(u64),
) -> Result<(), E> {
    let (ours, theirs) = (first.tensors(), second.tensors());
    let names = theirs.iter().map(|tensor| (tensor.info.name.as_str(), tensor));
    let mut others: HashMap<&str, &TensorRef<'_>> = names.collect();
    for tensor in &ours {
        let change = match others.remove(tensor.info.name.as_str()) {
            None => Change::OnlyFirst,
            Some(other) if !tensor.is_like(other)? => Change::Reshaped,
            Some(other) => compare(tensor, other, &mut progress)?,
        };
        found(tensor, change)?;
    }
    for tensor in theirs.iter().filter(|tensor| others.contains_key(tensor.info.name.as_str())) {
        found(tensor, Change::OnlySecond)?;
    }
    first.check_length()?;
    Ok(second.check_length()?)
}

fn compare(a: &TensorRef<'_>, b: &TensorRef<'_>, progress: &mut impl FnMut(u64)) -> Result<Change> {
    let unit = a.dtype.unit_bytes() as u64;
    let step = AT_ONCE / unit * unit;
    let (mut changed, mut at) = (0, 0);
    while at < a.bytes {
        let range = at..a.bytes.min(at + step);
        let (ours, theirs) = (a.read(&range)?, b.read(&range)?);
        if ours != theirs {
            changed += changed_elements(a.dtype, &ours, &theirs);
        }
        progress(range.end - range.start);
        at = range.end;
    }
    if changed == 0 {
        return Ok(Change::Equal);
    }
    let elements = a.dtype.values_in(a.bytes).unwrap_or(a.bytes);
    Ok(Change::Changed { changed, elements })
}

/// How many elements have other bits.
fn changed_elements(dtype: Dtype, a: &[u8], b: &[u8]) -> u64 {
    let bits = dtype.value_bits();
    let unit = dtype.unit_bytes();
    let word = |bytes: &[u8]| {
        let mut word = [0; 16];
        word[..bytes.len()].copy_from_slice(bytes);
        u128::from_le_bytes(word)
    };
    let units = a.chunks(unit).zip(b.chunks(unit)).filter(|(a, b)| a != b);
    let in_unit = |(a, b): (&[u8], &[u8])| {
        let differing = word(a) ^ word(b);
        // Some types have several elements in a unit.
        let places = (0..8 * unit).step_by(bits.max(1));
        let mask = if bits >= 128 { u128::MAX } else { (1 << bits) - 1 };
        places.filter(|place| (differing >> place) & mask != 0).count() as u64
    };
    units.map(in_unit).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_counted() {
        let a = [0u8; 48];
        let mut b = a;
        b[0] = 0x11;
        b[5] = 0x80;
        b[6] = 1;
        assert_eq!(changed_elements(Dtype::U8, &a, &b), 3);
        assert_eq!(changed_elements(Dtype::Bf16, &a, &b), 3);
        assert_eq!(changed_elements(Dtype::F32, &a, &b), 2);
        assert_eq!(changed_elements(Dtype::Complex128, &a, &b), 1);
        assert_eq!(changed_elements(Dtype::E2m1, &a, &b), 4, "two in the first byte");
        assert_eq!(changed_elements(Dtype::U8, &a, &a), 0);
    }

    #[test]
    fn types_are_told_by_any_spelling() {
        for (dtype, spellings) in [
            (Dtype::F32, &["F32", "<f4", "float32"][..]),
            (Dtype::U8, &["U8", "|u1", "uint8"]),
            (Dtype::Bf16, &["BF16", "<V2"]),
        ] {
            for spelling in spellings {
                assert_eq!(meaning(dtype, spelling), None, "{spelling}");
            }
        }
        assert_ne!(meaning(Dtype::Word32, ">f4"), meaning(Dtype::Word32, ">i4"));
        assert_ne!(meaning(Dtype::U8, "|S3"), meaning(Dtype::U8, "|u1"));
    }
}
