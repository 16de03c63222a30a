//! What each encoder makes of the values of a tensor, and how fast.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use huffwire::Error;
use huffwire::gradient::encode::{Auto, EncoderKind, Sizes, ValueEncoder};
use huffwire::gradient::item::BLOCK;
use huffwire::gradient::quantize::Quantized;
use huffwire::gradient::{ValueBuf, Values, ValuesMut};

/// Each direction of an encoder is called again until so much time has passed.
const SHORTEST: Duration = Duration::from_millis(2);

/// An encoder at work on the values of a tensor.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) kind: EncoderKind,
    pub(super) sizes: Sizes,
    /// For `auto`, which encoder it chose.
    pub(super) chosen: &'static str,
    /// Seconds of the median call.
    pub(super) encode_seconds: f64,
    pub(super) decode_seconds: f64,
}

/// An encoder that cannot serve, and why.
pub(super) type LeftOut = (EncoderKind, String);

/// Measures every encoder. Each stream is decoded and compared.
pub(super) fn all(quantized: &Quantized) -> Result<(Vec<Measured>, Vec<LeftOut>)> {
    let (mut measured, mut left_out) = (Vec::new(), Vec::new());
    for kind in EncoderKind::all() {
        match measure(kind, quantized) {
            Ok(one) => measured.push(one),
            // Sampling encoders take no alphabet that is larger than their sample by far.
            Err(error) if matches!(error.downcast_ref(), Some(Error::InvalidOption(_))) => {
                left_out.push((kind, error.to_string()));
            }
            Err(error) => return Err(error.context(kind.name())),
        }
    }
    Ok((measured, left_out))
}

fn measure(kind: EncoderKind, quantized: &Quantized) -> Result<Measured> {
    let encoder = &*kind.encoder(quantized.quantizer.alphabet());
    let values = quantized.values.view();
    let mut streams = Streams::default();
    let sizes = streams.encode(encoder, values)?;
    ensure!(
        sizes.total == streams.bytes.len(),
        "the encoder returned a wrong size; this is a bug in huffwire"
    );
    let chosen = match kind {
        EncoderKind::Auto => streams.chosen()?,
        kind => kind.name(),
    };
    let mut restored = other_values(&quantized.values);
    streams.decode(encoder, &mut restored)?;
    if restored != quantized.values {
        bail!("decoding does not restore the quantized values; this is a bug in huffwire");
    }
    let encode_seconds = median_seconds(|| streams.encode(encoder, values).map(drop))?;
    let decode_seconds = median_seconds(|| streams.decode(encoder, &mut restored))?;
    black_box(&restored);
    Ok(Measured { kind, sizes, chosen, encode_seconds, decode_seconds })
}

/// The values of a tensor as a file has them: a stream for each block.
#[derive(Debug, Default)]
struct Streams {
    bytes: Vec<u8>,
    /// Where each stream ends.
    ends: Vec<usize>,
}

impl Streams {
    fn encode(
        &mut self,
        encoder: &dyn ValueEncoder,
        values: Values<'_>,
    ) -> huffwire::Result<Sizes> {
        self.bytes.clear();
        self.ends.clear();
        let mut all = Sizes::default();
        // An empty tensor has a stream here, which tells whether the encoder can serve.
        for from in (0..values.len().max(1)).step_by(BLOCK) {
            let sizes = encoder.encode(values.slice(from, from + BLOCK), &mut self.bytes)?;
            all.total += sizes.total;
            all.codebook += sizes.codebook;
            self.ends.push(self.bytes.len());
        }
        Ok(all)
    }

    fn each(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(&start, &end)| &self.bytes[start..end])
    }

    fn decode(&self, encoder: &dyn ValueEncoder, values: &mut ValueBuf) -> huffwire::Result<()> {
        match values {
            ValueBuf::I8(values) => {
                let mut rooms = values.chunks_mut(BLOCK).map(ValuesMut::I8);
                self.each().zip(&mut rooms).try_for_each(|(s, room)| encoder.decode(s, room))
            }
            ValueBuf::I32(values) => {
                let mut rooms = values.chunks_mut(BLOCK).map(ValuesMut::I32);
                self.each().zip(&mut rooms).try_for_each(|(s, room)| encoder.decode(s, room))
            }
        }
    }

    /// The encoder that `auto` chose, if it was the same for all streams.
    fn chosen(&self) -> huffwire::Result<&'static str> {
        let names = self.each().map(Auto::chosen).collect::<huffwire::Result<Vec<_>>>()?;
        match &names[..] {
            [] => Ok(EncoderKind::Auto.name()),
            [first, others @ ..] if others.iter().all(|name| name == first) => Ok(first),
            _ => Ok("several"),
        }
    }
}

/// Room for as many values, none of them as it should be.
fn other_values(values: &ValueBuf) -> ValueBuf {
    match values {
        ValueBuf::I8(values) => ValueBuf::I8(values.iter().map(|value| !value).collect()),
        ValueBuf::I32(values) => ValueBuf::I32(values.iter().map(|value| !value).collect()),
    }
}

fn median_seconds(mut work: impl FnMut() -> huffwire::Result<()>) -> Result<f64> {
    let mut seconds = Vec::new();
    let started = Instant::now();
    loop {
        let call = Instant::now();
        work()?;
        seconds.push(call.elapsed().as_secs_f64());
        if started.elapsed() >= SHORTEST {
            break;
        }
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}
