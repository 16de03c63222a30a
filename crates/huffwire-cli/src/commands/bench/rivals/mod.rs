//! What huffwire is held against: copies, which bound every coder, and coders that people know.

mod lz4;
mod memcpy;
#[cfg(target_arch = "x86_64")]
mod stream;
mod zstd;

use anyhow::Result;

use super::candidate::Candidate;

pub(super) use memcpy::{COPY, NON_TEMPORAL};

/// The copies that this machine can make.
pub(super) fn copies() -> Vec<Candidate> {
    memcpy::candidates()
}

/// The coders, each on one thread.
pub(super) fn peers(checksums: bool) -> Result<Vec<Candidate>> {
    let mut peers = zstd::candidates(checksums)?;
    peers.push(lz4::candidate());
    Ok(peers)
}
