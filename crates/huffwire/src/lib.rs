//! Lossless compression of machine-learning tensors at the speed of a wire, with Huffman codebooks that
//! both ends hold before the data exist.
//!
//! Huffman coding in three stages (count symbols, make a codebook, send codebook and data) is too slow for links
//! between accelerators. Tensors of one kind look alike across layers, shards and batches, so a codebook made from the
//! average of earlier tensors is nearly as good as one made for the tensor itself (Agrawal et al., *Single-Stage
//! Huffman Encoder for ML Compression*, arXiv 2601.10673). A message then carries the numbers of codebooks and the
//! codes, and no codebook.
//!
//! huffwire codes the *exponents* of floating-point values, relative to a base that each block chooses,
//! so a book does not care about the scale of a tensor. A built-in set of such books needs no
//! calibration: about a third of a bf16 tensor is saved, and not a bit of it is lost. Only where a set has
//! no book for a plane (integers, say), or at [`Level::Max`], a block carries a book made for it.
//!
//! ```
//! use huffwire::{Decoder, Dtype, Encoder};
//!
//! // A tensor in bf16, as bytes.
//! let tensor: Vec<u8> = (1..10_000u32)
//!     .flat_map(|i| (((i as f32).sqrt().sin() * 0.02).to_bits() >> 16).to_le_bytes()[..2].to_vec())
//!     .collect();
//!
//! let message = Encoder::builtin().encode_to_vec(Dtype::Bf16, &tensor)?;
//! assert!(message.len() < tensor.len() * 3 / 4);
//!
//! let (header, restored) = Decoder::builtin().decode_to_vec(&message)?;
//! assert_eq!(header.dtype, Dtype::Bf16);
//! assert_eq!(restored, tensor);
//! # Ok::<(), huffwire::Error>(())
//! ```
//!
//! # The way through the crate
//!
//! tensor → [`Dtype`] → symbol [`planes`] → [`codebook`] → [`lanes`] → block → [`message`] or
//! [`mod@file`].
//!
//! * [`Encoder`] and [`Decoder`] are what most callers need. Both can be reused, and then allocate
//!   nothing per message (books made from the data excepted).
//! * [`delta`] is about what changed in a tensor that the receiver has already.
//! * [`CodebookSet`] is what both ends must share: built in, read from bytes or JSON, or made by
//!   [`calibrate`] from tensors of earlier batches.
//! * [`refresh`] samples what is sent, tells when books have become worse than new ones, and makes these.
//! * [`link`] tells whether coding pays on a link, from which size on, and how many cores it takes.
//! * [`stats`] has the measures behind calibration: entropy, KL divergence, compressibility.
//!
//! The bytes are specified in `docs/format.md` of the repository. The library does no I/O, uses only the
//! threads that it is given ([`Threads`]), and has `unsafe` code only in the files of instruction sets
//! ([`Platform`]).
//!
//! # Features
//!
//! * `json` (default): `CodebookSet::to_json` and `CodebookSet::from_json`.
//! * `rayon` (default): messages on several threads, `Threads::Current` and `Threads::Pool`.
//! * `gradient`: the module `gradient`, quantizers of gradients and encoders of quantized values.

// Where there are no vector coders, what only they use is there all the same: it says what they are given.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
#![deny(unsafe_code)]
// docs.rs marks what needs a feature; only the nightly compiler can.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod alphabet;
pub mod block;
pub mod calibrate;
pub mod codebook;
mod codec;
pub mod delta;
mod dtype;
mod element;
mod error;
pub mod file;
#[cfg(feature = "gradient")]
pub mod gradient;
pub mod huffman;
mod ids;
mod kernels;
pub mod lanes;
pub mod link;
pub mod message;
mod parallel;
pub mod plan;
mod plane_codec;
pub mod planes;
pub mod refresh;
mod set;
pub mod stats;
mod stream;
mod tensor;
mod wire;

pub use block::{BlockInfo, PlaneInfo, PlaneMode, PlaneParts};
pub use codebook::Codebook;
pub use codec::{
    CodedBlock, Decoder, EncodeOptions, EncodedBlock, EncodedDeltaBlock, Encoder, INSPECT_BYTES,
    POISON,
};
pub use dtype::{Dtype, UnknownDtype};
pub use element::{E4m3, E4m3Fnuz, E5m2, E5m2Fnuz, E8m0, Element};
pub use error::{Error, Result};
pub use ids::{CodebookId, ContentHash, SetId};
#[cfg(target_arch = "aarch64")]
pub use kernels::platform::Neon;
pub use kernels::platform::Platform;
#[cfg(target_arch = "x86_64")]
pub use kernels::platform::{Avx2, Avx512};
pub use message::Kind;
pub use parallel::Threads;
pub use plan::{Choice, Level};
pub use plane_codec::Coder;
pub use planes::{Layout, SymbolRule};
pub use set::{Binding, CodebookSet, FIRST_LAYER, LAST_LAYER, SetBuilder};
pub use stream::{MessageReader, MessageWriter, StreamError};
pub use tensor::{Expected, Tensor};

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
