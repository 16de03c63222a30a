//! Quantizers as Python passes them.
use huffwire::gradient::quantize::{
    Keep, Linear, Natural, Norm, Qsgd, Quantizer, Sign, SignScale, Sparsify, TernGrad, WHOLE,
};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::error::{Class, of_codec};

/// A number for people, and whole tensors as buckets: `None`.
fn whole_or(bucket: usize) -> Option<usize> {
    (bucket != WHOLE).then_some(bucket)
}

fn bucket(bucket: Option<usize>) -> usize {
    bucket.unwrap_or(WHOLE)
}

/// A quantizer as a tuple: its name, then its parameters.
pub(crate) struct Spec(pub(super) Quantizer);

impl<'py> FromPyObject<'_, 'py> for Spec {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let tuple = object.cast::<PyTuple>()?;
        let name: String = tuple.get_item(0)?.extract()?;
        let rest = tuple.get_slice(1, tuple.len());
        let wrong = |what: &str| Class::Option.error(format!("{what} of the quantizer {name}"));
        // What is no number of that size at all is refused here, and what is out of range by the library.
        let number = |error: PyErr| wrong(&format!("a parameter is out of range ({error}),"));
        let quantizer = match name.as_str() {
            "qsgd" => {
                let (levels, size, norm): (u32, Option<usize>, String) =
                    rest.extract().map_err(number)?;
                let norm = match norm.as_str() {
                    "l2" => Norm::L2,
                    "max" => Norm::Max,
                    _ => return Err(wrong(&format!("norm={norm:?}: give \"l2\" or \"max\","))),
                };
                Quantizer::Qsgd(Qsgd { levels, bucket: bucket(size), norm })
            }
            "terngrad" => {
                let (clip, size): (Option<f32>, Option<usize>) = rest.extract().map_err(number)?;
                Quantizer::TernGrad(TernGrad { clip, bucket: bucket(size) })
            }
            "natural" => Quantizer::Natural(Natural),
            "sign" => {
                let (scale, size): (String, Option<usize>) = rest.extract().map_err(number)?;
                let scale = match scale.as_str() {
                    "one" => SignScale::One,
                    "mean" => SignScale::Mean,
                    "means" => SignScale::Means,
                    _ => {
                        let known = "give \"one\", \"mean\" or \"means\",";
                        return Err(wrong(&format!("scale={scale:?}: {known}")));
                    }
                };
                Quantizer::Sign(Sign { scale, bucket: bucket(size) })
            }
            "sparsify" => {
                let (keep, share): (String, f64) = rest.extract().map_err(number)?;
                let keep = match keep.as_str() {
                    "top" => Keep::Top,
                    "random" => Keep::Random,
                    _ => return Err(wrong(&format!("keep={keep:?}: give \"top\" or \"random\","))),
                };
                Quantizer::Sparsify(Sparsify { keep, share })
            }
            "linear" => {
                let (size,): (Option<usize>,) = rest.extract().map_err(number)?;
                Quantizer::Linear(Linear { bucket: bucket(size) })
            }
            _ => return Err(wrong("there is no such name")),
        };
        quantizer.check().map_err(of_codec)?;
        Ok(Self(quantizer))
    }
}

pub(super) fn spec<'py>(py: Python<'py>, quantizer: &Quantizer) -> PyResult<Bound<'py, PyTuple>> {
    match quantizer {
        Quantizer::Qsgd(Qsgd { levels, bucket, norm }) => {
            let norm = match norm {
                Norm::L2 => "l2",
                Norm::Max => "max",
            };
            ("qsgd", *levels, whole_or(*bucket), norm).into_pyobject(py)
        }
        Quantizer::TernGrad(TernGrad { clip, bucket }) => {
            ("terngrad", *clip, whole_or(*bucket)).into_pyobject(py)
        }
        Quantizer::Natural(_) => ("natural",).into_pyobject(py),
        Quantizer::Sign(Sign { scale, bucket }) => {
            let scale = match scale {
                SignScale::One => "one",
                SignScale::Mean => "mean",
                SignScale::Means => "means",
            };
            ("sign", scale, whole_or(*bucket)).into_pyobject(py)
        }
        Quantizer::Sparsify(Sparsify { keep, share }) => {
            let keep = match keep {
                Keep::Top => "top",
                Keep::Random => "random",
            };
            ("sparsify", keep, *share).into_pyobject(py)
        }
        Quantizer::Linear(Linear { bucket }) => ("linear", whole_or(*bucket)).into_pyobject(py),
        other => Err(Class::Version
            .error(format!("the quantizer {other}, which this Python package does not know"))),
    }
}

/// Checks a quantizer, and returns its text: `qsgd levels=4 norm=l2 bucket=512`.
#[pyfunction]
pub(crate) fn quantizer_text(quantizer: Spec) -> String {
    quantizer.0.to_string()
}
