//! NEON: vectors of 16 bytes, and tables of 64 that one instruction reads.
#![allow(unsafe_code)]

mod interleave;
mod isa;
mod lanes;
mod pack;

pub use isa::Neon;

use super::Kernels;
use super::lanes::{CARRIED_BYTES, Reading, SlotMap};
use super::tables::Tables;
use crate::error::Result;

impl Kernels for Neon {
    type Encoder<'t> = lanes::Encoder<'t>;
    type Decoder<'t> = lanes::Decoder<'t>;

    fn encoder<'t>(
        self,
        tables: &'t Tables,
        map: SlotMap,
        carried: &[u8; CARRIED_BYTES],
        keep_escapes: bool,
    ) -> Self::Encoder<'t> {
        lanes::encoder(self, tables, map, carried, keep_escapes)
    }

    fn decoder<'t>(
        self,
        tables: &'t Tables,
        reading: Reading<'_>,
        states: &[u8],
        stream: &'t [u8],
    ) -> Result<Self::Decoder<'t>> {
        lanes::decoder(self, tables, reading, states, stream)
    }

    fn pack(self, width: u8, symbols: &[u8], out: &mut [u8]) {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { pack::pack(width, symbols, out) }
    }

    fn unpack(self, width: u8, packed: &[u8], symbols: &mut [u8]) {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { pack::unpack(width, packed, symbols) }
    }

    fn split16(self, words: &[u8], low: &mut [u8], high: &mut [u8]) {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { interleave::split16_steps(words, low, high) }
    }

    fn merge16(self, low: &[u8], high: &[u8], words: &mut [u8]) {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { interleave::merge16_steps(low, high, words) }
    }

    fn split32(self, words: &[u8], bytes: [&mut [u8]; 4]) {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { interleave::split32_steps(words, bytes) }
    }

    fn merge32(self, bytes: [&[u8]; 4], words: &mut [u8]) {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { interleave::merge32_steps(bytes, words) }
    }
}
