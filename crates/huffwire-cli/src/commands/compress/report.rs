//! What is told of a file that was compressed.

use std::collections::BTreeMap;

use anyhow::Result;
use huffwire::{Level, SymbolRule};
use huffwire_io::{Analysis, Input, Matches, WriteOptions, Written};
use serde::Serialize;

use crate::delta_report::{self, DeltaReport, MatchReport};
use crate::failure;
use crate::report::{Table, percent, printable, saving, size};
use crate::usage::{self, CodebookCount, LayoutCount};

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    raw_bytes: u64,
    /// The whole .hw file.
    file_bytes: u64,
    saving_percent: f64,
    tensors: Vec<TensorReport<'a>>,
    /// With `--base`: how tensors were matched, and what all deltas are together.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    base: Option<MatchReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<DeltaReport>,
    /// Bytes of the originals that are no tensor, such as their headers.
    other_raw_bytes: u64,
    other_coded_bytes: u64,
    /// File header, directory and trailer.
    container_bytes: u64,
    codebook_set: String,
    codebook_set_embedded: bool,
    symbols: &'static str,
    level: &'static str,
    /// Whether the input was removed.
    removed: bool,
    /// Why it was kept, if it was to be removed; else what is worth knowing of how it was taken.
    note: Option<String>,
    /// As what the input was taken, if its name says otherwise.
    #[serde(skip)]
    taken: Option<String>,
    seconds: f64,
}

/// One tensor.
#[derive(Debug, Serialize)]
struct TensorReport<'a> {
    name: &'a str,
    original: &'a str,
    dtype: &'static str,
    /// The type as the original spells it.
    original_dtype: &'a str,
    shape: &'a [u64],
    raw_bytes: u64,
    coded_bytes: u64,
    /// What its blocks are coded with.
    codebooks: Vec<CodebookCount>,
    layouts: Vec<LayoutCount>,
    /// The codebooks, for people.
    #[serde(skip)]
    coded_with: String,
    /// Saved at the entropy of the tensor's own distribution. Only with `--stats`, as the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    shannon_saving_percent: Option<f64>,
    /// Saved by a Huffman code made for this very tensor, its codebook not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    huffman_saving_percent: Option<f64>,
    saving_percent: f64,
    /// What changed since the base, if it is stored so.
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<DeltaReport>,
}

impl<'a> Report<'a> {
    /// What was written, and how long that took.
    pub(super) fn new(
        options: &WriteOptions,
        written: &'a Written,
        matches: Option<Matches>,
        (removal, taken): (&Option<Result<()>>, Option<String>),
        seconds: f64,
    ) -> Self {
        let directory = &written.directory;
        let none = Analysis::default();
        let originals = directory.originals.iter();
        let items =
            originals.flat_map(|original| original.items.iter().map(move |item| (original, item)));
        let mut tensors = Vec::new();
        let (mut other_raw_bytes, mut other_coded_bytes) = (0, 0);
        for (index, (original, item)) in items.enumerate() {
            let (raw, coded) = (item.raw_bytes, item.coded_bytes());
            let Some(tensor) = &item.tensor else {
                other_raw_bytes += raw;
                other_coded_bytes += coded;
                continue;
            };
            let analysis = written.analyses.get(index).unwrap_or(&none);
            let ideal = analysis.ideal;
            // An empty tensor has no distribution, and nothing to save.
            let ideal_saving = |bytes: Option<f64>| {
                let saved = |bytes| huffwire::stats::saving_percent(raw as f64, bytes);
                let has_ideals = options.ideals && analysis.delta.is_none();
                has_ideals.then(|| bytes.map_or(0.0, saved))
            };
            tensors.push(TensorReport {
                name: &tensor.name,
                original: &original.name,
                dtype: item.dtype.name(),
                original_dtype: &tensor.dtype,
                shape: &tensor.shape,
                raw_bytes: raw,
                coded_bytes: coded,
                codebooks: usage::codebooks(&analysis.usage, &options.codebooks),
                layouts: usage::layouts(&analysis.usage),
                coded_with: match &analysis.delta {
                    Some(delta) => format!("delta: {}", delta.blocks()),
                    None => analysis.usage.codebooks(&options.codebooks),
                },
                delta: analysis.delta.as_ref().map(DeltaReport::of),
                shannon_saving_percent: ideal_saving(ideal.map(|ideal| ideal.shannon_bytes)),
                huffman_saving_percent: ideal_saving(ideal.map(|ideal| ideal.huffman_bytes)),
                saving_percent: saving(raw, coded),
            });
        }
        let (raw_bytes, file_bytes) = (directory.raw_bytes(), written.bytes);
        let blocks: u64 = directory.items().map(huffwire::file::Item::coded_bytes).sum();
        let usages = || written.analyses.iter().filter_map(|analysis| analysis.delta.as_ref());
        let delta = matches.is_some().then(|| DeltaReport::of(&delta_report::sum(usages())));
        Self {
            raw_bytes,
            file_bytes,
            saving_percent: saving(raw_bytes, file_bytes),
            tensors,
            base: matches.map(MatchReport::new),
            delta,
            other_raw_bytes,
            other_coded_bytes,
            container_bytes: file_bytes - blocks,
            codebook_set: options.codebooks.id().to_string(),
            codebook_set_embedded: options.embed,
            symbols: match options.encode.rule {
                SymbolRule::Auto => "auto",
                SymbolRule::Bytes => "bytes",
                SymbolRule::BytePlanes => "byte-planes",
            },
            level: match options.encode.level {
                Level::Fast => "fast",
                Level::Max => "max",
            },
            removed: matches!(removal, Some(Ok(()))),
            note: failure::why_kept(removal).or_else(|| taken.clone()),
            taken,
            seconds,
        }
    }

    /// The report for people.
    pub(super) fn text(&self, verbose: bool, inputs: &[Input], label: &str) -> String {
        let mut text = if verbose { table(self) } else { String::new() };
        if let Some(taken) = &self.taken {
            text.push_str(&format!("{}\n", printable(taken)));
        }
        text.push_str(&summary(self, inputs, label));
        if let (Some(base), Some(delta)) = (&self.base, &self.delta) {
            let ratio = delta_report::ratio(self.raw_bytes, self.file_bytes);
            text.push_str(&format!("{}{}; {ratio} times smaller\n", base.text(), delta.text()));
        }
        text
    }
}

fn table(report: &Report<'_>) -> String {
    let headings = ["tensor", "dtype", "size", "coded", "saved", "Huffman", "Shannon", "codebooks"];
    let mut table = Table::new(headings).flush_left(1).flush_left(7);
    let ideal = |saving: Option<f64>| saving.map_or_else(|| "-".to_owned(), percent);
    for tensor in &report.tensors {
        table.row([
            printable(tensor.name),
            printable(tensor.original_dtype),
            size(tensor.raw_bytes),
            size(tensor.coded_bytes),
            percent(tensor.saving_percent),
            ideal(tensor.huffman_saving_percent),
            ideal(tensor.shannon_saving_percent),
            tensor.coded_with.clone(),
        ]);
    }
    format!("{table}\n")
}

/// A line about the whole, and one for each type if there are several.
fn summary(report: &Report<'_>, inputs: &[Input], label: &str) -> String {
    let mut types: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for tensor in &report.tensors {
        let (count, raw, coded) = types.entry(tensor.original_dtype).or_default();
        *count += 1;
        *raw += tensor.raw_bytes;
        *coded += tensor.coded_bytes;
    }
    let from = match inputs {
        [one] => one.file.label().to_owned(),
        [index, ..] => format!("{} and its shards", index.file.label()),
        [] => String::new(),
    };
    let mut text = format!(
        "{} -> {}: {} -> {}, saved {}, {}/s\n",
        printable(&from),
        printable(label),
        size(report.raw_bytes),
        size(report.file_bytes),
        percent(report.saving_percent),
        size((report.raw_bytes as f64 / report.seconds.max(1e-9)) as u64),
    );
    if types.len() > 1 {
        for (dtype, (count, raw, coded)) in types {
            let tensors = if count == 1 { "tensor" } else { "tensors" };
            text.push_str(&format!(
                "  {:<8} {count} {tensors}, {} -> {}, saved {}\n",
                printable(dtype),
                size(raw),
                size(coded),
                percent(saving(raw, coded)),
            ));
        }
    }
    text
}
