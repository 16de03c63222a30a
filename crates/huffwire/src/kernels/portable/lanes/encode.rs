//! Encoder of lanes in portable safe Rust.

use std::marker::PhantomData;

use super::{Bits8, Bits12, Word};
use crate::error::Result;
use crate::kernels::lanes::{
    ByLimit, CARRIED_BYTES, EncodeLanes, Escapes, FLOOR, LANES, SlotMap, no_room,
};
use crate::kernels::tables::{Tables, Vectors};

/// The encoder of a code.
pub(crate) type Encoder = ByLimit<LaneEncoder<Bits8>, LaneEncoder<Bits12>>;

pub(crate) fn encoder(
    tables: &Tables,
    map: SlotMap,
    carried: &[u8; CARRIED_BYTES],
    keep_escapes: bool,
) -> Encoder {
    match &tables.vectors {
        Vectors::Bits8(_) => ByLimit::Bits8(LaneEncoder::new(tables, map, carried, keep_escapes)),
        Vectors::Bits12(_) => ByLimit::Bits12(LaneEncoder::new(tables, map, carried, keep_escapes)),
    }
}

/// The lanes of an encoder.
///
/// A lane with value `v` and `n` bits is the number `q << 32 | v`, `q = 2^(n - FLOOR)`. A code of `len`
/// bits becomes the factor `2^len << 32 | code << FLOOR`: then
///
/// ```text
/// y = q * factor + v = (q << len) << 32 | v + (code << n)
/// ```
///
/// is the lane after the code was put on top, if no word has to be emitted first. One has to be when
/// `n + len >= FLOOR + w`, which is `q << len >= 2^w`, which is `y >= 2^(32 + w)` (`code << n` may reach
/// into `q`'s bits by then, but stays below those of `q << len`, too little to matter). The low `w` bits of
/// `y` are those of `v`, for `code << n` has none there; so the word to emit is the low end of `y`, and
/// the lane after emitting it is `y >> w`: shifting before or after adding the code is the same.
#[derive(Debug)]
pub(crate) struct LaneEncoder<W> {
    lanes: [u64; LANES],
    /// By symbol.
    factors: [u64; 256],
    /// By symbol, whether it takes the escape and has to be kept.
    escapes: Option<[bool; 256]>,
    words: PhantomData<W>,
}

impl<W: Word> LaneEncoder<W> {
    pub(crate) fn new(
        tables: &Tables,
        map: SlotMap,
        carried: &[u8; CARRIED_BYTES],
        keep_escapes: bool,
    ) -> Self {
        let factors = std::array::from_fn(|symbol| {
            let entry = tables.encode[usize::from(map.slot(symbol as u8))];
            let (length, code) = (entry >> 12, u64::from(entry & 0xfff));
            1 << (32 + length) | code << FLOOR
        });
        let (low, high) = carried.split_at(LANES);
        let lanes = std::array::from_fn(|lane| {
            1 << 32 | u64::from(u16::from_le_bytes([low[lane], high[lane]]))
        });
        let escapes = keep_escapes.then(|| map.escapes(tables));
        Self { lanes, factors, escapes, words: PhantomData }
    }

    #[inline]
    fn step(&mut self, symbols: &[u8], stream: &mut [u8], end: &mut usize) -> Result<()> {
        let available = stream.len();
        let room = stream.get_mut(*end..*end + LANES * W::BYTES);
        let room = room.ok_or_else(|| no_room(*end + LANES * W::BYTES, available))?;
        let mut group = W::GROUP;
        let mut words = 0;
        for (lane, &symbol) in self.lanes.iter_mut().zip(symbols) {
            let (q, v) = (*lane >> 32, *lane & 0xffff_ffff);
            let y = q * self.factors[usize::from(symbol)] + v;
            // Always written, counted only when due: the next word overwrites it otherwise.
            W::put(&mut group, words, y);
            let emit = y >> (32 + W::BITS) != 0;
            *lane = if emit { y >> W::BITS } else { y };
            words += usize::from(emit);
        }
        room.copy_from_slice(group.as_ref());
        *end += words * W::BYTES;
        Ok(())
    }
}

impl<W: Word> EncodeLanes for LaneEncoder<W> {
    fn push(
        &mut self,
        symbols: &[u8],
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<()> {
        let (whole, partial) = symbols.as_chunks::<LANES>();
        if !partial.is_empty() {
            self.step(partial, stream, end)?;
        }
        for symbols in whole.iter().rev() {
            self.step(symbols, stream, end)?;
        }
        if let Some(chosen) = &self.escapes {
            for run in symbols.rchunks(LANES) {
                // Most runs have none, which takes less time to find out than to go through them.
                if run.iter().fold(false, |any, &symbol| any | chosen[usize::from(symbol)]) {
                    let chosen = run.iter().rev().filter(|symbol| chosen[usize::from(**symbol)]);
                    chosen.for_each(|&symbol| escapes.front(1).fill(symbol));
                }
            }
        }
        Ok(())
    }

    fn finish(&self, states: &mut [u8]) {
        for (index, lane) in self.lanes.iter().enumerate() {
            // q = 2^(n - FLOOR) becomes the sentinel 2^n.
            let state = (lane >> 32) << FLOOR | lane & 0xffff_ffff;
            W::put_state(states, index, state as u32);
        }
    }
}
