//! `.safetensors`: a JSON header that says where each tensor lies, then the tensors.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use huffwire::Dtype;
use huffwire::file::{Original, TensorInfo};
use safetensors::tensor::Metadata;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::input::{Input, InputFile, Piece};

pub(super) const ENDING: &str = ".safetensors";
const FORMAT: &str = "safetensors";
/// The most bytes that the header of a safetensors file may have: the limit of the safetensors library.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Stands in the header where names of tensors stand.
const METADATA: &str = "__metadata__";
/// The length of the header stands in front of it.
const LENGTH_BYTES: u64 = 8;

/// Whether a file that begins so may be a safetensors file.
pub(super) fn recognises(start: &[u8]) -> bool {
    start.get(LENGTH_BYTES as usize) == Some(&b'{')
}

/// What the header of a safetensors file says: its metadata, and where each tensor lies.
///
/// ```
/// use std::collections::BTreeMap;
/// use huffwire::file::TensorInfo;
/// use huffwire_io::formats::safetensors::Header;
///
/// let info = |name: &str, dtype: &str| TensorInfo { name: name.into(), dtype: dtype.into(), shape: vec![2, 3] };
/// let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
/// let header = Header::new("model", Some(metadata), vec![info("a", "BF16"), info("b", "F32")])?;
/// assert_eq!(header.tensors[0], (info("b", "F32"), 0..24)); // Larger elements come first.
///
/// let bytes = header.to_bytes();
/// assert_eq!(bytes.len() % 8, 0);
/// assert_eq!(Header::parse("model", &bytes)?, header);
/// # Ok::<(), huffwire_io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the file says of itself, if it says anything.
    pub metadata: Option<BTreeMap<String, String>>,
    /// The tensors in the order of the file, and their places behind the header, in bytes.
    pub tensors: Vec<(TensorInfo, Range<u64>)>,
}

impl Header {
    /// The header of a new file with these tensors, in the order in which the safetensors library writes them: by
    /// element type, large alignments first, and by name. `label` is the file's name in messages.
    ///
    /// # Errors
    /// [`Error::Unwritable`] for names that occur twice or cannot occur, types that safetensors files do not have,
    /// shapes of no whole number of bytes, and headers of more than 100 MB.
    pub fn new(
        label: &str,
        metadata: Option<BTreeMap<String, String>>,
        tensors: Vec<TensorInfo>,
    ) -> Result<Self> {
        let unwritable = |detail: String| Error::Unwritable { path: label.to_owned(), detail };
        let mut names = HashSet::new();
        let mut typed = Vec::new();
        for tensor in tensors {
            let name = &tensor.name;
            if name == METADATA {
                return Err(unwritable(format!("no tensor of a safetensors file is named {name}")));
            }
            if !names.insert(name.clone()) {
                return Err(unwritable(format!("two tensors are named {name:?}")));
            }
            let dtype: Option<safetensors::Dtype> =
                serde_json::from_value(json!(tensor.dtype)).ok();
            let Some(dtype) = dtype else {
                let detail = format!(
                    "tensor {name:?}: safetensors files have no elements of type {}",
                    tensor.dtype
                );
                return Err(unwritable(detail));
            };
            typed.push((dtype, tensor));
        }
        typed.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.name.cmp(&y.name)));
        let mut at = 0;
        let mut placed = Vec::new();
        for (dtype, tensor) in typed {
            let bits =
                tensor.shape.iter().try_fold(dtype.bitsize() as u64, |n, &d| n.checked_mul(d));
            let end = bits.filter(|bits| bits % 8 == 0).and_then(|bits| (bits / 8).checked_add(at));
            let Some(end) = end else {
                let TensorInfo { name, shape, .. } = &tensor;
                let detail = format!(
                    "tensor {name:?}: {shape:?} elements of {} bits are no whole number of bytes, or too many",
                    dtype.bitsize()
                );
                return Err(unwritable(detail));
            };
            placed.push((tensor, at..end));
            at = end;
        }
        let header = Self { metadata, tensors: placed };
        let bytes = header.to_bytes().len() as u64;
        if bytes > MAX_HEADER_BYTES {
            let detail = format!(
                "its header would have {bytes} bytes, where {MAX_HEADER_BYTES} are allowed; write several files"
            );
            return Err(unwritable(detail));
        }
        Ok(header)
    }

    /// The first bytes of the file: the length of the header and the header, padded to a multiple of 8 bytes. The same
    /// tensors and metadata always give the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut map = Map::new();
        if let Some(metadata) = &self.metadata {
            map.insert(METADATA.to_owned(), json!(metadata));
        }
        for (TensorInfo { name, dtype, shape }, Range { start, end }) in &self.tensors {
            let tensor = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
            map.insert(name.clone(), tensor);
        }
        let mut text = Value::Object(map).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(LENGTH_BYTES as usize), b' ');
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.append(&mut text);
        bytes
    }

    /// Reads what [`Header::to_bytes`] gives, or what any other program wrote. `label` is the file's name in messages.
    ///
    /// # Errors
    /// [`Error::InvalidFormat`].
    pub fn parse(label: &str, bytes: &[u8]) -> Result<Self> {
        let invalid = |detail: String| Error::invalid(label, FORMAT, detail);
        let (length, text) =
            bytes.split_first_chunk::<{ LENGTH_BYTES as usize }>().ok_or_else(|| {
                invalid(format!("it has {} bytes and no room for a header", bytes.len()))
            })?;
        if u64::from_le_bytes(*length) != text.len() as u64 {
            return Err(invalid(
                "its header has another length than is told in front of it".into(),
            ));
        }
        // This also checks that the tensors fill the space without holes and overlaps, and that sizes
        // go with types and shapes.
        let metadata: Metadata = serde_json::from_slice(text)
            .map_err(|error| invalid(format!("its header is not valid: {error}")))?;
        let mut tensors: Vec<_> = metadata.tensors().into_iter().collect();
        // Empty tensors may share an offset; their names then decide, so that the order is one.
        tensors
            .sort_by(|(a, x), (b, y)| x.data_offsets.cmp(&y.data_offsets).then_with(|| a.cmp(b)));
        let placed = tensors.into_iter().map(|(name, info)| {
            let shape = info.shape.iter().map(|&d| d as u64).collect();
            let (start, end) = info.data_offsets;
            (TensorInfo { name, dtype: info.dtype.to_string(), shape }, start as u64..end as u64)
        });
        let tensors = placed.collect();
        let metadata = metadata.metadata().clone().map(|map| map.into_iter().collect());
        Ok(Self { metadata, tensors })
    }

    /// Checks that an original of a .hw file has exactly these tensors at these places. `label` is the .hw file's name
    /// in messages.
    ///
    /// # Errors
    /// [`Error::InvalidFormat`].
    pub fn check(&self, label: &str, original: &Original) -> Result<()> {
        let differs = |what: &str| {
            let name = &original.name;
            let detail = format!(
                "the header of {name:?} and the directory tell different things of {what}; fetch or make the file again"
            );
            Err(Error::invalid(label, ".hw", detail))
        };
        let mut told: BTreeMap<&str, _> = self
            .tensors
            .iter()
            .map(|(tensor, range)| (tensor.name.as_str(), (tensor, range)))
            .collect();
        let (mut at, mut start) = (0, None);
        for item in &original.items {
            if let Some(tensor) = &item.tensor {
                // The tensors begin where the header ends.
                let from = at - *start.get_or_insert(at);
                let range = from..from + item.raw_bytes;
                if told.remove(tensor.name.as_str()) != Some((tensor, &range)) {
                    return differs(&format!("tensor {:?}", tensor.name));
                }
            } else if start.is_some() {
                return differs("the bytes behind the header");
            }
            at += item.raw_bytes;
        }
        match told.keys().next() {
            Some(name) => differs(&format!("tensor {name:?}")),
            None => Ok(()),
        }
    }
}

/// How many bytes at the start of a file tell what is in it, by its first 12; `None` if no file can begin so.
pub(super) fn head_bytes(start: &[u8]) -> Option<u64> {
    let length = u64::from_le_bytes(*start.first_chunk()?);
    (length <= MAX_HEADER_BYTES).then_some(LENGTH_BYTES + length)
}

/// The size of a file of which these are the first bytes.
pub(super) fn file_bytes(label: &str, head: &[u8]) -> Result<u64> {
    let header = Header::parse(label, head)?;
    let bytes = header.tensors.last().map_or(0, |(_, range)| range.end);
    bytes.checked_add(head.len() as u64).ok_or_else(|| {
        let detail = format!("its tensors would have {bytes} bytes, which no file can hold");
        Error::invalid(label, FORMAT, detail)
    })
}

/// Cuts a safetensors file into its header and its tensors, in the order in which they lie there.
pub(super) fn cut(file: InputFile, name: String) -> Result<Input> {
    let invalid = |detail: String| Error::invalid(file.label(), FORMAT, detail);
    let bytes = file.bytes();
    if bytes < LENGTH_BYTES {
        return Err(invalid(format!("it has {bytes} bytes and no room for a header")));
    }
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact_at(&mut length, 0)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return Err(invalid(format!(
            "its header would have {length} bytes, where {MAX_HEADER_BYTES} are allowed"
        )));
    }
    let data = LENGTH_BYTES + length;
    if data > bytes {
        return Err(invalid(format!(
            "its header would have {length} bytes, and the file has {bytes}"
        )));
    }
    let header = Header::parse(file.label(), &file.read(0..data)?)?;
    let announced = header.tensors.last().map_or(0, |(_, range)| range.end);
    let found = bytes - data;
    if announced != found {
        let path = file.label().to_owned();
        return Err(Error::FileSize { path, format: FORMAT, announced, found });
    }
    let mut pieces = vec![Piece::verbatim(0..data)];
    pieces.extend(header.tensors.into_iter().map(|(tensor, Range { start, end })| {
        let known = dtype_of(&tensor.dtype);
        Piece::tensor(tensor, known, data + start..data + end)
    }));
    Ok(Input { name, file, pieces })
}

/// Types that huffwire does not know are coded as bytes, which always works.
fn dtype_of(dtype: &str) -> Dtype {
    Dtype::from_safetensors_name(dtype).unwrap_or(Dtype::U8)
}
