//! The lane coders: of 8-bit codes and of 12-bit codes.

mod bits12;
mod bits8;

use core::arch::x86_64::*;

use super::Avx512;
use super::isa::{load, store};
use crate::error::Result;
use crate::kernels::lanes::{ByLimit, CARRIED_BYTES, Escapes, Reading, SlotMap};
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

/// Puts the symbols that `keep` marks in front of the escapes there are.
///
/// They go to the end of a vector that is stored whole. A store with a mask would do without the permutation, and was
/// slower: `docs/performance.md` has the figures.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn put_in_front(escapes: &mut Escapes, keep: __mmask64, symbols: __m512i) {
    let count = keep.count_ones();
    let places = load(&std::array::from_fn(|i| i as u8));
    // Of an index the instruction takes 6 bits.
    let order = _mm512_add_epi8(places, _mm512_set1_epi8(count as i8));
    let vector = _mm512_permutexvar_epi8(order, _mm512_maskz_compress_epi8(keep, symbols));
    if let Some(room) = escapes.front_vector(count as usize) {
        store(room, vector);
    }
}
