//! zstd at two of its levels, and the part of it that is closest to huffwire.

use ::huffwire::Dtype;
use ::zstd::bulk::{Compressor, Decompressor};
use ::zstd::zstd_safe::{self, CParameter, ParamSwitch};
use anyhow::Result;

use super::super::candidate::{Candidate, Coder, Label};

/// The level at which zstd looks for matches at every 131072nd byte or so, that is, about once a block: it
/// finds next to none, and what remains is its entropy coder.
const NO_MATCHES: i32 = -131_072;

/// zstd 1, zstd 3, and zstd as a Huffman coder.
///
/// huff0 has no interface of its own in the library. zstd turns it off at negative levels, so it is
/// forced on; frames, block headers and a Huffman table for each block of 128 KiB are part of it.
pub(super) fn candidates(checksums: bool) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for (codec, level) in [("zstd", 1), ("zstd", 3), ("zstd-huffman", NO_MATCHES)] {
        let mut encoder = Compressor::new(level)?;
        encoder.set_parameter(CParameter::ChecksumFlag(checksums))?;
        if level == NO_MATCHES {
            encoder.set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))?;
        }
        let label = Label {
            codec,
            level: (level > 0).then(|| level.to_string()),
            threads: 1,
            checksums,
            ..Label::default()
        };
        candidates.push(Candidate::new(label, Zstd { encoder, decoder: Decompressor::new()? }));
    }
    Ok(candidates)
}

struct Zstd {
    encoder: Compressor<'static>,
    decoder: Decompressor<'static>,
}

impl Coder for Zstd {
    fn bound(&self, _dtype: Dtype, bytes: usize) -> usize {
        zstd_safe::compress_bound(bytes)
    }

    fn encode(&mut self, _dtype: Dtype, raw: &[u8], out: &mut [u8]) -> Result<usize> {
        Ok(self.encoder.compress_to_buffer(raw, out)?)
    }

    fn decode(&mut self, message: &[u8], out: &mut [u8]) -> Result<()> {
        self.decoder.decompress_to_buffer(message, out)?;
        Ok(())
    }
}
