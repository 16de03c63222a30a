//! Raw files: elements of one type and nothing else.

use huffwire::Dtype;
use huffwire::file::TensorInfo;

use crate::error::{Error, Result};
use crate::input::{Input, InputFile, Piece};

/// What a raw file consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawOptions {
    /// The type of the elements.
    pub dtype: Dtype,
    /// How the type is spelled in what is stored with the tensor: `bf16`, `float64`.
    pub spelling: String,
    /// Dimensions, outermost first; `None` for one dimension.
    pub shape: Option<Vec<u64>>,
}

impl RawOptions {
    /// One dimension of elements of this type.
    #[must_use]
    pub fn new(dtype: Dtype) -> Self {
        Self { dtype, spelling: dtype.name().to_owned(), shape: None }
    }
}

/// Takes the whole file as one tensor.
pub(crate) fn cut(file: InputFile, name: String, options: &RawOptions) -> Result<Input> {
    let RawOptions { dtype, spelling, shape } = options;
    let bytes = file.bytes();
    let wrong = |detail| Error::RawSize { path: file.label().to_owned(), bytes, detail };
    let Some(values) = dtype.values_in(bytes) else {
        let step = dtype.unit_bytes().max(dtype.value_bits() / 8);
        return Err(wrong(format!("is no multiple of {step} bytes, as {spelling} needs")));
    };
    let shape = shape.clone().unwrap_or_else(|| vec![values]);
    let product = shape.iter().try_fold(1u64, |product, &d| product.checked_mul(d));
    if product != Some(values) {
        let dimensions: Vec<_> = shape.iter().map(ToString::to_string).collect();
        let dimensions = dimensions.join(",");
        return Err(wrong(format!(
            "are {values} values of {spelling}, not those of shape {dimensions}"
        )));
    }
    let tensor = TensorInfo { name: name.clone(), dtype: spelling.clone(), shape };
    let pieces = vec![Piece::tensor(tensor, *dtype, 0..bytes)];
    Ok(Input { name, file, pieces })
}
