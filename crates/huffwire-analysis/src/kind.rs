//! One kind of tensors in one form: what codes make of its shards.

use std::collections::BTreeMap;
use std::ops::Range;

use huffwire::codebook::fit::Effort;
use huffwire::planes::{Plane, Role};
use huffwire::stats::Pmf;
use huffwire::{Codebook, CodebookSet, Layout};
use huffwire_io::Workers;

use crate::average::{Averages, CENTRE, ZERO, aligned, fit};
use crate::collect::Shard;
use crate::error::{Error, Result};
use crate::families::{dual_lengths, mean_bits, quad_lengths};
use crate::options::{Form, LeaveOut};
use crate::packed::Weighted;
use crate::price::{Pricer, has_code, remainder_bits};
use crate::result::PlaneResult;

/// The most parts of a kind that are left out in turn; where there are more, several are left out together.
const MAX_GROUPS: usize = 64;
/// Shards that a thread measures at a time.
const SHARDS_PER_JOB: usize = 64;
/// Built-in books whose price is looked at with several bases.
const FINALISTS: usize = 3;
/// What a job counts as in a batch of jobs, which have no elements.
const JOB_BYTES: usize = 1 << 18;

/// What is known of a kind before it is measured.
pub(crate) struct Kind<'a> {
    pub(crate) form: Form,
    pub(crate) shards: &'a [Shard],
    /// The shards of this kind in the files to calibrate on; `None` where there are no such files.
    pub(crate) calibration: Option<&'a [Shard]>,
    pub(crate) leave_out: Option<LeaveOut>,
    /// Whether the planes are to be described.
    pub(crate) with_planes: bool,
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
    book: Codebook,
    /// The exponent, counted as in the average, of slot 0.
    base: u8,
    /// Lengths of a quad length code and of a dual length code; `None` for exponents.
    families: Option<[Vec<u8>; 2]>,
}

impl FixedCodes {
    fn new(average: &Pmf, plane: &Plane, other_bits: f64) -> Option<Self> {
        let fitted = fit(average, plane, other_bits, Effort::Careful)?;
        let families =
            (!plane.centred).then(|| [quad_lengths(average), dual_lengths(average, plane.width)]);
        Some(Self { book: Codebook::new(fitted.lengths), base: fitted.base, families })
    }
}

/// The codes of a plane.
struct Codes {
    /// Those that each group is coded with.
    by_group: Vec<Option<FixedCodes>>,
    /// Those made from all shards, or from the files to calibrate on.
    shown: Option<FixedCodes>,
    /// What they were made from.
    from: Option<&'static str>,
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
            if best.as_ref().is_none_or(|best| self.bits(&measured) < self.bits(best)) {
                best = Some(measured);
            }
        }
        // Bytes fit the layout `bytes` of every type; floats fit that of exponents.
        best.ok_or_else(|| Error::Options(format!("{}: no layout fits these tensors", form.dtype)))
    }

    /// Bits a unit, summed over shards: with the fixed codebook, or else with Huffman codes.
    fn bits(&self, measured: &Measured) -> f64 {
        let bits = |cost: &Cost| cost.fixed.unwrap_or(cost.huffman);
        self.shards
            .iter()
            .zip(&measured.costs)
            .map(|(shard, cost)| shard.shards as f64 * bits(cost))
            .sum()
    }

    fn by_layout(
        &self,
        layout: Layout,
        builtin: &CodebookSet,
        workers: &Workers,
    ) -> Result<Measured> {
        let form = self.form;
        let groups = self.groups();
        let mut costs = vec![Cost::ZERO; self.shards.len()];
        let (mut planes, mut fixed_from) = (Vec::new(), None);
        for (index, plane) in form.dtype.planes(layout).iter().enumerate() {
            if plane.role == Role::Remainder {
                continue;
            }
            let shards = counts_of(self.shards, layout, index);
            let averages = Averages::of(&shards, &groups.of, plane);
            let Some(average) = averages.all() else { continue };
            let made = self.codes(layout, index, &averages, &groups, workers)?;
            fixed_from = made.from;
            let numbers = builtin.candidates(None, form.dtype, layout, index as u8);
            let builtin: Vec<&Codebook> = numbers
                .filter_map(|number| builtin.book(number).ok())
                .filter(|book| book.lengths().alphabet() == plane.alphabet())
                .collect();
            let remainder = remainder_bits(form, layout) / f64::from(plane.per_unit);
            let pricer = Pricer { plane, remainder };
            let meter = Meter { pricer, average: &average, builtin: &builtin };
            let price = |shard: usize, unpacked: &mut Vec<u64>| {
                shards[shard].counts.unpack(unpacked);
                let codes = made.by_group[groups.of[shard]].as_ref();
                meter.cost(unpacked, averages.shifts[shard], codes)
            };
            let starts = (0..shards.len()).step_by(SHARDS_PER_JOB);
            let jobs = starts.map(|start| start..shards.len().min(start + SHARDS_PER_JOB));
            let work = |range: &Range<usize>, slot: &mut Vec<Cost>| {
                let mut unpacked = Vec::new();
                slot.clear();
                slot.extend(range.clone().map(|shard| price(shard, &mut unpacked)));
                Ok::<(), Error>(())
            };
            let weights = (f64::from(plane.per_unit), symbols_per_unit(form, layout));
            workers.run(JOB_BYTES, jobs, work, |range, slot| {
                let totals = costs[range.clone()].iter_mut();
                totals.zip(slot).for_each(|(total, cost)| total.add(cost, weights));
                Ok(())
            })?;
            if self.with_planes {
                planes.push(plane_result(index, plane, &average, made.shown.as_ref()));
            }
        }
        costs.iter_mut().for_each(|cost| cost.limit(form.raw_bits()));
        Ok(Measured { layout, costs, planes, fixed_from })
    }

    /// Makes the codes of a plane for each group, from what the group is not in.
    fn codes(
        &self,
        layout: Layout,
        index: usize,
        averages: &Averages,
        groups: &Groups,
        workers: &Workers,
    ) -> Result<Codes> {
        let plane = &self.form.dtype.planes(layout)[index];
        let symbol_bits = self.form.raw_bits() / f64::from(plane.per_unit);
        let other_bits = (symbol_bits - f64::from(plane.width)).max(0.0);
        let make = |average: Option<Pmf>| FixedCodes::new(&average?, plane, other_bits);
        if let Some(calibration) = self.calibration {
            let counts = counts_of(calibration, layout, index);
            let shown = make(Averages::of(&counts, &vec![0; counts.len()], plane).all());
            let from = shown.as_ref().map(|_| "calibration files");
            return Ok(Codes { by_group: vec![shown.clone(); groups.count], shown, from });
        }
        let shown = make(averages.all());
        let from = Some(groups.name);
        if groups.count == 1 {
            return Ok(Codes { by_group: vec![shown.clone()], shown, from });
        }
        let mut by_group = Vec::new();
        let work = |&group: &usize, slot: &mut Option<FixedCodes>| {
            *slot = make(averages.without(group));
            Ok::<(), Error>(())
        };
        workers.run(JOB_BYTES, 0..groups.count, work, |_, slot| {
            by_group.push(slot.take());
            Ok(())
        })?;
        Ok(Codes { by_group, shown, from })
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

fn counts_of(shards: &[Shard], layout: Layout, plane: usize) -> Vec<Weighted<'_>> {
    shards.iter().filter_map(|shard| shard.weighted(layout, plane)).collect()
}

fn symbols_per_unit(form: Form, layout: Layout) -> f64 {
    let planes = form.dtype.planes(layout).iter();
    planes.filter(|plane| plane.role == Role::Symbols).map(|plane| f64::from(plane.per_unit)).sum()
}

impl Cost {
    /// Nothing, to which planes are added.
    const ZERO: Self = Self {
        shannon: 0.0,
        huffman: 0.0,
        fixed: Some(0.0),
        builtin: Some(0.0),
        families: [Some(0.0); 2],
        kl: 0.0,
        escapes: 0.0,
    };

    /// Adds a plane, whose costs are for a symbol: symbols of the plane in a unit, and of all planes.
    fn add(&mut self, plane: &Self, (symbols, all): (f64, f64)) {
        let add = |total: Option<f64>, bits: Option<f64>| Some(total? + symbols * bits?);
        self.shannon += symbols * plane.shannon;
        self.huffman += symbols * plane.huffman;
        self.fixed = add(self.fixed, plane.fixed);
        self.builtin = add(self.builtin, plane.builtin);
        self.families = [0, 1].map(|family| add(self.families[family], plane.families[family]));
        self.kl += symbols / all * plane.kl;
        self.escapes += symbols / all * plane.escapes;
    }

    /// A block that does not become smaller is stored as it is.
    fn limit(&mut self, raw_bits: f64) {
        let limit = |bits: &mut f64| *bits = bits.min(raw_bits);
        self.fixed.iter_mut().for_each(limit);
        self.builtin.iter_mut().for_each(limit);
        self.families.iter_mut().flatten().for_each(limit);
    }
}

/// What measures the shards of a plane.
struct Meter<'a> {
    pricer: Pricer<'a>,
    average: &'a Pmf,
    builtin: &'a [&'a Codebook],
}

impl Meter<'_> {
    /// Bits a symbol of a shard; those of the remainder included.
    fn cost(&self, counts: &[u64], shift: i32, codes: Option<&FixedCodes>) -> Cost {
        let (Some(pmf), Some(aligned)) = (aligned(counts, 0), aligned(counts, shift)) else {
            return Cost::default();
        };
        let kept = self.pricer.kept(&pmf);
        let mut cost = Cost {
            shannon: pmf.entropy() + kept,
            huffman: pmf.huffman_bits() + kept,
            kl: aligned.kl_divergence(self.average).max(0.0),
            ..Cost::default()
        };
        let (limit, mean) = (self.pricer.limit(counts, &pmf), self.pricer.mean(counts));
        if let Some(FixedCodes { book, families, .. }) = codes {
            let priced = self.pricer.around(book, &pmf, mean);
            if let Some(families) = families {
                let bits = |lengths: &Vec<u8>| mean_bits(lengths, &pmf) + self.pricer.remainder;
                cost.families = families.each_ref().map(|lengths| Some(bits(lengths).min(limit)));
            }
            cost.fixed = Some(priced.0.min(limit));
            cost.escapes = self.pricer.escapes(book, &pmf, priced.1);
        }
        let builtin = self.pricer.cheapest(self.builtin, &pmf, mean, FINALISTS);
        cost.builtin = builtin.map(|bits| bits.min(limit));
        cost
    }
}

fn plane_result(
    index: usize,
    plane: &Plane,
    average: &Pmf,
    shown: Option<&FixedCodes>,
) -> PlaneResult {
    let p = average.probabilities();
    let symbols = &p[..p.len().min(ZERO)];
    let occurs = |p: &f64| *p > 0.0;
    let first = symbols.iter().position(occurs).unwrap_or(0);
    let end = symbols.iter().rposition(occurs).map_or(0, |last| last + 1);
    let offset = if plane.centred { CENTRE as i32 } else { 0 };
    let book = shown.map(|codes| (&codes.book, codes.base));
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
        zero_share: p.get(ZERO).copied(),
        zero_bits: p.get(ZERO).map(|_| zero_bits),
        escape_bits: if escape > 0 { escape + 8 } else { 0 },
        escaped: escaped.map(|symbol| symbol as i32 - offset).collect(),
    }
}
