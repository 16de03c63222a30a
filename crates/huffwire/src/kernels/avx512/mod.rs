//! AVX-512 with VBMI2: vectors of 64 bytes, and masks.
#![allow(unsafe_code)]

mod bytes;
mod deltas;
mod interleave;
mod isa;
mod lanes;
#[cfg(feature = "gradient")]
mod layers;
mod pack;
mod sums;

pub use isa::Avx512;

use super::Kernels;
use super::deltas::{
    AT_ONCE, Chances, Falling, GroupTicks, InGroup, LINE, Spots, Ticks, TicksOf, Words,
};
use super::lanes::{CARRIED_BYTES, Join, Reading, SlotMap};
#[cfg(feature = "gradient")]
use super::layers::{Items, ItemsMut};
use super::sums::{AT_ONCE as TABLES, Row};
use super::tables::Tables;
use crate::alphabet::CodeLimit;
use crate::error::Result;

impl Kernels for Avx512 {
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

    fn fuses(self, limit: CodeLimit, _: Join) -> bool {
        limit == CodeLimit::Bits8
    }

    #[inline(always)]
    fn run<R>(self, function: impl FnOnce() -> R) -> R {
        self.compiled(function)
    }

    fn histogram(self, bytes: &[u8]) -> [u32; 256] {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { bytes::histogram(bytes) }
    }

    fn select(self, chosen: &[bool; 256], keys: &[u8], values: &[u8], out: &mut Vec<u8>) {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { bytes::select(chosen, keys, values, out) }
    }

    fn compact(self, keys: &[u8], values: &mut Vec<u8>) {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { bytes::compact(keys, values) }
    }

    fn expand(self, key: u8, other: bool, keys: &[u8], values: &[u8], out: &mut [u8]) -> usize {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { bytes::expand(key, other, keys, values, out) }
    }

    fn replace(self, key: u8, values: &[u8], bytes: &mut [u8]) -> usize {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { bytes::replace(key, values, bytes) }
    }

    fn weighted_sums(self, weights: &[i16], rows: &[Row], sums: &mut [i32; TABLES]) {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { sums::weighted(weights, rows, sums) }
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

    #[inline(always)]
    fn differing<const B: usize>(self, base: &[u8; LINE], new: &[u8; LINE]) -> u64 {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { deltas::differing::<B>(base, new) }
    }

    fn set_clock(
        self,
        words: Words<'_>,
        classes: &mut [u8],
        ticks: &Ticks,
        of_words: Option<TicksOf<'_>>,
        sums: &mut [u32],
    ) {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { deltas::set_clock(words, classes, ticks, of_words, sums) }
    }

    fn time_changes(
        self,
        spots: Spots<'_>,
        ticks: &Ticks,
        falling: (&Falling, u32),
        last: u32,
        out: &mut [Chances],
    ) -> bool {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { deltas::time_changes(spots, ticks, falling, last, out) }
    }

    #[inline(always)]
    fn passed(self, ends: &[u32; AT_ONCE], time: u32) -> usize {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { deltas::passed(ends, time) }
    }

    #[inline(always)]
    fn find_in_group(self, ticks: GroupTicks, time: u32) -> InGroup {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { deltas::find_in_group(ticks, time) }
    }

    fn fetches(self) -> bool {
        true
    }

    #[inline(always)]
    fn fetch(self, bytes: &[u8]) {
        isa::fetch_all(bytes);
    }

    #[cfg(feature = "gradient")]
    fn compress_layer(self, items: Items<'_>, masks: &mut [u8], values: &mut [u8]) -> usize {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { layers::compress(items, masks, values) }
    }

    #[cfg(feature = "gradient")]
    fn expand_layer(self, masks: &[u8], values: &[u8], items: ItemsMut<'_>) {
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { layers::expand(masks, values, items) }
    }
}
