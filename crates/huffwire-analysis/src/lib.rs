//! How compressible tensors are, and with which codebooks.
//!
//! For each kind of tensors, element type and symbol rule, [`analyze`] finds what a perfect code would save (Shannon), a
//! Huffman code made for each shard, one codebook fixed in advance for the kind, and the built-in codebooks; how far the
//! PMFs of the shards are from their average (KL divergence); and which symbols take the escape. These are the measures of
//! Agrawal et al. (arXiv 2601.10673, section 3).
//!
//! [`export`] writes codebooks as source text for other coders: C, SystemVerilog.
//!
//! Files are read piece by piece. What is kept is a histogram for each shard and each plane of symbols, in less than 4 KiB
//! for types of up to 32 bits. Where there are too many shards, those of a kind are counted in groups.
//!
//! ```
//! use huffwire_analysis::{File, Options, analyze};
//! use huffwire_io::{Input, RawOptions, Workers};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("weights.bin");
//! let weights: Vec<u8> = (1..=100_000u32).flat_map(|i| (i as f32).sin().to_le_bytes()).collect();
//! std::fs::write(&path, &weights)?;
//!
//! let inputs = Input::open(&path, Some(&RawOptions::new(huffwire::Dtype::F32)))?;
//! let files = [File::new("weights.bin", inputs)];
//! let analysis = analyze(&files, &[], &Options::default(), &Workers::caller(), &mut |_| Ok(()))?;
//! let kind = &analysis.kinds[0];
//! assert!(kind.shannon_saving_percent > kind.huffman_saving_percent);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod average;
mod collect;
mod cut;
mod derive;
mod error;
pub mod export;
mod families;
mod input;
mod kind;
mod measure;
mod models;
mod options;
mod packed;
mod plan;
mod price;
mod report;
mod result;
mod steps;
mod timeline;

pub use error::{Error, Result};
pub use input::{File, InMemory};
pub use measure::{analyze, bytes_to_read};
pub use options::{KindName, LeaveOut, MAX_SHARDS, Options, Scaling};
pub use report::Figure;
pub use result::{
    Analysis, Codebooks, Course, Curve, FileInfo, Judgement, KindCourse, KindResult, PlaneResult,
    Refresh, RefreshCourse, ShardResult, Step, Timeline, Totals,
};

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
