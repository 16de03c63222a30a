//! Tests that run the built program. One binary, because linking takes longer than testing.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says that something does not hold")]

mod analyze;
mod bad_input;
mod bench;
mod codebooks;
mod common;
mod damage;
mod deltas;
mod demo;
mod diff;
#[cfg(unix)]
mod interrupt;
mod json;
mod many;
mod many_failures;
mod messages;
mod output;
mod pipes;
mod plan;
mod quantize;
mod reports;
mod round_trip;
