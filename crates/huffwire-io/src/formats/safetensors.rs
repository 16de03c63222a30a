//! `.safetensors`: a JSON header that says where each tensor lies, then the tensors.

use huffwire::Dtype;
use huffwire::file::TensorInfo;
use safetensors::tensor::Metadata;

use crate::error::{Error, Result};
use crate::input::{Input, InputFile, Piece};

pub(super) const ENDING: &str = ".safetensors";
const FORMAT: &str = "safetensors";
/// The limit of the safetensors library.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The length of the header stands in front of it.
const LENGTH_BYTES: u64 = 8;

/// Whether a file that begins so may be a safetensors file.
pub(super) fn recognises(start: &[u8]) -> bool {
    start.get(LENGTH_BYTES as usize) == Some(&b'{')
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
    let header = file.read(LENGTH_BYTES..data)?;
    // This also checks that the tensors fill the space without holes and overlaps, and that sizes
    // go with types and shapes.
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| invalid(format!("its header is not valid: {error}")))?;
    let (announced, found) = (metadata.data_len() as u64, bytes - data);
    if announced != found {
        let path = file.label().to_owned();
        return Err(Error::FileSize { path, format: FORMAT, announced, found });
    }
    let mut tensors: Vec<_> = metadata.tensors().into_iter().collect();
    // Empty tensors may share an offset; their names then decide, so that the order is one.
    tensors.sort_by(|(a, x), (b, y)| x.data_offsets.cmp(&y.data_offsets).then_with(|| a.cmp(b)));
    let mut pieces = vec![Piece::verbatim(0..data)];
    pieces.extend(tensors.into_iter().map(|(name, info)| {
        let dtype = info.dtype.to_string();
        let shape = info.shape.iter().map(|&d| d as u64).collect();
        let (start, end) = info.data_offsets;
        let known = dtype_of(&dtype);
        let range = data + start as u64..data + end as u64;
        Piece::tensor(TensorInfo { name, dtype, shape }, known, range)
    }));
    Ok(Input { name, file, pieces })
}

/// Types that huffwire does not know are coded as bytes, which always works.
fn dtype_of(dtype: &str) -> Dtype {
    Dtype::from_safetensors_name(dtype).unwrap_or(Dtype::U8)
}
