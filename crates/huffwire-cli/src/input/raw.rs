//! Raw files: elements of one type and nothing else.

use huffwire::Dtype;
use huffwire::file::TensorInfo;

use super::{InputError, Original, Piece};
use crate::args::RawArgs;
use crate::input_file::InputFile;

/// Takes the whole file as one tensor of the type and shape that the user gave.
pub(super) fn open(file: InputFile, name: String, args: &RawArgs) -> anyhow::Result<Original> {
    let found = file.bytes();
    let (element, dtype) = match &args.dtype {
        Some(dtype) => (dtype.element, dtype.name.clone()),
        None => (Dtype::U8, Dtype::U8.name().to_owned()),
    };
    let wrong = |wanted| InputError::RawSize { path: file.label().to_owned(), found, wanted };
    let unit = element.unit_bytes() as u64;
    if !found.is_multiple_of(unit) {
        let wanted = format!("--dtype {dtype} wants a multiple of {unit}");
        return Err(wrong(wanted).into());
    }
    let values = element.values_in(found).unwrap_or(0);
    let shape = args.shape.clone().unwrap_or_else(|| vec![values]);
    let product = shape.iter().try_fold(1u64, |product, &d| product.checked_mul(d));
    if product != Some(values) {
        let dimensions: Vec<_> = shape.iter().map(ToString::to_string).collect();
        let dimensions = dimensions.join(",");
        let wanted = format!("that is {values} values of {dtype}, not --shape {dimensions}");
        return Err(wrong(wanted).into());
    }
    let tensor = TensorInfo { name: name.clone(), dtype, shape };
    let pieces = vec![Piece::tensor(tensor, element, 0..found)];
    Ok(Original { name, file, pieces })
}
