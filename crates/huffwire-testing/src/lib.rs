//! Random numbers, tensors and files for the tests and benchmarks of huffwire.
//!
//! Everything here is the same on every machine and for ever: golden files are made with it. The crate
//! imports no other crate of the workspace, so that unit tests of any of them can use it.
//!
//! ```
//! use huffwire_testing::{Random, float};
//!
//! let mut random = Random::new(42);
//! let weights = random.tensor(1000, -6.0, 0.5);
//! assert_eq!(float::to_bf16_bytes(&weights).len(), 2000);
//! ```

#[cfg(doctest)]
mod documents;
pub mod files;
pub mod float;
mod random;

pub use random::{Random, noise};
