//! `.npy`: a header in the syntax of a Python dictionary, then one array.

use huffwire::ElementType;
use huffwire::file::TensorInfo;

use super::{InputError, Original, Piece};
use crate::input_file::InputFile;

/// The first bytes of every `.npy` file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// Headers describe one array; NumPy itself refuses more than 10 000 bytes.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// What the header says of the array.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    descr: String,
    shape: Vec<u64>,
}

/// Cuts a `.npy` file into its header and its array, which gets the name of the file.
pub(super) fn open(file: InputFile, name: String) -> anyhow::Result<Original> {
    let path = || file.label().to_owned();
    let not_npy = |detail: &str| InputError::NotNpy { path: path(), detail: detail.to_owned() };
    let start = file.read(0..file.bytes().min(12))?;
    if !start.starts_with(MAGIC) || start.len() < 12 {
        return Err(not_npy("it does not begin as one").into());
    }
    let (header_at, header_bytes) = match start[6] {
        1 => (10, u64::from(u16::from_le_bytes([start[8], start[9]]))),
        2 | 3 => (12, u64::from(u32::from_le_bytes([start[8], start[9], start[10], start[11]]))),
        version => return Err(not_npy(&format!("format version {version} is unknown")).into()),
    };
    let data = header_at + header_bytes;
    if header_bytes > MAX_HEADER_BYTES || data > file.bytes() {
        return Err(not_npy(&format!("its header would have {header_bytes} bytes")).into());
    }
    let text = String::from_utf8_lossy(&file.read(header_at..data)?).into_owned();
    let header = parse(&text).ok_or_else(|| not_npy("its header cannot be understood"))?;
    let found = file.bytes() - data;
    let element = match dtype(&header.descr) {
        // Structures and pickled objects: the size of an element is not known here.
        None => ElementType::U8,
        Some((element, size)) => {
            let announced =
                header.shape.iter().try_fold(size, |product, &d| product.checked_mul(d));
            if announced != Some(found) {
                let announced = announced.unwrap_or(u64::MAX);
                return Err(InputError::NpySize { path: path(), announced, found }.into());
            }
            element
        }
    };
    let tensor = TensorInfo { name: name.clone(), dtype: header.descr, shape: header.shape };
    let range = data..file.bytes();
    let pieces = vec![Piece::verbatim(0..data), Piece::tensor(tensor, element, range)];
    Ok(Original { name, file, pieces })
}

/// Element type and bytes per element of a type string such as `<f4`.
fn dtype(descr: &str) -> Option<(ElementType, u64)> {
    let (order, rest) = descr.split_at_checked(1)?;
    let (kind, size) = rest.split_at_checked(1)?;
    let size: u64 = size.parse().ok().filter(|&size| (1..=1 << 20).contains(&size))?;
    let words = match size {
        2 => ElementType::Word16,
        4 => ElementType::Word32,
        size if size.is_multiple_of(8) => ElementType::Word64,
        size if size.is_multiple_of(4) => ElementType::Word32,
        size if size.is_multiple_of(2) => ElementType::Word16,
        _ => ElementType::U8,
    };
    let element = match (order, kind, size) {
        ("<", "f", 2) => ElementType::F16,
        ("<", "f", 4) => ElementType::F32,
        // NumPy has no bf16 of its own; ml_dtypes stores it as two opaque bytes.
        ("<" | "|", "V", 2) => ElementType::Bf16,
        (_, "i", 1) => ElementType::I8,
        // Characters have 4 bytes.
        ("<" | ">", "U", size) => return Some((ElementType::Word32, 4 * size)),
        (_, "S" | "a", _) => ElementType::U8,
        ("<" | ">" | "|", "b" | "i" | "u" | "f" | "c" | "V" | "m" | "M", _) => words,
        _ => return None,
    };
    Some((element, size))
}

/// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
fn parse(text: &str) -> Option<Header> {
    let value = |key: &str| {
        let (_, after) = text.split_once(&format!("'{key}'"))?;
        Some(after.trim_start().strip_prefix(':')?.trim_start())
    };
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

/// The header of an array of that type in C order, to be put in front of its bytes.
pub(crate) fn header(element: ElementType, dtype: &str, shape: &[u64], bytes: u64) -> Vec<u8> {
    let (descr, shape) = match element {
        _ if is_descr(dtype) => (dtype, shape.to_vec()),
        ElementType::Bf16 => ("<V2", shape.to_vec()),
        ElementType::F16 => ("<f2", shape.to_vec()),
        ElementType::F32 => ("<f4", shape.to_vec()),
        ElementType::I8 => ("|i1", shape.to_vec()),
        _ => match dtype.to_ascii_lowercase().as_str() {
            "f64" | "float64" | "double" => ("<f8", shape.to_vec()),
            "c64" | "complex64" => ("<c8", shape.to_vec()),
            "i16" | "int16" => ("<i2", shape.to_vec()),
            "i32" | "int32" => ("<i4", shape.to_vec()),
            "i64" | "int64" => ("<i8", shape.to_vec()),
            "u16" | "uint16" | "word16" => ("<u2", shape.to_vec()),
            "u32" | "uint32" | "word32" => ("<u4", shape.to_vec()),
            "u64" | "uint64" | "word64" => ("<u8", shape.to_vec()),
            "bool" => ("|b1", shape.to_vec()),
            // Small floats: NumPy has no such type, so their bytes.
            _ if shape.iter().product::<u64>() == bytes => ("|u1", shape.to_vec()),
            _ => ("|u1", vec![bytes]),
        },
    };
    let dimensions: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let dictionary =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dimensions}), }}");
    // The array is to begin at a multiple of 64 bytes, and the header to end in a line break.
    let length = (10 + dictionary.len() + 1).next_multiple_of(64) - 10;
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&[1, 0]);
    out.extend_from_slice(&(length as u16).to_le_bytes());
    out.extend_from_slice(format!("{dictionary:<width$}\n", width = length - 1).as_bytes());
    out
}

fn is_descr(name: &str) -> bool {
    name.starts_with(['<', '>', '|', '=']) && dtype(name).is_some()
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
        assert_eq!(dtype("<f4"), Some((ElementType::F32, 4)));
        assert_eq!(dtype(">f4"), Some((ElementType::Word32, 4)));
        assert_eq!(dtype("<f8"), Some((ElementType::Word64, 8)));
        assert_eq!(dtype("<c16"), Some((ElementType::Word64, 16)));
        assert_eq!(dtype("|b1"), Some((ElementType::U8, 1)));
        assert_eq!(dtype("<U5"), Some((ElementType::Word32, 20)));
        for descr in ["", "<", "<f", "|O", "<f0", "structure", "é4"] {
            assert_eq!(dtype(descr), None, "{descr}");
        }
    }

    #[test]
    fn a_header_that_we_write_is_one_that_we_read() {
        let bytes = header(ElementType::F32, "F32", &[2, 3], 24);
        assert_eq!(bytes.len() % 64, 0);
        let text = String::from_utf8_lossy(&bytes[10..]).into_owned();
        let expected = Header { descr: "<f4".to_owned(), shape: vec![2, 3] };
        assert_eq!(parse(&text), Some(expected));
    }
}
