//! `huffwire inspect`.

mod quantized;

use std::sync::Arc;

use anyhow::{Context, Result};
use huffwire::file::{BlockRef, Item, TensorInfo};
use huffwire::{CodebookSet, Decoder, INSPECT_BYTES};
use serde::Serialize;

use super::codebooks;
use crate::args::InspectArgs;
use crate::books;
use crate::container::Container;
use crate::input_file::InputFile;
use crate::pipeline::Workers;
use crate::progress;
use crate::quantized::QuantizedFile;
use crate::report::{Stream, Table, percent, printable, saving, shape, size};
use crate::usage::Usage;

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
    let file = InputFile::open(&args.input)?;
    let start = file.read(0..file.bytes().min(8))?;
    if huffwire::gradient::file::is_one(&start) {
        return quantized::run(args, &QuantizedFile::read(file)?);
    }
    if Container::is_one(&start) || !books::is_book_file(&start) {
        return container(args, &Container::read(file)?);
    }
    let set = books::read(&file)?;
    if args.common.json {
        Stream::Stdout.print_json(&codebooks::Set::of(&set))
    } else if args.common.quiet {
        Ok(())
    } else {
        Stream::Stdout.print(&codebooks::listing(&set))
    }
}

fn container(args: &InspectArgs, container: &Container) -> Result<()> {
    let directory = &container.directory;
    let given = args.codebooks.codebooks.as_deref();
    // Without the codebooks everything but their use can still be told.
    let set = match given {
        Some(path) => Some(container.books(Some(path))?.set),
        None => container.books(None).ok().map(|books| books.set),
    };
    let usages = match &set {
        Some(set) => usages(args, container, set)?,
        None => Vec::new(),
    };
    let mut usages = usages.iter();
    let mut item_report = |item| {
        let usage = usages.next().zip(set.as_deref());
        ItemReport::of(item, usage)
    };
    let sources = directory.sources.iter().map(|source| SourceReport {
        name: &source.name,
        raw_bytes: source.raw_bytes(),
        coded_bytes: source.items.iter().map(Item::coded_bytes).sum(),
        items: source.items.iter().map(&mut item_report).collect(),
    });
    let report = Report {
        file_bytes: container.file.bytes(),
        raw_bytes: directory.raw_bytes(),
        saving_percent: saving(directory.raw_bytes(), container.file.bytes()),
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
        Stream::Stdout.print(&text(container.file.label(), &report, set.as_deref()))
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

/// A block whose header is to be read.
struct Job<'a> {
    item: &'a Item,
    /// The item's number among all items.
    index: usize,
    block: BlockRef,
}

/// Which codebooks the blocks of each item use.
fn usages(args: &InspectArgs, container: &Container, set: &Arc<CodebookSet>) -> Result<Vec<Usage>> {
    let workers = Workers::new(args.common.threads)?;
    let directory = &container.directory;
    let mut usages = vec![Usage::default(); directory.items().count()];
    let jobs = directory
        .items()
        .enumerate()
        .flat_map(|(index, item)| item.blocks().map(move |block| Job { item, index, block }));
    let decoder = Decoder::new(Arc::clone(set));
    let read = |job: &Job<'_>, slot: &mut Option<_>| {
        // Only the header of a block is read: checksums cannot be checked, which is what `verify`
        // is for.
        let length = job.block.coded_bytes.min(INSPECT_BYTES) as u64;
        let header = container.file.read(job.block.offset..job.block.offset + length)?;
        let (element, raw_bytes) = (job.item.dtype, job.block.raw_bytes);
        let info = decoder.inspect_block(element, directory.checksums, &header, raw_bytes);
        *slot = Some(info.with_context(|| {
            let what = Container::describe(job.item);
            let label = container.file.label();
            format!("{label}: {what}: the block at offset {} is damaged", job.block.offset)
        })?);
        Ok(())
    };
    let bar = progress::bytes(directory.raw_bytes(), args.common.quiet);
    workers.run(1 << directory.block_log2, jobs, read, |job, slot| {
        bar.inc(job.block.raw_bytes as u64);
        if let Some(info) = slot.take() {
            usages[job.index].add(&info);
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(usages)
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
