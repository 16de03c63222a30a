//! The tensors of an input that can be quantized.

use anyhow::{Result, bail};
use huffwire::file::TensorInfo;

use crate::input::{Original, Piece};
use crate::values;

/// A tensor of floating-point values in a file.
pub(super) struct Gradient<'a> {
    original: &'a Original,
    piece: &'a Piece,
    pub(super) info: &'a TensorInfo,
}

/// All tensors of floating-point values.
pub(super) fn all(originals: &[Original]) -> Result<Vec<Gradient<'_>>> {
    let mut gradients = Vec::new();
    for original in originals {
        for piece in &original.pieces {
            let Some(info) = &piece.tensor else { continue };
            if values::is_float(piece.element) {
                gradients.push(Gradient { original, piece, info });
            }
        }
    }
    Ok(gradients)
}

impl Gradient<'_> {
    /// What messages call it.
    pub(super) fn label(&self) -> String {
        format!("{}: tensor {:?}", self.original.file.label(), self.info.name)
    }

    /// Bytes in the file.
    pub(super) const fn bytes(&self) -> u64 {
        self.piece.bytes()
    }

    /// The values.
    pub(super) fn read(&self) -> Result<Vec<f32>> {
        let bytes = self.original.file.read_unproven(self.piece.range.clone())?;
        let values = values::read(self.piece.element, &bytes);
        let elements = self.info.shape.iter().try_fold(1u64, |all, &d| all.checked_mul(d));
        if elements != Some(values.len() as u64) {
            bail!("{}: its shape does not go with its {} elements", self.label(), values.len());
        }
        Ok(values)
    }
}
