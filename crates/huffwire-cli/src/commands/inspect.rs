//! `huffwire inspect`.

use anyhow::Result;
use huffwire::file::{Item, SetRef, TensorInfo};
use huffwire::{CodebookSet, Kind};
use huffwire_io::{ByteCount, DeltaUsage, Reader, Usage};
use serde::Serialize;

use super::codebooks;
use crate::args::InspectArgs;
use crate::delta_report::{self, DeltaReport};
use crate::files;
use crate::progress;
use crate::report::{Stream, Table, count, percent, printable, saving, shape, size};
use crate::usage::{self, CodebookCount, LayoutCount};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    file_bytes: u64,
    raw_bytes: u64,
    saving_percent: f64,
    /// Tensors that are quantized: floats near the original ones are restored from them.
    lossy_tensors: usize,
    /// Tensors that are deltas, which need a base.
    delta_tensors: usize,
    /// What all deltas are together.
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<DeltaReport>,
    checksums: bool,
    block_bytes: u64,
    codebook_sets: Vec<SetReport>,
    originals: Vec<OriginalReport<'a>>,
}

/// A codebook set that the file names.
#[derive(Debug, Serialize)]
struct SetReport {
    id: String,
    /// Where the set is found: `embedded`, `built in`, `given`, or `missing`.
    found: &'static str,
}

/// One original file.
#[derive(Debug, Serialize)]
struct OriginalReport<'a> {
    name: &'a str,
    raw_bytes: u64,
    coded_bytes: u64,
    items: Vec<ItemReport<'a>>,
}

/// A tensor, or bytes around tensors.
#[derive(Debug, Serialize)]
struct ItemReport<'a> {
    /// `None` for bytes that are no tensor.
    name: Option<&'a str>,
    kind: &'static str,
    dtype: &'static str,
    /// The type as the original spells it.
    original_dtype: Option<&'a str>,
    shape: Option<&'a [u64]>,
    raw_bytes: u64,
    coded_bytes: u64,
    saving_percent: f64,
    blocks: usize,
    /// `None` when the codebooks are not at hand, and for quantized tensors.
    layouts: Option<Vec<LayoutCount>>,
    codebooks: Option<Vec<CodebookCount>>,
    /// `None` where nothing is quantized; so are the fields below.
    quantizer: Option<&'static str>,
    parameters: Option<String>,
    encoder: Option<&'static str>,
    scales: Option<usize>,
    /// Only for a delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<DeltaReport>,
    /// The layouts and the codebooks, for people.
    #[serde(skip)]
    layout: Option<String>,
    #[serde(skip)]
    codebook: Option<String>,
}

/// Shows what is in a file.
pub(crate) fn run(args: &InspectArgs) -> Result<()> {
    let file = files::open(&args.input)?;
    if !huffwire_io::is_codebook_file(&file.start(8)?) {
        let workers = files::workers(args.common.threads)?;
        let mut reader = files::read_hw(file, &workers)?;
        if let Some(path) = &args.codebooks.codebooks {
            reader = reader.with_codebooks_file(path)?;
        }
        return tensors(args, &reader);
    }
    let set = huffwire_io::read_codebooks(file)?;
    if args.common.json {
        Stream::Stdout.print_json(&codebooks::Set::of(&set))
    } else if args.common.quiet {
        Ok(())
    } else {
        Stream::Stdout.print(&codebooks::listing(&set))
    }
}

fn tensors(args: &InspectArgs, reader: &Reader) -> Result<()> {
    let directory = reader.directory();
    let bar = progress::bytes(directory.raw_bytes(), args.common.quiet);
    let usages = reader.usages(|bytes| bar.inc(bytes))?;
    let deltas = reader.delta_usages(|bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    let all_deltas = delta_report::sum(deltas.iter().flatten());
    let mut usages = usages.iter().zip(&deltas);
    let mut originals = Vec::new();
    for original in &directory.originals {
        let mut items = Vec::new();
        for item in &original.items {
            let (usage, delta) = usages.next().unwrap_or((&None, &None));
            items.push(ItemReport::of(reader, item, (usage.as_ref(), delta.as_ref()))?);
        }
        originals.push(OriginalReport {
            name: &original.name,
            raw_bytes: original.raw_bytes(),
            coded_bytes: original.items.iter().map(Item::coded_bytes).sum(),
            items,
        });
    }
    let report = Report {
        file_bytes: reader.file().bytes(),
        raw_bytes: directory.raw_bytes(),
        saving_percent: saving(directory.raw_bytes(), reader.file().bytes()),
        lossy_tensors: directory.items().filter(|item| item.kind == Kind::Values).count(),
        delta_tensors: reader.tensors().filter(|(_, item)| item.kind == Kind::Delta).count(),
        delta: reader.has_deltas().then(|| DeltaReport::of(&all_deltas)),
        checksums: directory.checksums,
        block_bytes: 1 << directory.block_log2,
        codebook_sets: directory.sets.iter().map(|set| SetReport::of(reader, set)).collect(),
        originals,
    };
    if args.common.json {
        Stream::Stdout.print_json(&report)
    } else if args.common.quiet {
        // Whether it can be read, the exit code tells.
        Ok(())
    } else {
        Stream::Stdout.print(&text(reader.file().label(), &report))
    }
}

impl SetReport {
    fn of(reader: &Reader, set: &SetRef) -> Self {
        let found = if set.embedded.is_some() {
            "embedded"
        } else if set.id == CodebookSet::builtin().id() {
            "built in"
        } else if reader.sets().any(|found| found.id() == set.id) {
            "given"
        } else {
            "missing"
        };
        Self { id: set.id.to_string(), found }
    }
}

impl<'a> ItemReport<'a> {
    fn of(
        reader: &Reader,
        item: &'a Item,
        (usage, delta): (Option<&Usage>, Option<&DeltaUsage>),
    ) -> Result<Self> {
        let tensor: Option<&TensorInfo> = item.tensor.as_ref();
        let (raw_bytes, coded_bytes) = (item.raw_bytes, item.coded_bytes());
        let values = reader.values_header(item)?;
        let values = values.as_ref();
        let codebooks = |usage: &Usage| Some(usage.codebooks(reader.codebooks_of(item).ok()?));
        Ok(Self {
            name: tensor.map(|tensor| tensor.name.as_str()),
            kind: item.kind.name(),
            dtype: item.dtype.name(),
            original_dtype: tensor.map(|tensor| tensor.dtype.as_str()),
            shape: tensor.map(|tensor| tensor.shape.as_slice()),
            raw_bytes,
            coded_bytes,
            saving_percent: saving(raw_bytes, coded_bytes),
            blocks: item.blocks().count(),
            layouts: usage.map(usage::layouts),
            codebooks: usage
                .and_then(|usage| Some(usage::codebooks(usage, reader.codebooks_of(item).ok()?))),
            layout: usage.map(Usage::layouts),
            codebook: usage.and_then(codebooks),
            quantizer: values.map(|header| header.quantizer.name()),
            parameters: values.map(|header| header.quantizer.to_string()),
            encoder: values.map(|header| header.encoder.name()),
            scales: values.map(|header| header.scales),
            delta: delta.map(DeltaReport::of),
        })
    }

    /// How its elements became symbols: the layouts of its blocks, or the quantizer.
    fn form(&self) -> String {
        if let Some(delta) = &self.delta {
            return delta.cells().0;
        }
        match (&self.layout, &self.parameters, self.scales) {
            (_, Some(parameters), Some(1)) => format!("{parameters}, 1 scale"),
            (_, Some(parameters), Some(scales)) => format!("{parameters}, {scales} scales"),
            (Some(layout), ..) => layout.clone(),
            _ => "?".to_owned(),
        }
    }

    /// What coded it: codebooks, or an encoder of quantized values.
    fn coder(&self) -> String {
        if let Some(delta) = &self.delta {
            return delta.cells().1;
        }
        let encoder = self.encoder.map(|encoder| format!("encoder {encoder}"));
        encoder.or_else(|| self.codebook.clone()).unwrap_or_else(|| "?".to_owned())
    }
}

fn text(label: &str, report: &Report<'_>) -> String {
    let set = |set: &SetReport| match set.found {
        "missing" => format!("{} (not at hand: pass --codebooks FILE)", set.id),
        found => format!("{} ({found})", set.id),
    };
    let sets: Vec<String> = report.codebook_sets.iter().map(set).collect();
    let sets = if sets.is_empty() { "none".to_owned() } else { sets.join(", ") };
    let mut out = format!(
        "{}: {} -> {}, saved {}\nblocks of {}, {} checksums, codebook set {}\n",
        printable(label),
        size(report.raw_bytes),
        size(report.file_bytes),
        percent(report.saving_percent),
        ByteCount(report.block_bytes),
        if report.checksums { "with" } else { "without" },
        sets,
    );
    match report.lossy_tensors {
        0 => {}
        1 => out.push_str("1 tensor is quantized: its floats come back near the original ones\n"),
        count => out.push_str(&format!(
            "{count} tensors are quantized: their floats come back near the original ones\n"
        )),
    }
    if let Some(delta) = &report.delta {
        let tensors = count(report.delta_tensors as u64, "tensor");
        out.push_str(&format!("{tensors} stored as what changed since a base: {}\n", delta.text()));
        let headings = ["kind of block", "blocks", "changed", "coded", "bits each"];
        let mut table = Table::new(headings);
        delta.blocks().iter().for_each(|blocks| table.row(blocks.row()));
        out.push_str(&table.to_string());
    }
    for original in &report.originals {
        let (raw, coded) = (size(original.raw_bytes), size(original.coded_bytes));
        out.push_str(&format!("\n{}: {raw} -> {coded}\n", printable(original.name)));
        let headings = [
            "tensor",
            "dtype",
            "shape",
            "size",
            "coded",
            "saved",
            "blocks",
            "layout or quantizer",
            "coded with",
        ];
        let mut table = Table::new(headings);
        for column in [1, 2, 7, 8] {
            table = table.flush_left(column);
        }
        for item in &original.items {
            table.row([
                item.name.map_or_else(|| "(no tensor)".to_owned(), printable),
                item.original_dtype.map_or_else(|| "-".to_owned(), printable),
                item.shape.map_or_else(|| "-".to_owned(), shape),
                size(item.raw_bytes),
                size(item.coded_bytes),
                percent(item.saving_percent),
                item.blocks.to_string(),
                item.form(),
                item.coder(),
            ]);
        }
        out.push_str(&table.to_string());
    }
    out
}
