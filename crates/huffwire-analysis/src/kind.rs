//! One kind of tensors in one form: what codes make of its shards.

use std::collections::BTreeMap;

use huffwire::codebook::fit::{Effort, Fitted};
use huffwire::planes::{Plane, Role};
use huffwire::stats::Pmf;
use huffwire::{Codebook, CodebookSet, Layout};
use huffwire_io::Workers;

use crate::average::{Averages, CENTRE, ZERO, aligned, fit};
use crate::collect::Shard;
use crate::error::{Error, Result};
use crate::families::{dual_lengths, mean_bits, quad_lengths};
use crate::options::{Form, LeaveOut};
use crate::packed::{PackedCounts, PackedProfile};
use crate::result::PlaneResult;

/// The most parts of a kind that are left out in turn; where there are more, several are left out together.
const MAX_GROUPS: usize = 64;
/// Shards that a thread measures at a time.
const SHARDS_PER_JOB: usize = 64;
/// Built-in books whose price is looked at with several bases.
const FINALISTS: usize = 3;

/// What is known of a kind before it is measured.
pub(crate) struct Kind<'a> {
    pub(crate) form: Form,
    pub(crate) shards: &'a [Shard],
    /// The shards of this kind in the files to calibrate on; `None` where there are no such files.
    pub(crate) calibration: Option<&'a [Shard]>,
    pub(crate) leave_out: Option<LeaveOut>,
}

/// What was found, by one layout.
pub(crate) struct Measured {
    pub(crate) layout: Layout,
    /// Of each shard.
    pub(crate) costs: Vec<Cost>,
    pub(crate) planes: Vec<PlaneResult>,
    pub(crate) fixed_from: Option<&'static str>,
}

/// What a shard costs, in bits a unit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) shannon: f64,
    pub(crate) huffman: f64,
    pub(crate) fixed: Option<f64>,
    pub(crate) builtin: Option<f64>,
    /// With one quad length code, and with one dual length code.
    pub(crate) families: [Option<f64>; 2],
    /// KL divergence to the average, in bits a symbol.
    pub(crate) kl: f64,
    /// The share of symbols that take the escape.
    pub(crate) escapes: f64,
}

/// Codes made from an average.
#[derive(Clone)]
struct FixedCodes {
    fitted: Fitted,
    book: Codebook,
    /// Lengths of a quad length code and of a dual length code; `None` for exponents.
    families: Option<[Vec<u8>; 2]>,
}

impl FixedCodes {
    fn new(average: &Pmf, plane: &Plane, other_bits: f64) -> Option<Self> {
        let fitted = fit(average, plane, other_bits, Effort::Careful)?;
        let families =
            (!plane.centred).then(|| [quad_lengths(average), dual_lengths(average, plane.width)]);
        Some(Self { fitted, book: Codebook::new(fitted.lengths), families })
    }
}

/// The parts of a kind that are left out in turn.
struct Groups {
    of: Vec<usize>,
    count: usize,
    name: &'static str,
}

impl Kind<'_> {
    /// Measures the kind by the layout that makes it smallest.
    pub(crate) fn measure(&self, builtin: &CodebookSet, workers: &Workers) -> Result<Measured> {
        let form = self.form;
        let all = self.shards.iter().chain(self.calibration.unwrap_or_default());
        let layouts = form
            .dtype
            .layouts(form.rule)
            .filter(|layout| all.clone().all(|shard| shard.profile.fits(*layout)));
        let mut best: Option<Measured> = None;
        for layout in layouts.collect::<Vec<_>>() {
            let measured = self.by_layout(layout, builtin, workers)?;
            if best.as_ref().is_none_or(|best| measured.bits() < best.bits()) {
                best = Some(measured);
            }
        }
        // Bytes fit the layout `bytes` of every type; floats fit that of exponents.
        best.ok_or_else(|| Error::Options(format!("{}: no layout fits these tensors", form.dtype)))
    }

    fn by_layout(
        &self,
        layout: Layout,
        builtin: &CodebookSet,
        workers: &Workers,
    ) -> Result<Measured> {
        let form = self.form;
        let planes = form.dtype.planes(layout);
        let groups = self.groups();
        let remainder: f64 = planes
            .iter()
            .filter(|plane| plane.role == Role::Remainder)
            .map(|plane| f64::from(plane.width) * f64::from(plane.per_unit))
            .sum();
        let symbols: f64 = planes
            .iter()
            .filter(|plane| plane.role == Role::Symbols)
            .map(|plane| f64::from(plane.per_unit))
            .sum();
        let mut costs = vec![Cost::default(); self.shards.len()];
        for cost in &mut costs {
            (cost.fixed, cost.builtin, cost.families) = (Some(0.0), Some(0.0), [Some(0.0); 2]);
        }
        let mut results = Vec::new();
        let mut fixed_from = None;
        for (index, plane) in planes.iter().enumerate() {
            if plane.role == Role::Remainder {
                continue;
            }
            let counts = |shards| counts_of(shards, layout, index);
            let shards = counts(self.shards);
            let averages = Averages::of(&shards, &groups.of, plane);
            let Some(average) = averages.all() else { continue };
            let other_bits =
                (form.raw_bits() / f64::from(plane.per_unit) - f64::from(plane.width)).max(0.0);
            let made = |average: &Pmf| FixedCodes::new(average, plane, other_bits);
            let calibrated = self.calibration.map(|shards| {
                let of = vec![0; shards.len()];
                Averages::of(&counts(shards), &of, plane).all()
            });
            let (codes, shown) = match &calibrated {
                Some(average) => {
                    let shown = average.as_ref().and_then(made);
                    fixed_from = shown.as_ref().map(|_| "calibration files");
                    (vec![shown.clone(); groups.count], shown)
                }
                None if groups.count == 1 => {
                    fixed_from = Some("itself");
                    let shown = made(&average);
                    (vec![shown.clone()], shown)
                }
                None => {
                    fixed_from = Some(groups.name);
                    let mut codes = Vec::new();
                    workers.run(
                        1 << 18,
                        0..groups.count,
                        |&group, slot| {
                            *slot = averages.without(group).as_ref().and_then(made);
                            Ok::<(), Error>(())
                        },
                        |_, slot| {
                            codes.push(slot.take());
                            Ok(())
                        },
                    )?;
                    (codes, made(&average))
                }
            };
            let numbers = builtin.candidates(None, form.dtype, layout, index as u8);
            let builtin: Vec<&Codebook> = numbers
                .filter_map(|number| builtin.book(number).ok())
                .filter(|book| book.lengths().alphabet() == plane.alphabet())
                .collect();
            let meter = Meter { plane, average: &average, remainder, builtin: &builtin };
            let per_unit = f64::from(plane.per_unit);
            let jobs = (0..shards.len()).step_by(SHARDS_PER_JOB);
            workers.run(
                1 << 18,
                jobs.map(|start| start..shards.len().min(start + SHARDS_PER_JOB)),
                |range, slot: &mut Vec<Cost>| {
                    let mut unpacked = Vec::new();
                    slot.clear();
                    slot.extend(range.clone().map(|shard| {
                        shards[shard].unpack(&mut unpacked);
                        meter.cost(
                            &unpacked,
                            averages.shifts[shard],
                            codes[groups.of[shard]].as_ref(),
                        )
                    }));
                    Ok::<(), Error>(())
                },
                |range, slot| {
                    for (total, cost) in costs[range.clone()].iter_mut().zip(slot) {
                        total.shannon += per_unit * cost.shannon;
                        total.huffman += per_unit * cost.huffman;
                        let add =
                            |total: Option<f64>, bits: Option<f64>| Some(total? + per_unit * bits?);
                        total.fixed = add(total.fixed, cost.fixed);
                        total.builtin = add(total.builtin, cost.builtin);
                        for (total, bits) in total.families.iter_mut().zip(cost.families) {
                            *total = add(*total, bits);
                        }
                        total.kl += per_unit / symbols * cost.kl;
                        total.escapes += per_unit / symbols * cost.escapes;
                    }
                    Ok(())
                },
            )?;
            results.push(plane_result(
                index,
                plane,
                &average,
                shown.as_ref().map(|codes| &codes.fitted),
            ));
        }
        // A block that does not become smaller is stored as it is.
        let raw = form.raw_bits();
        for cost in &mut costs {
            cost.fixed = cost.fixed.map(|bits| bits.min(raw));
            cost.builtin = cost.builtin.map(|bits| bits.min(raw));
            cost.families = cost.families.map(|bits| bits.map(|bits| bits.min(raw)));
        }
        Ok(Measured { layout, costs, planes: results, fixed_from })
    }

    /// What is left out in turn: what the options say, or else the first way that makes two parts or more.
    fn groups(&self) -> Groups {
        let ways = [LeaveOut::Files, LeaveOut::Layers, LeaveOut::Shards];
        let ways = ways.into_iter().filter(|way| self.leave_out.is_none_or(|only| only == *way));
        for way in ways {
            let mut numbers = BTreeMap::new();
            let of = self.shards.iter().enumerate().map(|(index, shard)| {
                let place = &shard.place;
                let part = match way {
                    LeaveOut::Files => u64::from(place.file),
                    LeaveOut::Layers => place.layer.map_or(0, |layer| layer.saturating_add(1)),
                    LeaveOut::Shards if self.is_cut() => place.shard.into(),
                    LeaveOut::Shards => index as u64,
                };
                let next = numbers.len();
                *numbers.entry(part).or_insert(next) % MAX_GROUPS
            });
            let of: Vec<usize> = of.collect();
            let count = numbers.len().min(MAX_GROUPS);
            if count > 1 {
                let name = match way {
                    LeaveOut::Files => "other files",
                    LeaveOut::Layers => "other layers",
                    LeaveOut::Shards => "other shards",
                };
                return Groups { of, count, name };
            }
        }
        Groups { of: vec![0; self.shards.len()], count: 1, name: "itself" }
    }

    /// Whether a tensor of the kind has several shards.
    fn is_cut(&self) -> bool {
        self.shards.iter().any(|shard| shard.place.shard > 0)
    }
}

fn counts_of(shards: &[Shard], layout: Layout, plane: usize) -> Vec<&PackedCounts> {
    let profiles = shards.iter().map(|shard| &shard.profile);
    profiles.filter_map(|profile: &PackedProfile| profile.counts(layout, plane)).collect()
}

impl Measured {
    /// Bits a unit, mean over shards: with the fixed codebook, or else with Huffman codes.
    fn bits(&self) -> f64 {
        self.costs.iter().map(|cost| cost.fixed.unwrap_or(cost.huffman)).sum()
    }
}

/// What measures the shards of a plane.
struct Meter<'a> {
    plane: &'a Plane,
    average: &'a Pmf,
    /// Bits of the remainder of an element, which exact zeros do not have where they have a code.
    remainder: f64,
    builtin: &'a [&'a Codebook],
}

impl Meter<'_> {
    /// Bits a symbol of a shard; those of the remainder included.
    fn cost(&self, counts: &[u64], shift: i32, codes: Option<&FixedCodes>) -> Cost {
        let (Some(pmf), Some(aligned)) = (aligned(counts, 0), aligned(counts, shift)) else {
            return Cost::default();
        };
        let zeros = pmf.probabilities().get(ZERO).copied().unwrap_or(0.0);
        let kept = self.remainder * (1.0 - zeros);
        let mut cost = Cost {
            shannon: pmf.entropy() + kept,
            huffman: pmf.huffman_bits() + kept,
            kl: aligned.kl_divergence(self.average).max(0.0),
            ..Cost::default()
        };
        // Symbols that are all the same are stored as one.
        let is_constant = counts.iter().filter(|count| **count > 0).count() == 1;
        let raw = f64::from(self.plane.width) + self.remainder;
        let limit = if is_constant { kept } else { raw };
        let mean = self.mean(counts);
        if let Some(FixedCodes { book, families, .. }) = codes {
            let priced = self.around(book, &pmf, mean);
            if let Some(families) = families {
                let bits = |lengths: &Vec<u8>| mean_bits(lengths, &pmf) + self.remainder;
                cost.families = families.each_ref().map(|lengths| Some(bits(lengths).min(limit)));
            }
            cost.fixed = Some(priced.0.min(limit));
            cost.escapes = self.escapes(book, &pmf, priced.1);
        }
        if !self.builtin.is_empty() {
            let at_mean = |book: &Codebook| self.price(book, &pmf, self.base(book, mean));
            let mut prices: Vec<(f64, &Codebook)> =
                self.builtin.iter().map(|book| (at_mean(book), *book)).collect();
            prices.sort_by(|a, b| a.0.total_cmp(&b.0));
            let finalists =
                prices.iter().take(FINALISTS).map(|(_, book)| self.around(book, &pmf, mean).0);
            cost.builtin = Some(finalists.fold(limit, f64::min));
        }
        cost
    }

    /// The mean exponent, rounded; 0 for other symbols.
    fn mean(&self, counts: &[u64]) -> u8 {
        if !self.plane.centred {
            return 0;
        }
        let exponents = || counts.iter().take(ZERO).zip(0u32..);
        let mass: f64 = exponents().map(|(&count, _)| count as f64).sum();
        let moment: f64 = exponents().map(|(&count, e)| count as f64 * f64::from(e)).sum();
        if mass > 0.0 { (moment / mass).round() as u8 } else { 0 }
    }

    fn base(&self, book: &Codebook, mean: u8) -> u8 {
        if self.plane.centred { mean.wrapping_sub(book.lengths().origin()) } else { 0 }
    }

    /// Bits at the base, of those near the mean, that suits the shard best; and this base.
    fn around(&self, book: &Codebook, pmf: &Pmf, mean: u8) -> (f64, u8) {
        let shifts = if self.plane.centred { -2..=2 } else { 0..=0 };
        let base = self.base(book, mean);
        let prices = shifts.map(|shift| {
            let base = base.wrapping_add_signed(shift);
            (self.price(book, pmf, base), base)
        });
        prices.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::INFINITY, base))
    }

    fn price(&self, book: &Codebook, pmf: &Pmf, base: u8) -> f64 {
        let zeros = pmf.probabilities().get(ZERO).copied().unwrap_or(0.0);
        let apart = if book.lengths().zero() > 0 { zeros } else { 0.0 };
        book.mean_bits(pmf, base) + self.remainder * (1.0 - apart)
    }

    /// The share of symbols that take the escape.
    fn escapes(&self, book: &Codebook, pmf: &Pmf, base: u8) -> f64 {
        let p = pmf.probabilities();
        let symbols =
            (0..=u8::MAX).zip(p).filter(|(symbol, _)| !has_code(book, symbol.wrapping_sub(base)));
        let escaped: f64 = symbols.map(|(_, p)| p).sum();
        let zeros = p.get(ZERO).copied().unwrap_or(0.0);
        let zeros_escape = book.lengths().zero() == 0 && !has_code(book, 0u8.wrapping_sub(base));
        escaped + if zeros_escape { zeros } else { 0.0 }
    }
}

/// Whether a slot has a code of its own.
fn has_code(book: &Codebook, slot: u8) -> bool {
    let lengths = book.lengths();
    usize::from(slot) < lengths.alphabet().symbols() && lengths.direct(slot) > 0
}

fn plane_result(index: usize, plane: &Plane, average: &Pmf, shown: Option<&Fitted>) -> PlaneResult {
    let p = average.probabilities();
    let symbols = &p[..p.len().min(ZERO)];
    let occurs = |p: &f64| *p > 0.0;
    let first = symbols.iter().position(occurs).unwrap_or(0);
    let end = symbols.iter().rposition(occurs).map_or(0, |last| last + 1);
    let offset = if plane.centred { CENTRE as i32 } else { 0 };
    let book = shown.map(|fitted| (Codebook::new(fitted.lengths), fitted.base));
    // The calibration files may have their exponents elsewhere by a little: their average is centred alike.
    let bits = |symbol: usize| {
        book.as_ref().map_or(0, |(book, base)| {
            let slot = (symbol as u8).wrapping_sub(*base);
            if has_code(book, slot) { book.lengths().direct(slot) } else { 0 }
        })
    };
    let lengths = book.as_ref().map(|(book, _)| *book.lengths());
    let escape = lengths.map_or(0, |lengths| lengths.escape());
    let zero_bits = lengths.map_or(0, |lengths| lengths.zero());
    let code_bits: Vec<u8> = (first..end).map(bits).collect();
    let escaped =
        (first..end).filter(|symbol| book.is_some() && p[*symbol] > 0.0 && bits(*symbol) == 0);
    PlaneResult {
        plane: index,
        width: plane.width,
        centred: plane.centred,
        entropy_bits: average.entropy(),
        first_symbol: first as i32 - offset,
        pmf: symbols.get(first..end).unwrap_or_default().to_vec(),
        longest: code_bits.iter().copied().chain([zero_bits, escape]).max().unwrap_or(0),
        code_bits: code_bits.clone(),
        zero: p.get(ZERO).map(|zero| (*zero, zero_bits)),
        escape_bits: if escape > 0 { escape + 8 } else { 0 },
        escaped: escaped.map(|symbol| symbol as i32 - offset).collect(),
    }
}
