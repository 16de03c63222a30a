//! Headers of `.safetensors` files.

use std::collections::{BTreeMap, HashMap};

use huffwire::Dtype;
use huffwire::file::TensorInfo;
use huffwire_io::formats::safetensors::Header;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::{Class, of_io};
use crate::memory::Input;
use crate::options::dtype_of;

/// The first bytes of a `.safetensors` file with these tensors (name, huffwire's name of the element type, shape) and
/// metadata, and the names in the order in which the tensors follow. `label` is the file's name in messages.
#[pyfunction]
#[pyo3(signature = (label, tensors, metadata=None))]
pub(crate) fn safetensors_header<'py>(
    py: Python<'py>,
    label: &str,
    tensors: Vec<(String, String, Vec<u64>)>,
    metadata: Option<HashMap<String, String>>,
) -> PyResult<(Bound<'py, PyBytes>, Vec<String>)> {
    let mut described = Vec::with_capacity(tensors.len());
    for (name, dtype, shape) in tensors {
        let dtype: Dtype = dtype_of(&dtype)?;
        let Some(spelled) = dtype.safetensors_name() else {
            return Err(Class::Unsupported.error(format!(
                "tensor {name:?}: safetensors files have no elements of type {dtype}; save another view of it, such as \
                 torch.view_as_real makes of complex numbers"
            )));
        };
        described.push(TensorInfo { name, dtype: spelled.to_owned(), shape });
    }
    let metadata = metadata.map(|map| map.into_iter().collect::<BTreeMap<_, _>>());
    let header = Header::new(label, metadata, described).map_err(of_io)?;
    let bytes = PyBytes::new(py, &header.to_bytes());
    Ok((bytes, header.tensors.into_iter().map(|(tensor, _)| tensor.name).collect()))
}

/// A tensor as a header describes it: its name, its element type as the file spells it, huffwire's name of that type or
/// `None`, its shape, and where its bytes begin and end behind the header.
type Described = (String, String, Option<&'static str>, Vec<u64>, u64, u64);

/// What the first bytes of a `.safetensors` file say, up to the end of its header: the metadata, and the tensors in the
/// order of the file, which they fill without holes.
///
/// # Errors
/// `DamagedError`.
#[pyfunction]
#[pyo3(signature = (label, head, /))]
pub(crate) fn _parse_safetensors_header(
    label: &str,
    head: Input,
) -> PyResult<(BTreeMap<String, String>, Vec<Described>)> {
    let header = Header::parse(label, head.bytes()).map_err(of_io)?;
    let tensors = header.tensors.into_iter().map(|(tensor, place)| {
        let TensorInfo { name, dtype, shape } = tensor;
        let known = Dtype::from_safetensors_name(&dtype).map(Dtype::name);
        (name, dtype, known, shape, place.start, place.end)
    });
    Ok((header.metadata.unwrap_or_default(), tensors.collect()))
}
