//! Raw files: elements of one type and nothing else.

use huffwire::Dtype;
use huffwire::file::TensorInfo;

use crate::error::{Error, Result};
use crate::input::{Input, InputFile, Piece};

/// What a raw file consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawOptions {
    /// The type of the elements.
    pub element: Dtype,
    /// The name of the type that is stored with the tensor: `bf16`, `float64`.
    pub dtype: String,
    /// Dimensions, outermost first; `None` for one dimension.
    pub shape: Option<Vec<u64>>,
}

impl RawOptions {
    /// One dimension of elements of this type.
    #[must_use]
    pub fn new(element: Dtype) -> Self {
        Self { element, dtype: element.name().to_owned(), shape: None }
    }
}

/// Takes the whole file as one tensor.
pub(crate) fn cut(file: InputFile, name: String, options: &RawOptions) -> Result<Input> {
    let RawOptions { element, dtype, shape } = options;
    let bytes = file.bytes();
    let wrong = |detail| Error::RawSize { path: file.label().to_owned(), bytes, detail };
    let Some(values) = element.values_in(bytes) else {
        let step = element.unit_bytes().max(element.value_bits() / 8);
        return Err(wrong(format!("is no multiple of {step} bytes, as {dtype} needs")));
    };
    let shape = shape.clone().unwrap_or_else(|| vec![values]);
    let product = shape.iter().try_fold(1u64, |product, &d| product.checked_mul(d));
    if product != Some(values) {
        let dimensions: Vec<_> = shape.iter().map(ToString::to_string).collect();
        let dimensions = dimensions.join(",");
        return Err(wrong(format!(
            "are {values} values of {dtype}, not those of shape {dimensions}"
        )));
    }
    let tensor = TensorInfo { name: name.clone(), dtype: dtype.clone(), shape };
    let pieces = vec![Piece::tensor(tensor, *element, 0..bytes)];
    Ok(Input { name, file, pieces })
}
