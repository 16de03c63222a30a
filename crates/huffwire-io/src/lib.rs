//! Files of tensors for [`huffwire`]: reading and writing `.hw` files, and finding the tensors in
//! files of other formats.
//!
//! * [`Reader`] opens a .hw file, lists its tensors, and decodes one of them, a part of one, or whole
//!   original files. It decodes only the blocks that hold the requested bytes.
//! * [`Writer`] makes a .hw file from tensors in memory, from whole files, or from quantized gradients.
//! * [`Input`] finds the tensors in `.safetensors` files, models in several such files, `.npy` files and
//!   raw files.
//! * [`Base`] is a file that others are stored as deltas of.
//! * [`Output`] is a file that appears under its name only when it is complete.
//! * [`tree`] tells for files and folders which of them become which.
//! * [`Workers`] are the threads that blocks are coded on.
//!
//! ```
//! use huffwire_io::{Input, RawOptions, Reader, Workers, WriteOptions, Writer};
//!
//! let folder = tempfile::tempdir()?;
//! let [original, packed] = ["weights.bin", "weights.hw"].map(|name| folder.path().join(name));
//! let weights: Vec<u8> = (1..=100_000u32).flat_map(|i| (i as f32).ln().to_le_bytes()).collect();
//! std::fs::write(&original, &weights)?;
//!
//! let workers = Workers::new(0)?.into(); // A thread for each core.
//! let inputs = Input::open(&original, Some(&RawOptions::new(huffwire::Dtype::F32)))?;
//! let mut writer = Writer::create(&packed, false, WriteOptions { workers, ..WriteOptions::default() })?;
//! writer.add_inputs(&inputs, |bytes| println!("{bytes} more bytes are done"))?;
//! let written = writer.finish()?;
//! assert!(written.bytes < 400_000);
//!
//! let reader = Reader::open(&packed)?;
//! assert_eq!(reader.tensors().count(), 1);
//! assert_eq!(reader.read_range("weights.bin", 1000..1010)?, weights[4000..4040]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The feature `gradient` (default) is for items of quantized values: `Writer::add_values` writes them, and [`Reader`]
//! restores floats from them. Without it they are an error, and all other items of a file can be read.
//!
//! Input is never trusted: sizes are checked before memory is taken for them, and every failure is an
//! [`Error`] that names the file.

// docs.rs marks what needs a feature; only the nightly compiler can.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod analysis;
mod base;
mod codebooks;
mod delta_usage;
mod diff;
mod error;
mod estimate;
pub mod formats;
mod input;
mod output;
mod reader;
mod size;
mod tensors;
pub mod tree;
mod workers;
mod writer;

pub use analysis::{Analysis, Usage};
pub use base::{Base, MAX_CHAIN, Matches};
pub use codebooks::{is_codebook_file, load_codebooks, read_codebooks};
pub use delta_usage::{BlockCounts, DeltaUsage};
pub use diff::{Change, diff};
pub use error::{Error, Result};
pub use estimate::{Estimate, Group, estimate};
pub use formats::RawOptions;
pub use input::{Input, InputFile, Origin, Piece};
pub use output::{
    Complete, Output, Published, create_link, create_partial_folder, remove_partial_files,
    sync_folder, sync_name,
};
pub use reader::{BlockJob, Destination, ReadOptions, Reader, Region, TensorFormat, is_hw_file};
pub use size::{ByteCount, NotAByteCount};
pub use tensors::{TensorFile, TensorRef};
pub use workers::{PerThread, Workers};
#[cfg(feature = "gradient")]
pub use writer::values::ValueSizes;
pub use writer::{WriteOptions, Writer, Written};

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
