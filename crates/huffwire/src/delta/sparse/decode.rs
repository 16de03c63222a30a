//! Decoding of sparse blocks, whose bytes may be hostile.

use super::super::form::{Form, by_width, set_word, word};
use super::super::header::WHAT;
use super::clock::{self, AT_LIMIT, LIMIT, longer, time};
use super::magnitude::rows;
use super::model::{Model, Tables};
use super::rans::{Decoder, Interval};
use super::{GROUP, MAX_CHAINS, TILE, sum_ticks};
use crate::error::{Error, Result};
use crate::kernels::platform::Platform;
use crate::wire::Reader;

/// Changes that a sparse block holds.
#[derive(Debug, Default)]
pub(in super::super) struct Found {
    /// The words that change, counted from the start of the block.
    pub(in super::super) indices: Vec<u32>,
    /// Their new values, one behind the other.
    pub(in super::super) values: Vec<u8>,
}

impl Found {
    pub(in super::super) fn clear(&mut self) {
        self.indices.clear();
        self.values.clear();
    }
}

/// Decodes the payload of a sparse block, which must hold so many changes. `sent` tells whether its levels are sent.
pub(in super::super) fn decode(
    platform: Platform,
    form: Form,
    sent: bool,
    payload: &[u8],
    base: &[u8],
    changes: u32,
    found: &mut Found,
) -> Result<()> {
    let mut reader = Reader::new(WHAT, payload);
    let model = Model::read(&mut reader, form, sent)?;
    let chains_log2 = reader.u8()?;
    if 1usize.checked_shl(chains_log2.into()).is_none_or(|count| count > MAX_CHAINS) {
        return Err(reader.malformed("more than four chains"));
    }
    let count = 1 << chains_log2;
    let mut lengths = [0; MAX_CHAINS];
    for length in &mut lengths[..count] {
        *length = reader.size()?;
    }
    let mut chains = Vec::with_capacity(count);
    for length in &lengths[..count] {
        let state = reader.u64()?;
        let bytes = reader.take(length.saturating_mul(4))?;
        chains.push(Chain::new(Decoder::new(state, bytes.as_chunks().0)?));
    }
    reader.finish()?;
    found.clear();
    let tables = model.tables();
    platform.run(
        #[inline(always)]
        || {
            by_width!(form, B => {
                find_changes::<B>(form, &tables, base, &mut chains, changes as usize, found)
            })
        },
    )
}

/// Chain on its way through its tiles.
#[derive(Debug)]
struct Chain<'a> {
    coder: Decoder<'a>,
    /// The time at the start of the next tile.
    time: u64,
    /// The time at the end of the last word that changed.
    last: u64,
    /// When the next thing happens.
    next: u64,
    /// Whether that is a change; else time just passes.
    change: bool,
}

impl<'a> Chain<'a> {
    fn new(coder: Decoder<'a>) -> Self {
        let mut chain = Self { coder, time: 0, last: 0, next: 0, change: false };
        chain.look();
        chain
    }

    /// Sees when the next thing happens.
    #[inline(always)]
    fn look(&mut self) {
        let number = self.coder.peek(clock::BITS);
        self.change = number >= AT_LIMIT;
        self.next = self.last + if self.change { time(number) } else { LIMIT };
    }

    /// Takes the next thing, which is that time passes.
    fn escape(&mut self) -> Result<()> {
        self.coder.take(Interval { start: 0, size: AT_LIMIT, bits: clock::BITS })?;
        self.last = self.next;
        self.look();
        Ok(())
    }

    /// Takes the next thing, which is that the word from `start` to `end` changes. The next look is up to the caller.
    #[inline(always)]
    fn change(&mut self, start: u64, end: u64) -> Result<()> {
        let low = longer((end - self.last).min(LIMIT));
        let size = longer(start.saturating_sub(self.last)) - low;
        self.coder.take(Interval { start: low, size, bits: clock::BITS })?;
        self.last = end;
        Ok(())
    }

    /// Takes the end of the chain.
    fn finish(&mut self) -> Result<()> {
        let size = longer(self.time - self.last);
        self.coder.take(Interval { start: 0, size, bits: clock::BITS })?;
        self.coder.finish()
    }
}

#[inline(always)]
fn find_changes<const B: usize>(
    form: Form,
    tables: &Tables,
    base: &[u8],
    chains: &mut [Chain<'_>],
    changes: usize,
    found: &mut Found,
) -> Result<()> {
    let rows = rows(B);
    let mut sums = [0; TILE / GROUP + 1];
    let count = chains.len();
    for (number, tile) in base.as_chunks::<B>().0.chunks(TILE).enumerate() {
        let chain = &mut chains[number & (count - 1)];
        let total = sum_ticks(form, tables, tile, &mut sums);
        let end = chain.time + u64::from(total);
        let mut group = 0;
        loop {
            if !chain.change {
                if chain.next > end {
                    break;
                }
                chain.escape()?;
                continue;
            }
            if chain.next >= end {
                break;
            }
            // Nothing happens before the tile: it would have happened in the one before.
            let next = chain.next - chain.time;
            while u64::from(sums[group + 1]) <= next {
                group += 1;
            }
            let mut place = group * GROUP;
            let mut start = u64::from(sums[group]);
            let (class, stop) = loop {
                let class = form.class(word(&tile[place]));
                let stop = start + u64::from(tables.ticks[class]);
                if stop > next {
                    break (class, stop);
                }
                (place, start) = (place + 1, stop);
            };
            chain.change(chain.time + start, chain.time + stop)?;
            let row = &rows[usize::from(tables.magnitudes[class])];
            let difference = row.pull(&mut chain.coder)?;
            chain.look();
            if found.indices.len() == changes {
                return Err(Error::malformed(WHAT, 0, "more changes than are announced"));
            }
            found.indices.push((number * TILE + place) as u32);
            let mut value = [0; B];
            set_word(&mut value, form.moved(word(&tile[place]), difference));
            found.values.extend_from_slice(&value);
        }
        chain.time = end;
    }
    for chain in chains {
        chain.finish()?;
    }
    if found.indices.len() == changes {
        return Ok(());
    }
    let detail = format!("{} changes where {changes} are announced", found.indices.len());
    Err(Error::malformed(WHAT, 0, detail))
}
