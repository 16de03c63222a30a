//! Kernels: the loops that take the time, once for each instruction set. They know no codebook and no element type, and
//! all `unsafe` code of the crate is here.
//!
//! # Where to find what
//!
//! * [`platform`] asks the processor what it has, and is the one place that knows all instruction sets.
//! * [`lanes`] has the lane coder: what it does and why that is right, and the types that its callers use.
//! * [`tables`] are the arrays that coders look codes up in.
//! * [`bytes`], [`pack`], [`interleave`] and [`layers`] are loops over bytes, [`sums`] has weighted sums, [`quantize`] has loops over floats,
//!   [`deltas`] has those of deltas.
//! * A folder for each instruction set has files of these same names, and `isa`: the proof that the processor has the
//!   instructions, and the moves between memory and vectors.
//!
//! [`portable`] is safe Rust and defines every kernel. All others write the same bytes, accept the same
//! input, and report the same errors: the tests of each kernel run over [`Platform::available`](platform::Platform).
//!
//! # A new instruction set
//!
//! A folder with a type whose value is the proof and which implements [`Kernels`], and a row in [`platform`]. All kernels
//! have portable defaults, so the folder can begin with the one that matters most.
//!
//! # How unsafe code is kept small
//!
//! * A function with `#[target_feature]` is safe to call from functions with the same features. The implementation of
//!   [`Kernels`] calls from outside, and has the proof in its hands.
//! * Vectors are loaded and stored through references to arrays, in `isa`.
//! * A `Fence` orders stores past the caches when it is dropped, on every way out.
//!
//! # Names
//!
//! A function whose name ends in `_steps` is a loop that takes time: `cargo xtask kernels` reads the assembly of each of
//! them, in which everything has to be inlined.

pub(crate) mod bytes;
pub(crate) mod deltas;
pub(crate) mod interleave;
pub(crate) mod lanes;
#[cfg(feature = "gradient")]
pub(crate) mod layers;
pub(crate) mod pack;
pub(crate) mod platform;
#[cfg(feature = "gradient")]
pub(crate) mod quantize;
pub(crate) mod sums;
pub(crate) mod tables;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod patterns;
mod portable;

#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) use avx2::isa::FENCES;

use std::fmt::Debug;

use self::lanes::{CARRIED_BYTES, DecodeLanes, EncodeLanes, Join, Reading, SlotMap};
use self::platform::on;
use self::tables::Tables;
use crate::alphabet::CodeLimit;
use crate::error::Result;

/// What an instruction set does in its own way. A value is the proof that the processor has the instructions.
///
/// All methods but those that make coders have defaults, which are the portable kernels. Each one does what the function
/// of the same name says in [`bytes`], [`deltas`], [`pack`], [`interleave`], [`layers`], [`quantize`] and [`lanes`].
pub(crate) trait Kernels: Copy + Debug {
    type Encoder<'t>: EncodeLanes + Debug;
    type Decoder<'t>: DecodeLanes + Debug;

    /// Lanes that carry some bytes; see [`lanes::Encoder::new`].
    fn encoder<'t>(
        self,
        tables: &'t Tables,
        map: SlotMap,
        carried: &[u8; CARRIED_BYTES],
        keep_escapes: bool,
    ) -> Self::Encoder<'t>;

    /// Lanes as an encoder left them; see [`lanes::Decoder::new`]. The states have the right size.
    fn decoder<'t>(
        self,
        tables: &'t Tables,
        reading: Reading<'_>,
        states: &[u8],
        stream: &'t [u8],
    ) -> Result<Self::Decoder<'t>>;

    fn fuses(self, _: CodeLimit, _: Join) -> bool {
        false
    }

    /// Runs a function as compiled for these instructions; see [`platform::Platform::run`].
    #[inline(always)]
    fn run<R>(self, function: impl FnOnce() -> R) -> R {
        function()
    }

    fn histogram(self, bytes: &[u8]) -> [u32; 256] {
        portable::bytes::histogram(bytes)
    }

    fn select(self, chosen: &[bool; 256], keys: &[u8], values: &[u8], out: &mut Vec<u8>) {
        portable::bytes::select(chosen, keys, values, out);
    }

    fn compact(self, keys: &[u8], values: &mut Vec<u8>) {
        portable::bytes::compact(keys, values);
    }

    fn expand(self, key: u8, other: bool, keys: &[u8], values: &[u8], out: &mut [u8]) -> usize {
        portable::bytes::expand(key, other, keys, values, out)
    }

    fn replace(self, key: u8, values: &[u8], bytes: &mut [u8]) -> usize {
        portable::bytes::replace(key, values, bytes)
    }

    fn weighted_sums(self, weights: &[i16], rows: &[sums::Row], sums: &mut [i32; sums::AT_ONCE]) {
        self.run(
            #[inline(always)]
            || portable::sums::weighted(weights, rows, sums),
        );
    }

    /// Whole groups of eight symbols, of 1 to 7 bits.
    fn pack(self, width: u8, symbols: &[u8], out: &mut [u8]) {
        portable::pack::pack(width, symbols, out);
    }

    /// Whole groups of eight symbols, of 1 to 7 bits.
    fn unpack(self, width: u8, packed: &[u8], symbols: &mut [u8]) {
        portable::pack::unpack(width, packed, symbols);
    }

    /// Whole groups.
    fn split16(self, words: &[u8], low: &mut [u8], high: &mut [u8]) {
        self.run(|| portable::interleave::split16(words, low, high));
    }

    /// Whole groups.
    fn merge16(self, low: &[u8], high: &[u8], words: &mut [u8]) {
        self.run(|| portable::interleave::merge16(low, high, words));
    }

    /// Whole groups.
    fn split32(self, words: &[u8], bytes: [&mut [u8]; 4]) {
        self.run(|| portable::interleave::split32(words, bytes));
    }

    /// Whole groups.
    fn merge32(self, bytes: [&[u8]; 4], words: &mut [u8]) {
        self.run(|| portable::interleave::merge32(bytes, words));
    }

    /// A bit for each word of `B` bytes in which two lines differ. To be called within [`Kernels::run`].
    #[inline(always)]
    fn differing<const B: usize>(self, base: &[u8; deltas::LINE], new: &[u8; deltas::LINE]) -> u64 {
        portable::deltas::differing::<B>(base, new)
    }

    fn classify(self, words: deltas::Words<'_>, classes: &mut [u8]) {
        self.run(
            #[inline(always)]
            || portable::deltas::classify(words, classes),
        );
    }

    fn set_clock(
        self,
        words: deltas::Words<'_>,
        classes: &mut [u8],
        ticks: &deltas::Ticks,
        of_words: Option<deltas::TicksOf<'_>>,
        sums: &mut [u32],
    ) {
        self.classify(words, classes);
        self.sum_ticks(classes, ticks, of_words, sums);
    }

    /// What [`Kernels::set_clock`] does once the classes are set.
    fn sum_ticks(
        self,
        classes: &[u8],
        ticks: &deltas::Ticks,
        of_words: Option<deltas::TicksOf<'_>>,
        sums: &mut [u32],
    ) {
        self.run(|| portable::deltas::sum_ticks(classes, ticks, of_words, sums));
    }

    fn time_changes(
        self,
        spots: deltas::Spots<'_>,
        ticks: &deltas::Ticks,
        falling: (&deltas::Falling, u32),
        last: u32,
        out: &mut [deltas::Chances],
    ) -> bool {
        self.run(|| portable::deltas::time_changes(spots, ticks, falling, last, out))
    }

    /// How many of these times, which ascend, are not after a time. To be called within [`Kernels::run`].
    #[inline(always)]
    fn passed(self, ends: &[u32; deltas::AT_ONCE], time: u32) -> usize {
        portable::deltas::passed(ends, time)
    }

    /// The word of a group at a time, which is before the end of the group. To be called within [`Kernels::run`].
    #[inline(always)]
    fn find_in_group(self, ticks: deltas::GroupTicks, time: u32) -> deltas::InGroup {
        portable::deltas::find_in_group(ticks, time)
    }

    /// Whether [`Kernels::fetch`] does something.
    fn fetches(self) -> bool {
        false
    }

    /// Fetches the lines of these bytes into the L1 cache, where it can.
    #[inline(always)]
    fn fetch(self, _: &[u8]) {}

    #[cfg(feature = "gradient")]
    fn compress_layer(
        self,
        items: layers::Items<'_>,
        masks: &mut [u8],
        values: &mut [u8],
    ) -> usize {
        self.run(|| portable::layers::compress(items, masks, values))
    }

    #[cfg(feature = "gradient")]
    fn expand_layer(self, masks: &[u8], values: &[u8], items: layers::ItemsMut<'_>) {
        self.run(|| portable::layers::expand(masks, values, items));
    }

    #[cfg(feature = "gradient")]
    fn noise(self, seed: u64, first: u64, words: &mut [u64]) {
        self.run(|| portable::quantize::noise(seed, first, words));
    }

    #[cfg(feature = "gradient")]
    fn compensate(self, gradient: &[f32], kept: &[f32], decay: f32, sums: &mut [f32]) {
        self.run(|| portable::quantize::compensate(gradient, kept, decay, sums));
    }

    #[cfg(feature = "gradient")]
    fn subtract(self, floats: &[f32], sent: &[f32], kept: &mut [f32]) {
        self.run(|| portable::quantize::subtract(floats, sent, kept));
    }

    #[cfg(feature = "gradient")]
    fn largest(self, floats: &[f32]) -> u32 {
        self.run(|| portable::quantize::largest(floats))
    }

    #[cfg(feature = "gradient")]
    fn add_moments(self, floats: &[f32], pivot: f32, moments: &mut quantize::Moments) {
        self.run(|| portable::quantize::add_moments(floats, pivot, moments));
    }

    #[cfg(feature = "gradient")]
    fn add_magnitudes(self, floats: &[f32], sums: &mut quantize::Sums) {
        self.run(|| portable::quantize::add_magnitudes(floats, sums));
    }

    #[cfg(feature = "gradient")]
    fn round<N: quantize::Number>(
        self,
        floats: &[f32],
        noise: &[u32],
        factor: f64,
        levels: u32,
        values: &mut [N],
    ) {
        self.run(|| portable::quantize::round(floats, noise, factor, levels, values));
    }

    #[cfg(feature = "gradient")]
    fn round_and_restore<N: quantize::Number>(
        self,
        floats: &[f32],
        noise: &[u32],
        scaling: (f64, u32, f64),
        values: &mut [N],
        sent: &mut [f32],
    ) {
        self.run(|| portable::quantize::round_and_restore(floats, noise, scaling, values, sent));
    }

    #[cfg(feature = "gradient")]
    fn nearest<N: quantize::Number>(self, floats: &[f32], factor: f64, values: &mut [N]) {
        self.run(|| portable::quantize::nearest(floats, factor, values));
    }

    #[cfg(feature = "gradient")]
    fn signs<N: quantize::Number>(self, floats: &[f32], values: &mut [N]) {
        self.run(|| portable::quantize::signs(floats, values));
    }

    #[cfg(feature = "gradient")]
    fn multiply<N: quantize::Number>(self, values: &[N], unit: f64, floats: &mut [f32]) {
        self.run(|| portable::quantize::multiply(values, unit, floats));
    }

    #[cfg(feature = "gradient")]
    fn choose<N: quantize::Number>(self, values: &[N], plus: f32, minus: f32, floats: &mut [f32]) {
        self.run(|| portable::quantize::choose(values, plus, minus, floats));
    }

    #[cfg(feature = "gradient")]
    fn within<N: quantize::Number>(self, values: &[N], highest: u32) -> bool {
        self.run(|| portable::quantize::within(values, highest))
    }
}
