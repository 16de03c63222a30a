//! Whatever can be measured: it makes messages and restores them.

use ::huffwire::Dtype;
use anyhow::Result;

use super::timing::Samples;

/// A way to code messages. All memory that it needs is kept from call to call.
pub(super) trait Coder {
    /// The size of the buffer that [`Coder::encode`] wants for so many bytes.
    fn bound(&self, dtype: Dtype, bytes: usize) -> usize;

    /// Makes a message of `raw`; returns its length.
    fn encode(&mut self, dtype: Dtype, raw: &[u8], out: &mut [u8]) -> Result<usize>;

    /// Restores what [`Coder::encode`] was given, into a buffer of exactly that size.
    fn decode(&mut self, message: &[u8], out: &mut [u8]) -> Result<()>;
}

/// A coder, how reports call it, and what was measured of it.
pub(super) struct Candidate {
    pub(super) label: Label,
    pub(super) coder: Box<dyn Coder>,
    pub(super) samples: Samples,
}

/// What tells a candidate from the others. `None` where there is nothing to choose.
#[derive(Debug, Default)]
pub(super) struct Label {
    pub(super) codec: &'static str,
    pub(super) symbols: Option<String>,
    pub(super) level: Option<String>,
    pub(super) platform: Option<&'static str>,
    pub(super) threads: u16,
    pub(super) checksums: bool,
}

impl Candidate {
    pub(super) fn new(label: Label, coder: impl Coder + 'static) -> Self {
        Self { label, coder: Box::new(coder), samples: Samples::default() }
    }
}
