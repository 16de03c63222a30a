//! What each encoder makes of the values of a tensor, and how fast.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use huffwire::Error;
use huffwire::gradient::encode::{Auto, EncoderKind, Sizes};
use huffwire::gradient::quantize::Quantized;
use huffwire::gradient::{ValueBuf, ValuesMut};

/// Each direction of an encoder is called again until so much time has passed.
const SHORTEST: Duration = Duration::from_millis(2);

/// An encoder at work on the values of a tensor.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) kind: EncoderKind,
    pub(super) sizes: Sizes,
    /// For `auto`, who did it.
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
    let encoder = kind.encoder(quantized.quantizer.alphabet());
    let values = quantized.values.view();
    let mut stream = Vec::new();
    let sizes = encoder.encode(values, &mut stream)?;
    ensure!(
        sizes.total == stream.len(),
        "the encoder returned a wrong size; this is a bug in huffwire"
    );
    let chosen = match kind {
        EncoderKind::Auto => Auto::chosen(&stream)?,
        kind => kind.name(),
    };
    let mut restored = other_values(&quantized.values);
    encoder.decode(&stream, room(&mut restored))?;
    if restored != quantized.values {
        bail!("decoding does not restore the quantized values; this is a bug in huffwire");
    }
    let encode_seconds = median_seconds(|| {
        stream.clear();
        encoder.encode(values, &mut stream).map(drop)
    })?;
    let decode_seconds = median_seconds(|| encoder.decode(&stream, room(&mut restored)))?;
    black_box(&restored);
    Ok(Measured { kind, sizes, chosen, encode_seconds, decode_seconds })
}

/// Room for as many values, none of them as it should be.
fn other_values(values: &ValueBuf) -> ValueBuf {
    match values {
        ValueBuf::I8(values) => ValueBuf::I8(values.iter().map(|value| !value).collect()),
        ValueBuf::I32(values) => ValueBuf::I32(values.iter().map(|value| !value).collect()),
    }
}

fn room(values: &mut ValueBuf) -> ValuesMut<'_> {
    match values {
        ValueBuf::I8(values) => ValuesMut::I8(values),
        ValueBuf::I32(values) => ValuesMut::I32(values),
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
