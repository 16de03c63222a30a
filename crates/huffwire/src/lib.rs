//! Lossless compression of machine-learning tensors, with Huffman codebooks fixed in advance.

pub mod calibrate;
pub mod choose;
pub mod codebook;
mod codec;
mod element;
mod error;
pub mod format;
pub mod lanes;
pub mod planes;
pub mod pmf;

pub use choose::{Choice, Level};
pub use codebook::{Codebook, CodebookId, CodebookSet, SetId};
pub use codec::{Decoder, EncodeOptions, Encoder, POISON};
pub use element::{ElementType, UnknownElementType};
pub use error::{Error, Result};
pub use format::{file, message};
pub use planes::{Layout, SymbolRule};
