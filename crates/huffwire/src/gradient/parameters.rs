//! Quantizers and their parameters as bytes. See `docs/format.md`, "Quantizers".

use super::quantize::{
    Keep, Linear, Natural, Norm, Qsgd, Quantizer, Sign, SignScale, Sparsify, TernGrad, WHOLE,
};
use crate::error::Result;
use crate::wire::{Reader, put_varint};

const QSGD: u8 = 1;
const TERNGRAD: u8 = 2;
const NATURAL: u8 = 3;
const SIGN: u8 = 4;
const TOP: u8 = 5;
const RANDOM: u8 = 6;
const LINEAR: u8 = 7;

/// Appends a quantizer with its parameters.
pub(super) fn write(quantizer: &Quantizer, out: &mut Vec<u8>) {
    match quantizer {
        Quantizer::Qsgd(Qsgd { levels, bucket, norm }) => {
            out.push(QSGD);
            put_varint(out, (*levels).into());
            out.push(match norm {
                Norm::L2 => 0,
                Norm::Max => 1,
            });
            put_bucket(out, *bucket);
        }
        Quantizer::TernGrad(TernGrad { clip, bucket }) => {
            out.push(TERNGRAD);
            out.extend_from_slice(&clip.unwrap_or(0.0).to_le_bytes());
            put_bucket(out, *bucket);
        }
        Quantizer::Natural(Natural) => out.push(NATURAL),
        Quantizer::Sign(Sign { scale, bucket }) => {
            out.push(SIGN);
            out.push(match scale {
                SignScale::One => 0,
                SignScale::Mean => 1,
                SignScale::Means => 2,
            });
            put_bucket(out, *bucket);
        }
        Quantizer::Sparsify(Sparsify { keep, share }) => {
            out.push(match keep {
                Keep::Top => TOP,
                Keep::Random => RANDOM,
            });
            out.extend_from_slice(&share.to_le_bytes());
        }
        Quantizer::Linear(Linear { bucket }) => {
            out.push(LINEAR);
            put_bucket(out, *bucket);
        }
    }
}

/// Reads what [`write()`] wrote, and checks the parameters.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Quantizer> {
    let start = reader.clone();
    let quantizer = match reader.u8()? {
        QSGD => {
            let levels = u32::try_from(reader.varint()?).unwrap_or(u32::MAX);
            let norm = match reader.u8()? {
                0 => Norm::L2,
                1 => Norm::Max,
                _ => return Err(start.malformed("a norm of QSGD that this version does not know")),
            };
            Quantizer::Qsgd(Qsgd { levels, bucket: read_bucket(reader)?, norm })
        }
        TERNGRAD => {
            let clip = f32::from_le_bytes(reader.array()?);
            let clip = (clip.to_bits() != 0).then_some(clip);
            Quantizer::TernGrad(TernGrad { clip, bucket: read_bucket(reader)? })
        }
        NATURAL => Quantizer::Natural(Natural),
        SIGN => {
            let scale = match reader.u8()? {
                0 => SignScale::One,
                1 => SignScale::Mean,
                2 => SignScale::Means,
                _ => {
                    return Err(start.malformed("a scale of signs that this version does not know"));
                }
            };
            Quantizer::Sign(Sign { scale, bucket: read_bucket(reader)? })
        }
        number @ (TOP | RANDOM) => {
            let keep = if number == TOP { Keep::Top } else { Keep::Random };
            Quantizer::Sparsify(Sparsify { keep, share: f64::from_le_bytes(reader.array()?) })
        }
        LINEAR => Quantizer::Linear(Linear { bucket: read_bucket(reader)? }),
        number => {
            let detail = format!("quantizer {number}, which this version does not know");
            return Err(start.malformed(detail));
        }
    };
    quantizer.check().map_err(|error| start.malformed(error.to_string()))?;
    Ok(quantizer)
}

/// Writes a bucket; 0 stands for a whole tensor.
fn put_bucket(out: &mut Vec<u8>, bucket: usize) {
    put_varint(out, if bucket == WHOLE { 0 } else { bucket as u64 });
}

fn read_bucket(reader: &mut Reader<'_>) -> Result<usize> {
    match reader.size()? {
        0 => Ok(WHOLE),
        WHOLE => Err(reader.malformed("a bucket larger than any tensor; 0 stands for a whole one")),
        bucket => Ok(bucket),
    }
}
