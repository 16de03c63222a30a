//! The examples in Rust of the documents, which are tests here.

/// The guide to the crates.
#[doc = include_str!("../../../docs/rust.md")]
mod guide {}
