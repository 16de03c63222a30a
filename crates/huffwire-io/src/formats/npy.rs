//! `.npy`: a header in the syntax of a Python dictionary, then one array.

use huffwire::Dtype;
use huffwire::file::TensorInfo;

use crate::error::{Error, Result};
use crate::input::{Input, InputFile, Piece};

pub(super) const ENDING: &str = ".npy";
/// The first bytes of every `.npy` file.
const MAGIC: &[u8] = b"\x93NUMPY";
/// Headers describe one array; NumPy itself refuses more than 10 000 bytes.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// The most bytes that stand before the array: the header, and what stands before it.
pub(crate) const MAX_HEAD_BYTES: u64 = 12 + MAX_HEADER_BYTES;

/// What the header says of the array.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    descr: String,
    shape: Vec<u64>,
}

/// Whether a file that begins so is a `.npy` file.
pub(crate) fn recognises(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// Where the header lies in a file with these first 12 bytes, and its length; or what is wrong.
fn place(start: &[u8]) -> Result<(u64, u64), String> {
    let &[_, _, _, _, _, _, version, _, l0, l1, l2, l3, ..] = start else {
        return Err("it ends within the header".to_owned());
    };
    if !recognises(start) {
        return Err("it does not begin with \\x93NUMPY".to_owned());
    }
    match version {
        1 => Ok((10, u64::from(u16::from_le_bytes([l0, l1])))),
        2 | 3 => Ok((12, u64::from(u32::from_le_bytes([l0, l1, l2, l3])))),
        version => Err(format!("format version {version} is unknown")),
    }
}

/// How many bytes at the start of a file tell what is in it, by its first 12; `None` if no file can begin so.
pub(super) fn head_bytes(start: &[u8]) -> Option<u64> {
    let (at, bytes) = place(start).ok()?;
    (bytes <= MAX_HEADER_BYTES).then_some(at + bytes)
}

/// The size of a file of which these are the first bytes; `None` if they do not tell.
pub(super) fn file_bytes(head: &[u8]) -> Option<u64> {
    let (at, _) = place(head).ok()?;
    let header = parse(&String::from_utf8_lossy(&head[at as usize..]))?;
    let (_, size) = dtype_of(&header.descr)?;
    bytes_of(size, &header.shape)?.checked_add(head.len() as u64)
}

/// Cuts a `.npy` file into its header and its array, which gets the name of the file.
pub(super) fn cut(file: InputFile, name: String) -> Result<Input> {
    let invalid = |detail: &str| Error::invalid(file.label(), ENDING, detail);
    let start = file.start(12)?;
    let (header_at, header_bytes) = place(&start).map_err(|detail| invalid(&detail))?;
    let data = header_at + header_bytes;
    if header_bytes > MAX_HEADER_BYTES || data > file.bytes() {
        let detail = format!(
            "its header would have {header_bytes} bytes, the file has {}, and {MAX_HEADER_BYTES} are allowed",
            file.bytes()
        );
        return Err(invalid(&detail));
    }
    let text = String::from_utf8_lossy(&file.read(header_at..data)?).into_owned();
    let header = parse(&text).ok_or_else(|| invalid("its header cannot be understood"))?;
    let found = file.bytes() - data;
    let dtype = match dtype_of(&header.descr) {
        // Structures and pickled objects: the size of an element is not known here.
        None => Dtype::U8,
        Some((dtype, size)) => {
            let announced = bytes_of(size, &header.shape).unwrap_or(u64::MAX);
            if announced != found {
                let path = file.label().to_owned();
                return Err(Error::FileSize { path, format: ENDING, announced, found });
            }
            dtype
        }
    };
    let tensor = TensorInfo { name: name.clone(), dtype: header.descr, shape: header.shape };
    let range = data..file.bytes();
    let pieces = vec![Piece::verbatim(0..data), Piece::tensor(tensor, dtype, range)];
    Ok(Input { name, file, pieces })
}

/// Element type and bytes per element of a type string such as `<f4`.
fn dtype_of(descr: &str) -> Option<(Dtype, u64)> {
    let (order, rest) = descr.split_at_checked(1)?;
    let (kind, size) = rest.split_at_checked(1)?;
    let size: u64 = size.parse().ok().filter(|&size| (1..=1 << 20).contains(&size))?;
    let words = match size {
        2 => Dtype::Word16,
        4 => Dtype::Word32,
        size if size.is_multiple_of(8) => Dtype::Word64,
        size if size.is_multiple_of(4) => Dtype::Word32,
        size if size.is_multiple_of(2) => Dtype::Word16,
        _ => Dtype::U8,
    };
    let known = if size == 1 { format!("|{rest}") } else { descr.to_owned() };
    if let Some(dtype) = Dtype::from_numpy_name(&known) {
        return Some((dtype, size));
    }
    let dtype = match (order, kind, size) {
        // NumPy has no bf16 of its own; ml_dtypes stores it as two opaque bytes.
        ("<" | "|", "V", 2) => Dtype::Bf16,
        // Characters have 4 bytes.
        ("<" | ">", "U", size) => return Some((Dtype::Word32, 4 * size)),
        (_, "S" | "a", _) => Dtype::U8,
        ("<" | ">" | "|", "b" | "i" | "u" | "f" | "c" | "V" | "m" | "M", _) => words,
        _ => return None,
    };
    Some((dtype, size))
}

/// The text from the value of a key on.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("'{key}'"))?;
    Some(after.trim_start().strip_prefix(':')?.trim_start())
}

/// Whether the file with these bytes before its array has the elements in Fortran's order: the first index runs fastest.
pub(crate) fn is_fortran_order(header: &[u8]) -> bool {
    let Ok((at, _)) = place(header) else { return false };
    let text = String::from_utf8_lossy(header.get(at as usize..).unwrap_or_default());
    value(&text, "fortran_order").is_some_and(|value| value.starts_with("True"))
}

/// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
fn parse(text: &str) -> Option<Header> {
    let value = |key: &str| value(text, key);
    let descr = value("descr")?;
    let descr = match descr.strip_prefix('\'') {
        Some(quoted) => quoted.split_once('\'')?.0.to_owned(),
        None => "structure".to_owned(),
    };
    let shape = value("shape")?.strip_prefix('(')?.split_once(')')?.0;
    let dimensions = shape.split(',').map(str::trim).filter(|d| !d.is_empty());
    let shape = dimensions.map(|d| d.parse().ok()).collect::<Option<_>>()?;
    Some(Header { descr, shape })
}

/// The header of a `.npy` file for an array in C order, to be written before the bytes of the array.
///
/// `dtype` is the type of the array, `spelling` the same as the original file wrote it,
/// `shape` its dimensions, outermost first, and `bytes` its size. NumPy has no bf16: such an array becomes
/// one of 2-byte void (`<V2`), as `ml_dtypes` writes it. Smaller floats become bytes.
///
/// ```
/// use huffwire::Dtype;
/// use huffwire_io::formats::npy;
///
/// let header = npy::header(Dtype::F32, "F32", &[2, 3], 24)?;
/// assert!(String::from_utf8_lossy(&header).contains("'descr': '<f4'"));
/// assert_eq!(header.len() % 64, 0);
/// # Ok::<(), huffwire_io::Error>(())
/// ```
///
/// # Errors
/// [`Error::NotAnArray`] when type, shape and size do not go together.
pub fn header(dtype: Dtype, spelling: &str, shape: &[u64], bytes: u64) -> Result<Vec<u8>> {
    let (descr, shape) = described(dtype, spelling, shape, bytes);
    let size = dtype_of(descr).map_or(1, |(_, size)| size);
    let not_an_array =
        || Error::NotAnArray { bytes, descr: descr.to_owned(), dimensions: shape.len() };
    if bytes_of(size, &shape) != Some(bytes) {
        return Err(not_an_array());
    }
    let dimensions: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let dictionary =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dimensions}), }}");
    // The array is to begin at a multiple of 64 bytes, and the header to end in a line break.
    let padded = |before: usize| (before + dictionary.len() + 1).next_multiple_of(64) - before;
    let mut out = MAGIC.to_vec();
    // Version 1.0 is what every reader knows, but its length has 16 bits only.
    let length = match u16::try_from(padded(10)) {
        Ok(length) => {
            out.extend_from_slice(&[1, 0]);
            out.extend_from_slice(&length.to_le_bytes());
            usize::from(length)
        }
        Err(_) => {
            let length = padded(12);
            out.extend_from_slice(&[2, 0]);
            out.extend_from_slice(
                &u32::try_from(length).map_err(|_| not_an_array())?.to_le_bytes(),
            );
            length
        }
    };
    // Not by a width in the format, which must be below 65536.
    out.extend_from_slice(dictionary.as_bytes());
    out.resize(out.len() + length - 1 - dictionary.len(), b' ');
    out.push(b'\n');
    Ok(out)
}

/// How NumPy calls the type, and the shape in elements of that type.
fn described<'a>(
    dtype: Dtype,
    spelling: &'a str,
    shape: &[u64],
    bytes: u64,
) -> (&'a str, Vec<u64>) {
    match dtype {
        _ if is_descr(spelling) => (spelling, shape.to_vec()),
        // NumPy has no bf16 of its own: two opaque bytes, as ml_dtypes stores it.
        Dtype::Bf16 => ("<V2", shape.to_vec()),
        Dtype::Word16 => ("<u2", shape.to_vec()),
        Dtype::Word32 => ("<u4", shape.to_vec()),
        Dtype::Word64 => ("<u8", shape.to_vec()),
        _ => match dtype.numpy_name() {
            Some(name) if dtype != Dtype::U8 => (name, shape.to_vec()),
            // Small floats: NumPy has no such type, so their bytes.
            _ if bytes_of(1, shape) == Some(bytes) => ("|u1", shape.to_vec()),
            _ => ("|u1", vec![bytes]),
        },
    }
}

/// Bytes of an array of that shape whose elements have `size` bytes.
fn bytes_of(size: u64, shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(size, |product, &d| product.checked_mul(d))
}

fn is_descr(name: &str) -> bool {
    name.starts_with(['<', '>', '|', '=']) && dtype_of(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_numpy_are_understood() {
        let parsed = |text| parse(text).map(|header| (header.descr, header.shape));
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }   \n";
        assert_eq!(parsed(text), Some(("<f4".to_owned(), vec![3, 4])));
        let text = "{'descr': '|b1', 'fortran_order': True, 'shape': (7,), }\n";
        assert_eq!(parsed(text), Some(("|b1".to_owned(), vec![7])));
        let text = "{'descr': '<i8', 'fortran_order': False, 'shape': (), }\n";
        assert_eq!(parsed(text), Some(("<i8".to_owned(), vec![])));
        let text = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (7,), }\n";
        assert_eq!(parsed(text), Some(("structure".to_owned(), vec![7])));
        for text in ["", "{}", "{'descr': '<f4'}", "{'descr': '<f4', 'shape': (-1,)}"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn types_of_numpy() {
        assert_eq!(dtype_of("<f4"), Some((Dtype::F32, 4)));
        assert_eq!(dtype_of(">f4"), Some((Dtype::Word32, 4)));
        assert_eq!(dtype_of("<f8"), Some((Dtype::F64, 8)));
        assert_eq!(dtype_of("<c16"), Some((Dtype::Complex128, 16)));
        assert_eq!(dtype_of("|b1"), Some((Dtype::Bool, 1)));
        assert_eq!(dtype_of("<i1"), Some((Dtype::I8, 1)));
        assert_eq!(dtype_of(">i4"), Some((Dtype::Word32, 4)));
        assert_eq!(dtype_of("<U5"), Some((Dtype::Word32, 20)));
        for descr in ["", "<", "<f", "|O", "<f0", "structure", "é4"] {
            assert_eq!(dtype_of(descr), None, "{descr}");
        }
    }

    #[test]
    fn a_header_that_we_write_is_one_that_we_read() {
        let bytes = header(Dtype::F32, "F32", &[2, 3], 24).unwrap();
        assert_eq!(bytes.len() % 64, 0);
        let text = String::from_utf8_lossy(&bytes[10..]).into_owned();
        let expected = Header { descr: "<f4".to_owned(), shape: vec![2, 3] };
        assert_eq!(parse(&text), Some(expected));
    }

    #[test]
    fn a_header_beyond_64_kib_is_of_version_2() {
        for (dimensions, version) in [(21_000, 1), (30_000, 2)] {
            let shape = vec![1; dimensions];
            let bytes = header(Dtype::F32, "F32", &shape, 4).unwrap();
            assert_eq!(bytes[6], version, "{dimensions}");
            let (from, length) = match version {
                1 => (10, u16::from_le_bytes([bytes[8], bytes[9]]).into()),
                _ => (12, u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]])),
            };
            assert_eq!(from + length as usize, bytes.len());
            assert_eq!(bytes.len() % 64, 0);
            let text = String::from_utf8_lossy(&bytes[from..]).into_owned();
            assert_eq!(parse(&text).map(|header| header.shape), Some(shape));
        }
    }

    #[test]
    fn a_shape_that_does_not_give_the_size_is_refused() {
        for (dtype, spelling, shape, bytes) in [
            (Dtype::F32, "F32", &[2, 3][..], 25),
            (Dtype::Bf16, "BF16", &[1 << 40, 1 << 40], 8),
            (Dtype::Word64, "<f8", &[0], 8),
        ] {
            let error = header(dtype, spelling, shape, bytes).unwrap_err().to_string();
            assert!(error.contains("raw bytes"), "{error}");
        }
        // What NumPy has no type for is bytes, whatever the shape.
        let bytes = header(Dtype::E2m1, "F4", &[1 << 40, 1 << 40], 8).unwrap();
        assert!(String::from_utf8_lossy(&bytes).contains("(8, )"));
    }
}
