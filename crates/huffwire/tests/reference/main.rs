//! Two implementations of one specification: what this library writes, the reference decoder in `reference/` reads, and
//! what neither may read, both refuse. The vectors in `test_vectors/`, which are there for other implementers, hold for
//! this library, too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic says what does not hold.

mod exchange;
mod read;
mod vectors;
