//! `huffwire inspect`.

mod quantized;

use anyhow::Result;
use huffwire::CodebookSet;
use huffwire::file::{Item, TensorInfo};
use huffwire_io::{Reader, Usage};
use serde::Serialize;

use super::codebooks;
use crate::args::InspectArgs;
use crate::files;
use crate::progress;
use crate::quantized::QuantizedFile;
use crate::report::{Stream, Table, percent, printable, saving, shape, size};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    file_bytes: u64,
    raw_bytes: u64,
    saving_percent: f64,
    checksums: bool,
    block_bytes: u64,
    codebook_set: String,
    codebook_set_embedded: bool,
    sources: Vec<SourceReport<'a>>,
}

/// One original file.
#[derive(Debug, Serialize)]
struct SourceReport<'a> {
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
    dtype: Option<&'a str>,
    shape: Option<&'a [u64]>,
    element: &'static str,
    raw_bytes: u64,
    coded_bytes: u64,
    saving_percent: f64,
    blocks: usize,
    /// `None` when the codebooks are not at hand.
    layout: Option<String>,
    codebook: Option<String>,
}

/// Shows what is in a file.
pub(crate) fn run(args: &InspectArgs) -> Result<()> {
    let file = files::open(&args.input)?;
    let start = file.start(8)?;
    if huffwire::gradient::file::is_one(&start) {
        return quantized::run(args, &QuantizedFile::read(file)?);
    }
    if !huffwire_io::is_codebook_file(&start) {
        let workers = files::workers(args.common.threads)?;
        let mut reader = files::read_hw(file, &workers)?;
        if let Some(path) = &args.codebooks.codebooks {
            reader = reader.with_codebooks_file(path)?;
        }
        return lossless(args, &reader);
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

fn lossless(args: &InspectArgs, reader: &Reader) -> Result<()> {
    let directory = reader.directory();
    // Without the codebooks everything but their use can still be told.
    let set = reader.codebooks().ok();
    let usages = match &set {
        Some(_) => {
            let bar = progress::bytes(directory.raw_bytes(), args.common.quiet);
            let usages = reader.usages(|bytes| bar.inc(bytes))?;
            bar.finish_and_clear();
            usages
        }
        None => Vec::new(),
    };
    let mut usages = usages.iter();
    let mut item_report = |item| {
        let usage = usages.next().zip(set.map(|set| &**set));
        ItemReport::of(item, usage)
    };
    let sources = directory.sources.iter().map(|source| SourceReport {
        name: &source.name,
        raw_bytes: source.raw_bytes(),
        coded_bytes: source.items.iter().map(Item::coded_bytes).sum(),
        items: source.items.iter().map(&mut item_report).collect(),
    });
    let report = Report {
        file_bytes: reader.file().bytes(),
        raw_bytes: directory.raw_bytes(),
        saving_percent: saving(directory.raw_bytes(), reader.file().bytes()),
        checksums: directory.checksums,
        block_bytes: 1 << directory.block_log2,
        codebook_set: directory.set.to_string(),
        codebook_set_embedded: directory.embedded.is_some(),
        sources: sources.collect(),
    };
    if args.common.json {
        Stream::Stdout.print_json(&report)
    } else if args.common.quiet {
        // Whether it can be read, the exit code tells.
        Ok(())
    } else {
        Stream::Stdout.print(&text(reader.file().label(), &report, set.map(|set| &**set)))
    }
}

impl<'a> ItemReport<'a> {
    fn of(item: &'a Item, usage: Option<(&Usage, &CodebookSet)>) -> Self {
        let tensor: Option<&TensorInfo> = item.tensor.as_ref();
        let (raw_bytes, coded_bytes) = (item.raw_bytes, item.coded_bytes());
        Self {
            name: tensor.map(|tensor| tensor.name.as_str()),
            dtype: tensor.map(|tensor| tensor.dtype.as_str()),
            shape: tensor.map(|tensor| tensor.shape.as_slice()),
            element: item.dtype.name(),
            raw_bytes,
            coded_bytes,
            saving_percent: saving(raw_bytes, coded_bytes),
            blocks: item.blocks().count(),
            layout: usage.map(|(usage, _)| usage.layouts()),
            codebook: usage.map(|(usage, set)| usage.codebooks(set)),
        }
    }
}

fn text(label: &str, report: &Report<'_>, set: Option<&CodebookSet>) -> String {
    let embedded = match (report.codebook_set_embedded, set) {
        (true, _) => "embedded",
        (false, Some(set)) if set.id() == CodebookSet::builtin().id() => "built in",
        (false, Some(_)) => "given",
        (false, None) => "not at hand: pass --codebooks FILE",
    };
    let mut out = format!(
        "{}: {} -> {}, saved {}\nblocks of {}, {} checksums, codebook set {} ({embedded})\n",
        printable(label),
        size(report.raw_bytes),
        size(report.file_bytes),
        percent(report.saving_percent),
        size(report.block_bytes),
        if report.checksums { "with" } else { "without" },
        report.codebook_set,
    );
    for source in &report.sources {
        let (raw, coded) = (size(source.raw_bytes), size(source.coded_bytes));
        out.push_str(&format!("\n{}: {raw} -> {coded}\n", printable(source.name)));
        let headings =
            ["tensor", "dtype", "shape", "size", "coded", "saved", "blocks", "layout", "codebooks"];
        let mut table = Table::new(headings);
        for column in [1, 2, 7, 8] {
            table = table.flush_left(column);
        }
        for item in &source.items {
            let unknown = || "?".to_owned();
            table.row([
                item.name.map_or_else(|| "(no tensor)".to_owned(), printable),
                item.dtype.map_or_else(|| "-".to_owned(), printable),
                item.shape.map_or_else(|| "-".to_owned(), shape),
                size(item.raw_bytes),
                size(item.coded_bytes),
                percent(item.saving_percent),
                item.blocks.to_string(),
                item.layout.clone().unwrap_or_else(unknown),
                item.codebook.clone().unwrap_or_else(unknown),
            ]);
        }
        out.push_str(&table.to_string());
    }
    out
}
