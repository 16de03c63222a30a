//! The coder that all this is about, in every variant that the user asks for.

use std::sync::Arc;

use ::huffwire::{CodebookSet, Decoder, Dtype, EncodeOptions, Encoder, Platform, Threads};
use anyhow::{Context, Result};
use rayon::ThreadPoolBuilder;

use super::candidate::{Candidate, Coder, Label};

/// Threads that candidates share: only one candidate runs at a time.
pub(super) struct Crew {
    count: u16,
    threads: Threads,
}

/// Threads for each of these numbers. One is the calling thread, without any pool.
pub(super) fn crews(counts: &[u16]) -> Result<Vec<Crew>> {
    let crew = |&count: &u16| {
        if count == 1 {
            return Ok(Crew { count, threads: Threads::One });
        }
        let pool = ThreadPoolBuilder::new().num_threads(usize::from(count)).build();
        let pool = pool.context("the threads cannot be started; pass smaller --threads")?;
        Ok(Crew { count, threads: Threads::Pool(Arc::new(pool)) })
    };
    counts.iter().map(crew).collect()
}

/// The coder with these options; `names` are those of its symbols and its level.
pub(super) fn candidate(
    set: &Arc<CodebookSet>,
    options: EncodeOptions,
    platform: Platform,
    crew: &Crew,
    names: (String, String),
) -> Result<Candidate> {
    let (symbols, level) = names;
    let encoder = Encoder::new(Arc::clone(set), options)?;
    let coder = Huffwire {
        encoder: encoder.with_platform(platform).with_threads(crew.threads.clone()),
        decoder: Decoder::new(Arc::clone(set))
            .with_platform(platform)
            .with_threads(crew.threads.clone()),
    };
    let label = Label {
        codec: "huffwire",
        symbols: Some(symbols),
        level: Some(level),
        platform: Some(platform.name()),
        threads: crew.count,
        checksums: options.checksums,
    };
    Ok(Candidate::new(label, coder))
}

struct Huffwire {
    encoder: Encoder,
    decoder: Decoder,
}

impl Coder for Huffwire {
    fn bound(&self, dtype: Dtype, bytes: usize) -> usize {
        self.encoder.bound(dtype, bytes / dtype.unit_bytes())
    }

    fn encode(&mut self, dtype: Dtype, raw: &[u8], out: &mut [u8]) -> Result<usize> {
        Ok(self.encoder.encode(dtype, raw, out)?)
    }

    fn decode(&mut self, message: &[u8], out: &mut [u8]) -> Result<()> {
        self.decoder.decode(message, out)?;
        Ok(())
    }
}
