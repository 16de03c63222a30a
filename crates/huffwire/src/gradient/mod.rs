//! Quantized gradients: quantizers, and lossless coders of the states that they make.
//!
//! Data-parallel training sends gradients, and many send them *quantized*: a few bits an element, most
//! elements zero. What is sent then are small integers, here called *states*, and the scales that turn
//! them back into numbers. Gajjala et al. (*Huffman Coding Based Encoding Techniques for Fast Distributed
//! Deep Learning*, DistributedML 2020, doi 10.1145/3426745.3431334) ask how to send the states, and answer
//! with Huffman codes over runs (RLH), from a sample (SH), and from a sample that only looks for zeros
//! (SHS), where others use Elias codes. This module has them all, made to be exact for every input and
//! with codebooks that are counted, and what can be had beyond them.
//!
//! ```text
//! gradient -> quantize -> states + scales
//! ```
//!
//! * [`quantize`]: [`Qsgd`](quantize::Qsgd), [`TernGrad`](quantize::TernGrad),
//!   [`Natural`](quantize::Natural), [`Sign`](quantize::Sign), [`Sparsify`](quantize::Sparsify),
//!   [`Linear`](quantize::Linear).
//! * [`ErrorFeedback`]: what quantization took away goes into the next step.

mod feedback;
pub mod quantize;
mod random;
mod states;

pub use feedback::ErrorFeedback;
pub use random::Random;
pub use states::{StateBuf, States, StatesMut};
