//! The plan of a bitmap: how often layers are split, and how each plane is stored.

use std::sync::LazyLock;

use super::books::BitmapBooks;
use super::layers::{Layers, MAX_DEPTH, PLANES, highest};
use super::price::{BITS12_GAIN, coded_bytes, lanes_from};
use crate::codebook::fit::Effort;
use crate::codebook::{Alphabet, Codebook, Lengths};
use crate::error::Result;
use crate::gradient::values::Values;
use crate::kernels::bytes;
use crate::kernels::platform::Platform;
use crate::lanes::CARRIED_BYTES;
use crate::plan::{Candidates, PlaneContext, Taste};
use crate::plane_codec::{BookRef, CodedPlane, Coder, PlaneHeader, PlaneShape};
use crate::set::{CodebookSet, SetBuilder};
use crate::stats::Counts;

/// Planes of fewer bytes are priced by an actual plan, since limits and escapes matter more there.
const EXACT_BELOW: u32 = 1024;

/// What is known of a plane of so many bytes before it is read.
pub(super) const fn shape(count: usize) -> PlaneShape {
    PlaneShape { alphabet: Alphabet::Plain { width: 8 }, width: 8, count, any_plain: true }
}

/// Plans bitmaps; owns the memory for the layers, and the books that were made for the planes.
#[derive(Debug)]
pub(super) struct Planner {
    pub(super) layers: Layers,
    counts: Counts,
    embedded: [Codebook; PLANES],
}

/// No book of a set: bitmaps choose among their fixed books themselves.
static NO_CANDIDATES: Candidates = Candidates::NONE;

/// A set without books, for streams that name none.
pub(super) static NO_BOOKS: LazyLock<CodebookSet> =
    LazyLock::new(|| SetBuilder::new("none").build());

impl Default for Planner {
    fn default() -> Self {
        Self {
            layers: Layers::default(),
            counts: Counts::new(),
            embedded: std::array::from_fn(|_| Codebook::new(Lengths::placeholder())),
        }
    }
}

/// The headers of the planes, by layer, before their sizes are known. There are as many splits as planes but one.
pub(super) type Plan = Vec<PlaneHeader>;

impl Planner {
    /// The book that a header names.
    pub(super) fn book<'a>(
        &'a self,
        layer: usize,
        header: &PlaneHeader,
        books: Option<&'a BitmapBooks>,
    ) -> Option<&'a Codebook> {
        match header.coded()?.book {
            BookRef::Resident(number) => books?.set().book(number).ok(),
            BookRef::Embedded => self.embedded.get(layer),
        }
    }

    /// Plans a bitmap with books that are made for its planes, and as many splits as there are told.
    pub(super) fn plan_splits(
        &mut self,
        platform: Platform,
        values: Values<'_>,
        depth: usize,
    ) -> Plan {
        self.layers.take(platform, values, depth);
        let counts = (0..=depth).map(|layer| {
            let quick = if layer == 0 { platform } else { Platform::Portable };
            bytes::histogram(quick, self.layers.plane(layer, depth))
        });
        let counts: Vec<_> = counts.collect();
        self.plan_planes(platform, &counts)
    }

    /// Plans a bitmap with books that are made for its planes, and splits as long as planes become smaller.
    pub(super) fn plan(&mut self, platform: Platform, values: Values<'_>) -> Plan {
        let counts = self.split_as_pays(platform, values, 1.0);
        if counts.len() == 1 {
            self.layers.take_whole(platform, values);
        }
        self.plan_planes(platform, &counts)
    }

    fn plan_planes(&mut self, platform: Platform, counts: &[[u32; 256]]) -> Plan {
        let lanes_from = lanes_from(self.layers.count());
        let mut behind = 0;
        let plans = counts.iter().enumerate().map(|(layer, counts)| {
            let count = counts.iter().sum::<u32>() as usize;
            self.counts.set(counts);
            let context = context(platform, count, lanes_from, behind);
            let plan = context.plan(&self.counts, &mut self.embedded[layer]);
            behind += plan.header.payload_bytes(&context.shape);
            plan.header
        });
        plans.collect()
    }

    /// Plans a bitmap with books that both ends hold. Nothing is counted.
    pub(super) fn plan_by_books(
        &mut self,
        platform: Platform,
        values: Values<'_>,
        books: &BitmapBooks,
    ) -> Result<Plan> {
        let depth = books.depth();
        self.layers.take(platform, values, depth);
        let mut plan = Plan::new();
        for (layer, &number) in books.layers().iter().enumerate() {
            let book = books.set().book(number)?;
            let plane = self.layers.plane(layer, depth);
            plan.push(match plane.first() {
                None => PlaneHeader::Raw,
                // No code is smaller, and a fixed one may be much larger.
                Some(first) if plane.iter().all(|byte| byte == first) => {
                    PlaneHeader::Constant(*first)
                }
                Some(_) if !covers(platform, book, plane) => self.fit(platform, layer, depth),
                Some(_) => {
                    let is_long = plane.len() >= lanes_from(values.len());
                    PlaneHeader::Coded(CodedPlane {
                        book: BookRef::Resident(number),
                        limit: book.limit(),
                        coder: if is_long { Coder::Lanes } else { Coder::Single },
                        base: 0,
                        zeros: 0,
                        stream_bytes: 0,
                        escapes: 0,
                    })
                }
            });
        }
        Ok(plan)
    }

    /// The plan of a plane that no fixed book can code.
    fn fit(&mut self, platform: Platform, layer: usize, depth: usize) -> PlaneHeader {
        let plane = self.layers.plane(layer, depth);
        self.counts.set(&bytes::histogram(platform, plane));
        let lanes_from = lanes_from(self.layers.count());
        let context = context(platform, plane.len(), lanes_from, 0);
        context.plan(&self.counts, &mut self.embedded[layer]).header
    }

    /// The estimated bytes of a stream of `scale` times as many values as this sample has.
    pub(super) fn estimate(&mut self, platform: Platform, sample: Values<'_>, scale: f64) -> f64 {
        let planes = self.split_as_pays(platform, sample, scale);
        let lanes_from = lanes_from((sample.len() as f64 * scale) as usize);
        let price = |counts: &[u32; 256]| self.price(platform, counts, scale, lanes_from);
        let prices: f64 = planes.iter().map(price).sum();
        // The lanes of layer 0 have nothing to carry.
        let of_values: u32 = planes.first().map_or(0, |counts| counts.iter().sum());
        let in_lanes = f64::from(of_values) * scale >= lanes_from as f64;
        prices + 4.0 * planes.len() as f64 + if in_lanes { CARRIED_BYTES as f64 } else { 0.0 }
    }

    /// Splits layers as long as planes become smaller, where every value counts `scale` times. Returns the counts of
    /// the planes, by layer. If layer 0 is not split, it is not filled.
    fn split_as_pays(
        &mut self,
        platform: Platform,
        values: Values<'_>,
        scale: f64,
    ) -> Vec<[u32; 256]> {
        self.layers.begin(platform, values, MAX_DEPTH);
        let lanes_from = lanes_from((values.len() as f64 * scale) as usize);
        let mut planes = Vec::new();
        // The first split is made in any case: counts of layer 0 follow from counts of the bytes that are not 0.
        let [mut kept, mut all] = self.layers.counts(platform, 0);
        let mut price = self.price(platform, &all, scale, lanes_from);
        while planes.len() < MAX_DEPTH {
            let above = planes.len() + 1;
            let [next_kept, masks] = if above < MAX_DEPTH {
                self.layers.split(platform, above);
                self.layers.counts(platform, above)
            } else {
                [[0; 256], bytes::histogram(Platform::Portable, self.layers.layer(above))]
            };
            let price_of_masks = self.price(platform, &masks, scale, lanes_from);
            // Where all values are 0, a split costs nothing, and layer 0 need not be filled.
            let is_empty = above == 1 && kept.iter().all(|count| *count == 0);
            let price_of_kept = self.price(platform, &kept, scale, lanes_from);
            if !is_empty && price_of_kept + price_of_masks >= price {
                break;
            }
            planes.push(kept);
            (kept, all, price) = (next_kept, masks, price_of_masks);
        }
        planes.push(all);
        planes
    }

    /// The estimated bytes of a coded plane, by which splits are decided. Every byte counts `scale` times.
    fn price(
        &mut self,
        platform: Platform,
        counts: &[u32; 256],
        scale: f64,
        lanes_from: usize,
    ) -> f64 {
        let total = counts.iter().sum::<u32>();
        if scale > 1.0 || total >= EXACT_BELOW || total == 0 {
            return coded_bytes(&counts.map(f64::from), scale, lanes_from);
        }
        self.counts.set(counts);
        let context = context(platform, total as usize, lanes_from, 0);
        context.plan(&self.counts, &mut self.embedded[0]).stored() as f64
    }
}

fn context(
    platform: Platform,
    count: usize,
    lanes_from: usize,
    behind: usize,
) -> PlaneContext<'static> {
    PlaneContext {
        platform,
        taste: Taste {
            bits12_gain: BITS12_GAIN,
            single_below: lanes_from,
            least_gain: 0,
            effort: Effort::Careful,
        },
        shape: shape(count),
        remainder_bits: 0,
        set: &NO_BOOKS,
        candidates: &NO_CANDIDATES,
        embed: true,
        behind: behind.min(CARRIED_BYTES),
    }
}

/// Whether a book has a code, or an escape, for every byte of a plane.
fn covers(platform: Platform, book: &Codebook, plane: &[u8]) -> bool {
    let slots = book.lengths().alphabet().slots();
    slots > 255 || usize::from(highest(platform, plane)) < slots
}
