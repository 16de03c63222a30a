//! The analysis as a whole: count, measure, and put the result together.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use huffwire::CodebookSet;
use huffwire::stats::saving_percent;
use huffwire_io::Workers;

use crate::collect::{self, Collection, Key, Shard};
use crate::error::{Error, Result};
use crate::input::File;
use crate::kind::{Cost, Kind, Measured};
use crate::models::models;
use crate::options::{Form, Options, rule_name};
use crate::packed::values;
use crate::plan::{MostAlone, OTHERS, ROWS};
use crate::result::{Analysis, FileInfo, KindResult, ShardResult, Totals};
use crate::timeline::Run;

/// Rows whose planes are described: those with the most bytes.
const WITH_PLANES: usize = 256;

/// Bytes that [`analyze`] reads: those of all tensors, some of them twice.
#[must_use]
pub fn bytes_to_read(files: &[File<'_>], calibrate_on: &[File<'_>], options: &Options) -> u64 {
    collect::bytes_to_read(files, options) + collect::bytes_to_read(calibrate_on, options)
}

/// Analyzes the tensors of files.
///
/// The fixed codebook of each kind is made from the files `calibrate_on`; where there are none, from the other files,
/// layers or shards than the one that it is measured on. `progress` is told the bytes read since its last call, which may be
/// 0; an error of it, such as [`Error::Stopped`], ends the analysis.
///
/// # Errors
/// [`Error::Options`] for options that cannot be, [`Error::NoTensor`] when there is nothing to analyze, [`Error::File`]
/// when a file cannot be read.
pub fn analyze(
    files: &[File<'_>],
    calibrate_on: &[File<'_>],
    options: &Options,
    workers: &Workers,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Analysis> {
    options.check()?;
    let (numbers, calibration_numbers) = number_models(files, calibrate_on, options);
    let most = MostAlone::analyzed(options);
    let collection = collect::collect(files, &numbers, options, most, workers, progress)?;
    if collection.kinds.is_empty() {
        return Err(Error::NoTensor);
    }
    let (numbers_too, most) = (&calibration_numbers, MostAlone::calibration(options));
    let calibration =
        collect::collect(calibrate_on, numbers_too, options, most, workers, progress)?;
    let with_calibration = !calibrate_on.is_empty();

    let kinds: Vec<(&Key, &Vec<Shard>)> = collection.kinds.iter().collect();
    // Threads share kinds where there are many, and else the shards of each.
    let caller = Workers::caller();
    let many = kinds.len() >= 4 * workers.threads();
    let (outer, inner) = if many { (workers, &caller) } else { (&caller, workers) };
    let builtin = CodebookSet::builtin();
    let with_planes = largest(&kinds, options)?;
    let mut measured = Vec::new();
    let measure = |&number: &usize, slot: &mut Option<Measured>| {
        let (key, shards) = kinds[number];
        let form = form_of(key, options)?;
        let calibration =
            with_calibration.then(|| calibration.kinds.get(key).map_or(&[][..], Vec::as_slice));
        let (leave_out, with_planes) = (options.leave_out, with_planes.contains(&number));
        let kind = Kind { form, shards, calibration, leave_out, with_planes };
        *slot = Some(kind.measure(&builtin, inner)?);
        Ok::<(), Error>(())
    };
    outer.run(1 << 18, 0..kinds.len(), measure, |_, slot| {
        measured.extend(slot.take());
        Ok(())
    })?;

    let names: Vec<Vec<&str>> = files
        .iter()
        .map(|file| file.tensors().iter().map(|t| t.info.name.as_str()).collect())
        .collect();
    let mut analysis = Analysis {
        files: infos(files, &numbers),
        calibrated_on: infos(calibrate_on, &calibration_numbers),
        notes: Vec::new(),
        total: Totals::default(),
        kinds: Vec::new(),
        timeline: None,
    };
    let mut total = Sums::default();
    for ((key, shards), measured) in kinds.iter().zip(measured) {
        let form = form_of(key, options)?;
        if key.form == 0 {
            total.add(form, shards, &measured.costs);
        }
        let mut result = kind_result(key, form, shards, &measured);
        result.planes = measured.planes;
        if result.groups.is_none() {
            result.per_shard = Some(shard_results(form, shards, &measured.costs, &names));
        }
        analysis.kinds.push(result);
    }
    analysis.total = total.percent();
    analysis.notes = notes(&analysis, &collection, options);
    if let Some(limits) = options.timeline {
        let (counted, calibration) = (&collection, &calibration);
        let run = Run { files, calibrate_on, counted, calibration, options };
        let (timeline, more) = run.timeline(limits, workers, progress)?;
        analysis.timeline = Some(timeline);
        analysis.notes.extend(more);
    }
    Ok(analysis)
}

/// The rows with the most bytes, whose planes are described.
fn largest(kinds: &[(&Key, &Vec<Shard>)], options: &Options) -> Result<BTreeSet<usize>> {
    let mut order = Vec::new();
    for (number, (key, shards)) in kinds.iter().enumerate() {
        order.push((Reverse(bytes_of(form_of(key, options)?, shards)), number));
    }
    order.sort_unstable();
    Ok(order.into_iter().take(WITH_PLANES).map(|(_, number)| number).collect())
}

/// Bytes of the values of a row.
fn bytes_of(form: Form, shards: &[Shard]) -> u64 {
    let units: u64 = shards.iter().map(|shard| shard.profile.units).sum();
    (units as f64 * form.raw_bits() / 8.0).round() as u64
}

/// The form of a row.
fn form_of(key: &Key, options: &Options) -> Result<Form> {
    let form = options.forms(key.source).get(key.form).copied();
    form.ok_or_else(|| Error::Options(format!("{}: no such form", key.source)))
}

/// The models of the files of both sorts.
fn number_models(
    files: &[File<'_>],
    calibrate_on: &[File<'_>],
    options: &Options,
) -> (Vec<usize>, Vec<usize>) {
    let all: Vec<&File<'_>> = files.iter().chain(calibrate_on).collect();
    let mut numbers = models(&all, options);
    let calibration = numbers.split_off(files.len());
    (numbers, calibration)
}

fn infos(files: &[File<'_>], numbers: &[usize]) -> Vec<FileInfo> {
    let info = |(file, &model): (&File<'_>, &usize)| FileInfo { name: file.name.clone(), model };
    files.iter().zip(numbers).map(info).collect()
}

fn kind_result(key: &Key, form: Form, shards: &[Shard], measured: &Measured) -> KindResult {
    let costs = &measured.costs;
    let raw = form.raw_bits();
    // A group of shards weighs as much as its shards.
    let weights = || shards.iter().map(|shard| shard.shards as f64);
    let all: f64 = weights().sum();
    let mean = |bits: fn(&Cost) -> f64| {
        weights().zip(costs).map(|(weight, cost)| weight * bits(cost)).sum::<f64>() / all
    };
    let mean_of = |bits: fn(&Cost) -> Option<f64>| {
        let sum = weights().zip(costs).map(|(weight, cost)| Some(weight * bits(cost)?));
        sum.sum::<Option<f64>>().map(|sum| sum / all)
    };
    let (shannon, huffman) = (mean(|cost| cost.shannon), mean(|cost| cost.huffman));
    let fixed = mean_of(|cost| cost.fixed);
    let over = |best: f64| fixed.filter(|_| best > 0.0).map(|fixed| 100.0 * (fixed / best - 1.0));
    KindResult {
        name: key.name.clone(),
        model: key.model,
        dtype: form.dtype.name().to_owned(),
        converted_from: form.scaling.map(|_| key.source.name().to_owned()),
        scaling: form.scaling,
        symbols: rule_name(form.rule).to_owned(),
        layout: measured.layout.name().to_owned(),
        shards: shards.iter().map(|shard| shard.shards).sum(),
        groups: shards.iter().any(|shard| shard.group.is_some()).then_some(shards.len()),
        values: shards.iter().map(|shard| values(form.dtype, shard.profile.units)).sum(),
        bytes: bytes_of(form, shards),
        shannon_saving_percent: saving_percent(raw, shannon),
        huffman_saving_percent: saving_percent(raw, huffman),
        fixed_saving_percent: fixed.map(|bits| saving_percent(raw, bits)),
        fixed_from: fixed.and(measured.fixed_from),
        quad_length_saving_percent: mean_of(|cost| cost.families[0])
            .map(|bits| saving_percent(raw, bits)),
        dual_length_saving_percent: mean_of(|cost| cost.families[1])
            .map(|bits| saving_percent(raw, bits)),
        builtin_saving_percent: mean_of(|cost| cost.builtin).map(|bits| saving_percent(raw, bits)),
        over_huffman_percent: over(huffman),
        over_shannon_percent: over(shannon),
        mean_kl_bits: mean(|cost| cost.kl),
        max_kl_bits: costs.iter().map(|cost| cost.kl).fold(0.0, f64::max),
        escape_percent: 100.0 * mean(|cost| cost.escapes),
        planes: Vec::new(),
        per_shard: None,
    }
}

fn shard_results(
    form: Form,
    shards: &[Shard],
    costs: &[Cost],
    names: &[Vec<&str>],
) -> Vec<ShardResult> {
    let saving = |bits: f64| saving_percent(form.raw_bits(), bits);
    let result = |(shard, cost): (&Shard, &Cost)| {
        let place = shard.place;
        let name =
            names.get(place.file as usize).and_then(|names| names.get(place.tensor as usize));
        ShardResult {
            file: place.file,
            tensor: name.copied().unwrap_or_default().to_owned(),
            layer: place.layer,
            shard: place.shard,
            values: values(form.dtype, shard.profile.units),
            shannon_saving_percent: saving(cost.shannon),
            huffman_saving_percent: saving(cost.huffman),
            fixed_saving_percent: cost.fixed.map(saving),
            builtin_saving_percent: cost.builtin.map(saving),
            kl_bits: cost.kl,
        }
    };
    shards.iter().zip(costs).map(result).collect()
}

/// Bits of all tensors.
#[derive(Default)]
struct Sums {
    shards: u64,
    raw: f64,
    shannon: f64,
    huffman: f64,
    fixed: f64,
    builtin: f64,
}

impl Sums {
    fn add(&mut self, form: Form, shards: &[Shard], costs: &[Cost]) {
        for (shard, cost) in shards.iter().zip(costs) {
            let (units, raw) = (shard.profile.units as f64, form.raw_bits());
            self.shards += shard.shards;
            self.raw += units * raw;
            self.shannon += units * cost.shannon;
            self.huffman += units * cost.huffman;
            self.fixed += units * cost.fixed.unwrap_or(raw);
            self.builtin += units * cost.builtin.unwrap_or(raw);
        }
    }

    fn percent(&self) -> Totals {
        let saving = |bits| saving_percent(self.raw, bits);
        Totals {
            bytes: (self.raw / 8.0).round() as u64,
            shards: self.shards,
            shannon_saving_percent: saving(self.shannon),
            huffman_saving_percent: saving(self.huffman),
            fixed_saving_percent: saving(self.fixed),
            builtin_saving_percent: saving(self.builtin),
        }
    }
}

/// Kinds of which a row is such. A kind has a row for each type that it was converted to, and for each symbol rule.
fn count(analysis: &Analysis, is_meant: impl Fn(&KindResult) -> bool) -> usize {
    let meant = analysis.kinds.iter().filter(|kind| is_meant(kind));
    let kind = |row: &KindResult| {
        let source = row.converted_from.clone().unwrap_or_else(|| row.dtype.clone());
        (row.model, row.name.clone(), source)
    };
    meant.map(kind).collect::<BTreeSet<(usize, String, String)>>().len()
}

fn notes(analysis: &Analysis, collection: &Collection, options: &Options) -> Vec<String> {
    let mut notes = Vec::new();
    let mut models: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for file in analysis.files.iter().chain(&analysis.calibrated_on) {
        models.entry(file.model).or_default().push(&file.name);
    }
    if models.len() > 1 {
        let models = models.iter().map(|(number, names)| {
            let more = names.len().saturating_sub(3);
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("model {number}: {}{rest}", names[..names.len().min(3)].join(", "))
        });
        let models: Vec<String> = models.collect();
        notes.push(format!(
            "the files are of different models, since tensors of the same kind have no shape in common, and are not averaged \
             with each other ({})",
            models.join("; ")
        ));
    }
    if collection.empty > 0 {
        notes.push(format!("{} tensors without values were left out", collection.empty));
    }
    if collection.whole > 0 {
        notes.push(format!(
            "{} tensors stayed whole: they have no axis {}, or cannot be cut into {} shards along it",
            collection.whole, options.axis, options.shards
        ));
    }
    let others = collection.others;
    if others > 0 {
        notes.push(format!(
            "the result has room for {ROWS} kinds and forms, so {others} tensors are together in kinds of the name {OTHERS}"
        ));
    }
    let without = count(analysis, |kind| kind.fixed_saving_percent.is_none());
    if without > 0 {
        notes.push(format!("{without} kinds have no tensors in the files to calibrate on"));
    }
    let itself = count(analysis, |kind| kind.fixed_from == Some("itself"));
    if itself > 0 {
        notes.push(format!(
            "{itself} kinds have only one part to make a codebook from, so their fixed codebook was made from what it codes"
        ));
    }
    let crowded = count(analysis, |kind| kind.per_shard.is_none());
    if crowded > 0 {
        notes.push(format!(
            "the shards of {crowded} kinds are too many to be counted alone: those of a kind were counted in groups, and the \
             figures of the kind are of groups in place of shards"
        ));
    }
    notes
}
