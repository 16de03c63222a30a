//! Quantized gradients: quantizers, and lossless coders of the values that they make.
//!
//! Data-parallel training sends gradients, and many send them *quantized*: a few bits an element, most
//! elements zero. What is sent then are small integers, here called *values*, and the scales that turn
//! them back into numbers. Gajjala et al. (*Huffman Coding Based Encoding Techniques for Fast Distributed
//! Deep Learning*, DistributedML 2020, doi 10.1145/3426745.3431334) ask how to send the values, and answer
//! with Huffman codes over runs (RLH), from a sample (SH), and from a sample that only looks for zeros
//! (SHS), where others use Elias codes. This module has them all, made to be exact for every input and
//! with codebooks that are counted, and what can be had beyond them.
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
//! * [`ErrorFeedback`]: what quantization took away goes into the next step.
//! * [`encode`]: the encoders, behind one trait.
//! * [`message`]: values, scales and all that is needed to turn them into values, as bytes; [`mod@file`]: many
//!   of them.
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
mod feedback;
pub mod file;
pub mod message;
mod parameters;
pub mod quantize;
mod random;
mod values;

pub use feedback::ErrorFeedback;
pub use random::Random;
pub use values::{ValueBuf, Values, ValuesMut};
