//! Error feedback: the error of one quantization is added to the next gradient.

use super::quantize::{Quantized, Quantizer};
use crate::error::{Error, Result};

/// The memory of error feedback (Seide et al. 2014, "1-Bit Stochastic Gradient Descent"; Karimireddy et al.
/// 2019, "Error Feedback Fixes SignSGD", algorithm 2). In each step a worker sends `Q(p)` of `p = g + e`, and keeps
/// the error `e = p - Q(p)` for the next step.
///
/// With error feedback, biased quantizers converge too: what one step leaves out is sent in later steps.
///
/// ```
/// use huffwire::gradient::ErrorFeedback;
/// use huffwire::gradient::quantize::{Quantizer, Sign};
///
/// let mut memory = ErrorFeedback::new(3);
/// let quantizer = Quantizer::Sign(Sign::default());
/// let mut sent = [0.0; 3];
/// for step in 0..2000 {
///     let quantized = memory.quantize(&quantizer, &[0.5, -0.25, 0.125], step)?;
///     for (sum, float) in sent.iter_mut().zip(quantized.dequantize()?) {
///         *sum += f64::from(float) / 2000.0;
///     }
/// }
/// let near = |a: f64, b: f64| (a - b).abs() < 1e-3;
/// assert!(near(sent[0], 0.5) && near(sent[1], -0.25) && near(sent[2], 0.125));
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorFeedback {
    residual: Vec<f32>,
    decay: f32,
}

impl ErrorFeedback {
    /// An empty memory for gradients of so many elements.
    #[must_use]
    pub fn new(elements: usize) -> Self {
        Self { residual: vec![0.0; elements], decay: 1.0 }
    }

    /// A memory with this error in it: what [`ErrorFeedback::residual`] returned before a training was interrupted.
    #[must_use]
    pub const fn from_residual(residual: Vec<f32>) -> Self {
        Self { residual, decay: 1.0 }
    }

    /// The same memory, in which the error counts `decay` times in the next step. With 1, nothing is forgotten.
    #[must_use]
    pub const fn with_decay(mut self, decay: f32) -> Self {
        self.decay = decay;
        self
    }

    /// The error that is kept for the next step.
    #[must_use]
    pub fn residual(&self) -> &[f32] {
        &self.residual
    }

    /// Sets the kept error to 0.
    pub fn clear(&mut self) {
        self.residual.fill(0.0);
    }

    /// Quantizes the sum of a gradient and the kept error, and keeps the new error. After an `Err` the memory is
    /// unchanged.
    ///
    /// # Errors
    /// As [`Quantizer::quantize`]; [`Error::InvalidOption`] for a gradient of another size.
    pub fn quantize(
        &mut self,
        quantizer: &Quantizer,
        gradient: &[f32],
        seed: u64,
    ) -> Result<Quantized> {
        let mut quantized = Quantized::empty(*quantizer);
        self.quantize_to(quantizer, gradient, seed, &mut quantized)?;
        Ok(quantized)
    }

    /// Does the same as [`ErrorFeedback::quantize`] with a tensor that was quantized before, whose memory is used again.
    /// After an `Err` that tensor holds anything, and the kept error is unchanged.
    ///
    /// # Errors
    /// As [`ErrorFeedback::quantize`].
    pub fn quantize_to(
        &mut self,
        quantizer: &Quantizer,
        gradient: &[f32],
        seed: u64,
        quantized: &mut Quantized,
    ) -> Result<()> {
        quantizer.quantize_with_error(gradient, &mut self.residual, self.decay, seed, quantized)
    }

    /// The sum of a gradient and the kept error.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a gradient of another size.
    pub fn compensate(&self, gradient: &[f32]) -> Result<Vec<f32>> {
        if gradient.len() != self.residual.len() {
            return Err(Error::option(format!(
                "a gradient of {} elements for a memory of {}",
                gradient.len(),
                self.residual.len()
            )));
        }
        let pairs = gradient.iter().zip(&self.residual);
        Ok(pairs.map(|(float, left)| float + self.decay * left).collect())
    }
}
