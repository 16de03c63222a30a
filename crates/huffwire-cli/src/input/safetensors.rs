//! `.safetensors`: a JSON header that says where each tensor lies, then the tensors.

use huffwire::Dtype;
use huffwire::file::TensorInfo;
use safetensors::tensor::Metadata;

use super::{InputError, Original, Piece};
use crate::input_file::InputFile;

/// The limit of the safetensors library.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The length of the header stands in front of it.
const LENGTH_BYTES: u64 = 8;

/// Cuts a safetensors file into its header and its tensors, in the order in which they lie there.
pub(super) fn open(file: InputFile, name: String) -> anyhow::Result<Original> {
    let path = || file.label().to_owned();
    let not_safetensors = |detail: String| InputError::NotSafetensors { path: path(), detail };
    let bytes = file.bytes();
    if bytes < LENGTH_BYTES {
        return Err(
            not_safetensors(format!("it has {bytes} bytes and no room for a header")).into()
        );
    }
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact_at(&mut length, 0)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return Err(not_safetensors(format!(
            "its header would have {length} bytes, where {MAX_HEADER_BYTES} are allowed"
        ))
        .into());
    }
    let data = LENGTH_BYTES + length;
    if data > bytes {
        return Err(not_safetensors(format!(
            "its header would have {length} bytes, where the file has {bytes}"
        ))
        .into());
    }
    let header = file.read(LENGTH_BYTES..data)?;
    // This also checks that the tensors fill the space without holes and overlaps, and that sizes
    // go with types and shapes.
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|source| InputError::SafetensorsHeader { path: path(), source })?;
    let (announced, found) = (metadata.data_len() as u64, bytes - data);
    if announced != found {
        return Err(InputError::SafetensorsSize { path: path(), announced, found }.into());
    }
    let mut tensors: Vec<_> = metadata.tensors().into_iter().collect();
    // Empty tensors may share an offset; their names then decide, so that the order is one.
    tensors.sort_by(|(a, x), (b, y)| x.data_offsets.cmp(&y.data_offsets).then_with(|| a.cmp(b)));
    let mut pieces = vec![Piece::verbatim(0..data)];
    pieces.extend(tensors.into_iter().map(|(name, info)| {
        let dtype = info.dtype.to_string();
        let shape = info.shape.iter().map(|&d| d as u64).collect();
        let (start, end) = info.data_offsets;
        let element = element_of(&dtype);
        let range = data + start as u64..data + end as u64;
        Piece::tensor(TensorInfo { name, dtype, shape }, element, range)
    }));
    Ok(Original { name, file, pieces })
}

/// Types that huffwire does not know are coded as bytes, which always works.
fn element_of(dtype: &str) -> Dtype {
    match dtype {
        // Another bias and other NaNs than the OCP types, but the same fields.
        "F8_E4M3FNUZ" => Dtype::E4m3,
        "F8_E5M2FNUZ" => Dtype::E5m2,
        dtype => dtype.parse().unwrap_or(Dtype::U8),
    }
}
