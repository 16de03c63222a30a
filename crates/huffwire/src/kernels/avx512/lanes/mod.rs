//! The lane coders: of 8-bit codes and of 12-bit codes.

mod bits12;
mod bits8;

use super::Avx512;
use crate::error::Result;
use crate::kernels::lanes::{ByLimit, CARRIED_BYTES, Reading, SlotMap};
use crate::kernels::tables::{Tables, Vectors};

pub(crate) type Encoder<'t> = ByLimit<bits8::Encoder<'t>, bits12::Encoder<'t>>;
pub(crate) type Decoder<'t> = ByLimit<bits8::Decoder<'t>, bits12::Decoder<'t>>;

pub(super) fn encoder<'t>(
    proof: Avx512,
    tables: &'t Tables,
    map: SlotMap,
    carried: &[u8; CARRIED_BYTES],
    keep_escapes: bool,
) -> Encoder<'t> {
    let slots = tables.slots;
    match &tables.vectors {
        Vectors::Bits8(codes) => {
            ByLimit::Bits8(bits8::Encoder::new(proof, codes, slots, map, carried, keep_escapes))
        }
        Vectors::Bits12(codes) => {
            ByLimit::Bits12(bits12::Encoder::new(proof, codes, slots, map, carried, keep_escapes))
        }
    }
}

pub(super) fn decoder<'t>(
    proof: Avx512,
    tables: &'t Tables,
    reading: Reading<'_>,
    states: &[u8],
    stream: &'t [u8],
) -> Result<Decoder<'t>> {
    Ok(match &tables.vectors {
        Vectors::Bits8(codes) => ByLimit::Bits8(bits8::Decoder::new(
            proof,
            codes,
            tables.slots,
            reading,
            states,
            stream,
        )?),
        Vectors::Bits12(codes) => {
            ByLimit::Bits12(bits12::Decoder::new(proof, codes, reading.base(), states, stream)?)
        }
    })
}
