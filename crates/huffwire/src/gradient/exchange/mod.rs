//! Pieces of quantized gradients for links whose two ends agreed on the quantizer and on the sizes beforehand, as the
//! ranks of a training do. Quantizing with error feedback and coding are one call, and so are decoding and adding up.
//!
//! A piece is a byte with the number of the codebooks, the scales as f32, and a stream of a
//! [`Bitmap`] with fixed codebooks. Nothing else is sent. There is no checksum: who sends pieces adds
//! one.
//!
//! The codebooks are built in. For each quantizer there are some, made from formulas for shares of zeros that differ; the
//! sender takes those whose share is nearest to that of a sample of the piece. [`ExchangeCodec::id`] is a hash of all of
//! them: two ends with the same id understand each other.
//!
//! A gradient that is not finite is no error here, because the other end must hear of it: the scales of its bucket are NaN,
//! and the receiver restores NaN for the whole bucket. The kept error of that bucket stays as it was.
//!
//! ```
//! use huffwire::gradient::exchange::{ExchangeCodec, Piece, Restored};
//! use huffwire::gradient::quantize::{Norm, Qsgd, Quantizer};
//!
//! let quantizer = Quantizer::Qsgd(Qsgd { levels: 4, bucket: 512, norm: Norm::Max });
//! let mut codec = ExchangeCodec::new(quantizer)?;
//! let gradient: Vec<f32> = (0..100_000).map(|i| (i as f32 * 0.37).sin().powi(9)).collect();
//! let mut error = vec![0.0; gradient.len()];
//!
//! let mut bytes = vec![0; codec.bound(gradient.len())];
//! let piece = Piece::new(&gradient).seed(1).error(&mut error, 1.0);
//! let sent = codec.encode(piece, None, &mut bytes)?;
//! assert!(sent.bytes < gradient.len() * 3 / 8);
//!
//! let mut sum = vec![0.0; gradient.len()];
//! codec.decode(&bytes[..sent.bytes], Restored::Add(&mut sum))?;
//! let left = gradient.iter().zip(&sum).map(|(gradient, sent)| gradient - sent);
//! assert!(left.eq(error));
//! # Ok::<(), huffwire::Error>(())
//! ```

mod books;

use std::sync::Arc;

use self::books::Family;
use super::encode::{Bitmap, ValueEncoder};
use super::header::BLOCK;
use super::quantize::parts::{Part, Scratch};
use super::quantize::{Quantizer, without_buckets};
use crate::error::{Error, Result};
use crate::ids::SetId;

pub use super::quantize::parts::Restored;

/// The least and the most elements of a bucket. A bucket is a multiple of the least.
pub const BUCKETS: (usize, usize) = (16, 1 << 16);

/// The most elements of a piece.
pub const MOST_ELEMENTS: usize = BLOCK;

/// A part of a gradient that is quantized, with all that belongs to it.
#[derive(Debug)]
pub struct Piece<'a>(Part<'a>);

impl<'a> Piece<'a> {
    /// A piece of these floats, without error feedback, at the beginning of a gradient, with seed 0.
    #[must_use]
    pub const fn new(floats: &'a [f32]) -> Self {
        Self(Part { floats, error: None, seed: 0, first: 0 })
    }

    /// The piece with error feedback: `decay` times the error is added to the floats, and what the restored floats lack of
    /// that sum takes the error's place.
    #[must_use]
    pub fn error(mut self, error: &'a mut [f32], decay: f32) -> Self {
        self.0.error = Some((error, decay));
        self
    }

    /// The piece with the seed of the random numbers of stochastic rounding, which is that of the whole gradient.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }

    /// The piece that begins with this element of the gradient, which must be a multiple of the bucket. So a gradient is
    /// rounded alike, whatever pieces it is cut into.
    #[must_use]
    pub const fn first(mut self, first: u64) -> Self {
        self.0.first = first;
        self
    }
}

/// What was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Bytes of the piece.
    pub bytes: usize,
    /// How many buckets have a float or a norm that is not finite.
    pub not_finite: usize,
}

/// Quantizes and codes pieces, and restores them. It keeps its memory for the next call.
#[derive(Debug)]
pub struct ExchangeCodec {
    quantizer: Quantizer,
    bucket: usize,
    per_bucket: usize,
    family: Arc<Family>,
    bitmaps: Vec<Bitmap>,
    scratch: Scratch,
    values: Vec<i8>,
    scales: Vec<f32>,
    stream: Vec<u8>,
}

impl ExchangeCodec {
    /// A codec for a quantizer: QSGD with up to 127 levels, TernGrad, signs or linear int8.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for other quantizers, and for a bucket that is no multiple of 16 up to 65536.
    pub fn new(quantizer: Quantizer) -> Result<Self> {
        quantizer.check()?;
        let Some((bucket, per_bucket)) = quantizer.buckets() else {
            return Err(without_buckets(&quantizer));
        };
        let (least, most) = BUCKETS;
        if !(least..=most).contains(&bucket) || !bucket.is_multiple_of(least) {
            return Err(Error::option(format!(
                "bucket={bucket}: pieces take a multiple of {least} up to {most}"
            )));
        }
        if quantizer.alphabet().1 > 127 {
            let levels = quantizer.alphabet().1;
            return Err(Error::option(format!("levels={levels}: pieces take 1 to 127")));
        }
        let family = Family::of(&quantizer)?;
        let bitmap = |member: &books::Member| Bitmap::with_books(Arc::clone(&member.books));
        let bitmaps = family.members.iter().map(bitmap).collect();
        let (values, scales, stream) = (Vec::new(), Vec::new(), Vec::new());
        let scratch = Scratch::default();
        Ok(Self { quantizer, bucket, per_bucket, family, bitmaps, scratch, values, scales, stream })
    }

    /// The quantizer.
    #[must_use]
    pub const fn quantizer(&self) -> &Quantizer {
        &self.quantizer
    }

    /// A hash of the quantizer and all codebooks: the same on two ends that understand each other.
    #[must_use]
    pub fn id(&self) -> SetId {
        self.family.id
    }

    /// The most bytes of a piece of so many elements.
    #[must_use]
    pub const fn bound(&self, elements: usize) -> usize {
        // At worst planes are stored as they are: a byte for each value, less than a fifth of one for all layers above.
        let scales = elements.div_ceil(self.bucket) * self.per_bucket;
        1 + scales * size_of::<f32>() + elements + elements / 4 + 2048
    }

    /// Quantizes a piece, and writes its bytes to the start of `out`. What the receiver will restore is restored here,
    /// too, if there is a place for it.
    ///
    /// # Errors
    /// [`Error::OutputTooSmall`] if there is less room than [`bound`](Self::bound) tells, [`Error::InvalidOption`] for an
    /// error or a place of another size and for more than [`MOST_ELEMENTS`] floats. Nothing has been changed then.
    pub fn encode(
        &mut self,
        piece: Piece<'_>,
        restored: Option<Restored<'_>>,
        out: &mut [u8],
    ) -> Result<Sent> {
        let (needed, available) = (self.bound(piece.0.floats.len()), out.len());
        if needed > available {
            return Err(Error::OutputTooSmall { needed, available });
        }
        let not_finite = self.quantize(piece, restored)?;
        to_coded(&self.quantizer, &mut self.values);
        let number = self.family.choose(zeros(&self.values));
        self.stream.clear();
        self.bitmaps[number].encode(self.values[..].into(), &mut self.stream)?;
        let of_scales = 1 + self.scales.len() * size_of::<f32>();
        let bytes = of_scales + self.stream.len();
        if bytes > available {
            return Err(Error::OutputTooSmall { needed: bytes, available });
        }
        out[0] = number as u8;
        let places = out[1..of_scales].as_chunks_mut().0.iter_mut();
        places.zip(&self.scales).for_each(|(place, scale)| *place = scale.to_le_bytes());
        out[of_scales..bytes].copy_from_slice(&self.stream);
        Ok(Sent { bytes, not_finite })
    }

    /// Quantizes a piece and restores it at once, as if it were sent and received. Returns how many buckets are not finite.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] as for [`encode`](Self::encode), and for another number of restored floats.
    pub fn keep(&mut self, piece: Piece<'_>, restored: Restored<'_>) -> Result<usize> {
        self.quantize(piece, Some(restored))
    }

    fn quantize(&mut self, piece: Piece<'_>, restored: Option<Restored<'_>>) -> Result<usize> {
        let part = piece.0;
        let count = part.floats.len();
        check_count(count)?;
        if let Some((error, _)) = &part.error {
            same_length(count, error.len(), "floats of kept error")?;
        }
        if let Some(restored) = &restored {
            same_length(count, restored.len(), "floats to restore")?;
        }
        if !part.first.is_multiple_of(self.bucket as u64) {
            return Err(Error::option("a piece that begins within a bucket"));
        }
        self.values.resize(count, 0);
        let out = (&mut self.values[..], &mut self.scales);
        self.quantizer.quantize_part(part, &mut self.scratch, out, restored)
    }

    /// Decodes a piece, and restores its floats, as many as there is room for.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Malformed`] or [`Error::UnknownCodebook`] for bytes that are no piece of so many floats.
    /// What the floats hold is undefined then.
    pub fn decode(&mut self, bytes: &[u8], restored: Restored<'_>) -> Result<()> {
        let count = restored.len();
        check_count(count)?;
        let of_scales = count.div_ceil(self.bucket) * self.per_bucket * size_of::<f32>();
        let available = bytes.len();
        let Some((number, rest)) = bytes.split_first().filter(|(_, rest)| rest.len() >= of_scales)
        else {
            return Err(Error::Truncated {
                what: WHAT,
                offset: 0,
                needed: 1 + of_scales,
                available,
            });
        };
        let Some(bitmap) = self.bitmaps.get(usize::from(*number)) else {
            return Err(Error::malformed(
                WHAT,
                0,
                format!("codebooks {number}, of which none are"),
            ));
        };
        let (scales, stream) = rest.split_at(of_scales);
        self.values.resize(count, 0);
        bitmap.decode(stream, (&mut self.values[..]).into())?;
        from_coded(&self.quantizer, &mut self.values)?;
        self.scales.clear();
        let scales = scales.as_chunks().0.iter();
        self.scales.extend(scales.map(|scale| f32::from_le_bytes(*scale)));
        let (values, scales) = (&self.values, &self.scales);
        self.quantizer.restore_part(values, scales, &mut self.scratch, restored)
    }
}

const WHAT: &str = "a piece of a quantized gradient";

fn check_count(elements: usize) -> Result<()> {
    if elements <= MOST_ELEMENTS {
        return Ok(());
    }
    Err(Error::option(format!("a piece of {elements} elements: at most {MOST_ELEMENTS}")))
}

fn same_length(elements: usize, found: usize, what: &str) -> Result<()> {
    if elements == found {
        return Ok(());
    }
    Err(Error::option(format!("{found} {what} for a piece of {elements}")))
}

/// Signs are coded as 0 and -1, so that they take a bit each.
fn to_coded(quantizer: &Quantizer, values: &mut [i8]) {
    if matches!(quantizer, Quantizer::Sign(_)) {
        values.iter_mut().for_each(|value| *value >>= 1);
    }
}

fn from_coded(quantizer: &Quantizer, values: &mut [i8]) -> Result<()> {
    if !matches!(quantizer, Quantizer::Sign(_)) {
        return Ok(());
    }
    if values.iter().fold(false, |any, value| any | !matches!(value, -1 | 0)) {
        return Err(Error::malformed(WHAT, 0, "signs that are neither"));
    }
    values.iter_mut().for_each(|value| *value = *value * 2 + 1);
    Ok(())
}

/// The share of zeros in a sample of values: 16 runs of 256.
fn zeros(values: &[i8]) -> f64 {
    let step = (values.len() / 16).max(256);
    let (mut zeros, mut count) = (0, 0);
    for run in values.chunks(step) {
        let run = &run[..run.len().min(256)];
        zeros += run.iter().filter(|value| **value == 0).count();
        count += run.len();
    }
    zeros as f64 / count.max(1) as f64
}

#[cfg(test)]
mod tests;
