//! The tensors of an input.

use anyhow::{Result, bail};
use huffwire::Dtype;
use huffwire::file::TensorInfo;
use huffwire_io::{Input, Piece};

use crate::values;

/// A tensor in a file.
pub(super) struct Tensor<'a> {
    input: &'a Input,
    piece: &'a Piece,
    pub(super) info: &'a TensorInfo,
}

/// All tensors.
pub(super) fn all(inputs: &[Input]) -> Result<Vec<Tensor<'_>>> {
    let mut tensors = Vec::new();
    for input in inputs {
        for piece in &input.pieces {
            let Some(info) = &piece.tensor else { continue };
            let tensor = Tensor { input, piece, info };
            tensor.refuse_fortran()?;
            tensors.push(tensor);
        }
    }
    Ok(tensors)
}

impl Tensor<'_> {
    /// What messages call it.
    pub(super) fn label(&self) -> String {
        format!("{}: tensor {:?}", self.input.file.label(), self.info.name)
    }

    /// Whether it can be quantized.
    pub(super) const fn is_float(&self) -> bool {
        values::is_float(self.piece.element)
    }

    pub(super) const fn element(&self) -> Dtype {
        self.piece.element
    }

    /// The element type as safetensors spells it.
    pub(super) fn dtype(&self) -> String {
        if self.is_float() {
            self.element().name().to_ascii_uppercase()
        } else {
            self.info.dtype.clone()
        }
    }

    /// Bytes in the file.
    pub(super) const fn bytes(&self) -> u64 {
        self.piece.bytes()
    }

    /// The bytes.
    pub(super) fn read(&self) -> Result<Vec<u8>> {
        Ok(self.input.file.read(self.piece.range.clone())?)
    }

    /// The values of a tensor that can be quantized.
    pub(super) fn values(&self) -> Result<Vec<f32>> {
        let values = values::read(self.piece.element, &self.read()?);
        let elements = self.info.shape.iter().try_fold(1u64, |all, &d| all.checked_mul(d));
        if elements != Some(values.len() as u64) {
            bail!("{}: its shape does not fit its {} elements", self.label(), values.len());
        }
        Ok(values)
    }

    /// The order of elements in a .npy file, which its header alone tells. Safetensors has only one.
    fn refuse_fortran(&self) -> Result<()> {
        let [header, _] = &self.input.pieces[..] else { return Ok(()) };
        if !self.input.name.to_ascii_lowercase().ends_with(".npy") || self.info.shape.len() < 2 {
            return Ok(());
        }
        let text = self.input.file.read(header.range.clone())?;
        let text = String::from_utf8_lossy(&text);
        if text.replace(' ', "").contains("'fortran_order':True") {
            bail!(
                "{}: the array is in Fortran order, which safetensors cannot express; \
                 save numpy.ascontiguousarray of it",
                self.input.file.label()
            );
        }
        Ok(())
    }
}
