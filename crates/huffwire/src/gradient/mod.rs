//! Quantized gradients: quantizers, and lossless coders of the values that quantizers make.
//!
//! Data-parallel training sends gradients between machines. Many programs *quantize* gradients first: each float
//! becomes a small integer, here called a *quantized value* or *value* for short, and most values are 0. A few
//! *scales* turn the values back into floats near the old ones.
//!
//! Gajjala et al. (*Huffman Coding Based Encoding Techniques for Fast Distributed Deep Learning*, DistributedML
//! 2020, doi 10.1145/3426745.3431334) code the values with Huffman codes over runs (RLH), with a codebook from a
//! sample (SH), and with a codebook from the share of zeros in a sample (SHS). Their baseline are Elias codes. This
//! module has all of these encoders, in a form that is exact for every input, and reports the bytes of codebooks.
//! It adds encoders with fixed codebooks, and the [`Bitmap`](encode::Bitmap), which uses the lane coder.
//!
//! ```text
//! gradient -> quantize -> values + scales
//!                           |
//!                         encode -> bytes
//! ```
//!
//! * [`quantize`]: [`Qsgd`](quantize::Qsgd), [`TernGrad`](quantize::TernGrad),
//!   [`Natural`](quantize::Natural), [`Sign`](quantize::Sign), [`Sparsify`](quantize::Sparsify),
//!   [`Linear`](quantize::Linear).
//! * [`ErrorFeedback`]: the error of one quantization is added to the next gradient.
//! * [`encode`]: the encoders, behind one trait.
//! * [`exchange`]: pieces of quantized gradients for links whose ends agreed on everything else.
//! * [`message`]: one quantized tensor as bytes, with all that is needed to restore floats. [`item`]: the same
//!   entry by entry, for a [`file`](mod@crate::file).
//!
//! ```
//! use huffwire::gradient::encode::{self, Bitmap, ValueEncoder};
//! use huffwire::gradient::quantize::{Qsgd, Quantizer};
//!
//! let gradient: Vec<f32> = (0..100_000).map(|i| (i as f32 * 0.37).sin().powi(9)).collect();
//!
//! let quantizer = Quantizer::Qsgd(Qsgd { levels: 4, bucket: 512, ..Qsgd::default() });
//! let quantized = quantizer.quantize(&gradient, 1)?;
//!
//! let mut bytes = Vec::new();
//! Bitmap::default().encode(quantized.values.view(), &mut bytes)?;
//! assert!(bytes.len() < gradient.len() / 8);
//!
//! let mut values = vec![0i8; encode::count(&bytes)?];
//! Bitmap::default().decode(&bytes, (&mut values[..]).into())?;
//! assert_eq!(quantized.values, values.into());
//! let near = quantized.dequantize()?;
//! assert_eq!(near.len(), gradient.len());
//! # Ok::<(), huffwire::Error>(())
//! ```

pub mod encode;
pub mod exchange;
mod feedback;
mod header;
pub mod item;
pub mod message;
mod parameters;
pub mod quantize;
mod random;
mod values;

pub use feedback::ErrorFeedback;
pub use random::Random;
pub use values::{ValueBuf, Values, ValuesMut};
