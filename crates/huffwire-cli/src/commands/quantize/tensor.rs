//! The tensors of an input.

use anyhow::{Result, bail};
use huffwire::Dtype;
use huffwire::file::TensorInfo;
use huffwire_io::{Input, Piece};

use crate::floats;

/// A tensor in a file.
pub(super) struct Tensor<'a> {
    input: &'a Input,
    piece: &'a Piece,
    pub(super) info: &'a TensorInfo,
}

/// All tensors.
pub(super) fn all(inputs: &[Input]) -> impl Iterator<Item = Tensor<'_>> {
    inputs
        .iter()
        .flat_map(|input| input.tensors().map(move |(info, piece)| Tensor { input, piece, info }))
}

impl<'a> Tensor<'a> {
    /// The tensor that a piece of a file is; `None` for bytes that are no tensor.
    pub(super) fn of(input: &'a Input, piece: &'a Piece) -> Option<Self> {
        Some(Self { input, piece, info: piece.tensor.as_ref()? })
    }

    /// What messages call it.
    pub(super) fn label(&self) -> String {
        format!("{}: tensor {:?}", self.input.file.label(), self.info.name)
    }

    /// Whether it can be quantized.
    pub(super) const fn is_float(&self) -> bool {
        floats::is_float(self.piece.dtype)
    }

    /// The type of its elements.
    pub(super) const fn dtype(&self) -> Dtype {
        self.piece.dtype
    }

    /// Bytes in the file.
    pub(super) const fn bytes(&self) -> u64 {
        self.piece.bytes()
    }

    /// The floats of a tensor that can be quantized.
    pub(super) fn floats(&self) -> Result<Vec<f32>> {
        let bytes = self.input.file.read(self.piece.range.clone())?;
        let floats = floats::read(self.piece.dtype, &bytes);
        let elements = self.info.shape.iter().try_fold(1u64, |all, &d| all.checked_mul(d));
        if elements != Some(floats.len() as u64) {
            bail!("{}: its shape does not fit its {} elements", self.label(), floats.len());
        }
        Ok(floats)
    }
}
