//! Copying: what coding would cost if it were free.

use ::huffwire::Dtype;
use anyhow::Result;

use super::super::candidate::{Candidate, Coder, Label};

/// The name of `copy_from_slice`.
pub(in super::super) const COPY: &str = "memcpy";
/// The name of the copy past the caches, which is faster where the target is not in them.
pub(in super::super) const NON_TEMPORAL: &str = "memcpy-nt";

pub(super) fn candidates() -> Vec<Candidate> {
    let candidate = |codec, copy| {
        Candidate::new(Label { codec, threads: 1, ..Label::default() }, Copy { copy })
    };
    let copies = vec![candidate(COPY, <[u8]>::copy_from_slice as fn(&mut [u8], &[u8]))];
    #[cfg(target_arch = "x86_64")]
    let copies = copies.into_iter().chain([candidate(NON_TEMPORAL, super::stream::copy)]).collect();
    copies
}

/// "Encodes" by copying to the message, "decodes" by copying from it.
struct Copy {
    copy: fn(&mut [u8], &[u8]),
}

impl Coder for Copy {
    fn bound(&self, _dtype: Dtype, bytes: usize) -> usize {
        bytes
    }

    fn encode(&mut self, _dtype: Dtype, raw: &[u8], out: &mut [u8]) -> Result<usize> {
        (self.copy)(&mut out[..raw.len()], raw);
        Ok(raw.len())
    }

    fn decode(&mut self, message: &[u8], out: &mut [u8]) -> Result<()> {
        (self.copy)(out, message);
        Ok(())
    }
}
