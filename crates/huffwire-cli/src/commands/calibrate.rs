//! `huffwire calibrate`.

use std::ops::Range;
use std::time::Instant;

use anyhow::{Result, bail};
use huffwire::calibrate::{Calibration, Collector, KindReport, Options, Profile, kind_of};
use huffwire::{Dtype, SymbolRule};
use huffwire_io::{Input, Origin, Piece, Workers};
use serde::Serialize;

use crate::args::{CalibrateArgs, Kinds};
use crate::files;
use crate::progress;
use crate::report::{Stream, Table, printable};

/// Bytes of elements counted at a time.
const BLOCK_BYTES: usize = 1 << 18;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    codebook_set: String,
    name: &'a str,
    /// Books in the set, built-in ones included.
    books: usize,
    shards: usize,
    kinds: Vec<Kind<'a>>,
    seconds: f64,
}

/// What was found for one plane of one kind of tensors. Bits are per symbol, averaged over shards.
#[derive(Debug, Serialize)]
struct Kind<'a> {
    kind: &'a str,
    dtype: &'static str,
    layout: &'static str,
    plane: u8,
    shards: usize,
    books: &'a [u8],
    shannon_bits: f64,
    huffman_bits: f64,
    book_bits: f64,
    mean_kl_bits: f64,
}

/// Counts symbols in all inputs and writes the codebooks made from them.
pub(crate) fn run(args: &CalibrateArgs) -> Result<()> {
    let started = Instant::now();
    let workers = files::workers(args.common.threads)?;
    let rule = SymbolRule::from(args.symbols);
    let mut inputs = Vec::new();
    for path in &args.inputs {
        inputs.extend(files::open_tensors(path, &args.raw)?);
    }
    let origins: Vec<&Origin> = inputs.iter().map(|input| input.file.origin()).collect();
    let mut output = files::create(&args.output, args.force, &origins)?;
    let mut collector = Collector::new(rule);
    collect(&inputs, rule, args, &workers, &mut collector)?;
    if collector.shards() == 0 {
        bail!("the input has no tensor to make codebooks from");
    }
    inputs.iter().try_for_each(|input| input.file.check_length())?;
    let calibration = collector.build(&options(args))?;
    output.write(&calibration.set.to_bytes())?;
    output.finish()?;

    let stream = if files::is_stdout(&args.output) { Stream::Stderr } else { Stream::Stdout };
    if args.common.json {
        stream.print_json(&Report {
            codebook_set: calibration.set.id().to_string(),
            name: calibration.set.name(),
            books: calibration.set.books().len(),
            shards: collector.shards(),
            kinds: calibration.kinds.iter().map(kind).collect(),
            seconds: started.elapsed().as_secs_f64(),
        })
    } else if args.common.quiet {
        Ok(())
    } else {
        stream.print(&text(args, &calibration, collector.shards()))
    }
}

fn options(args: &CalibrateArgs) -> Options {
    let default = Options::default();
    Options {
        name: args.name.clone().unwrap_or(default.name),
        codes: args.codes.limit(),
        books_per_kind: args.books_per_kind.map(|n| n.get()),
        smoothing: args.smoothing.unwrap_or(default.smoothing),
        builtin: !args.no_builtin,
    }
}

/// A part of a tensor whose symbols are to be counted.
struct Job<'a> {
    input: &'a Input,
    piece: &'a Piece,
    range: Range<u64>,
}

fn collect(
    inputs: &[Input],
    rule: SymbolRule,
    args: &CalibrateArgs,
    workers: &Workers,
    collector: &mut Collector,
) -> Result<()> {
    let tensors =
        || inputs.iter().flat_map(|input| input.tensors().map(move |(_, piece)| (input, piece)));
    let jobs = tensors().flat_map(|(input, piece)| {
        let size = block_bytes(piece.dtype);
        let starts = piece.range.clone().step_by(size);
        starts.map(move |start| {
            let range = start..piece.range.end.min(start + size as u64);
            Job { input, piece, range }
        })
    });
    let count = |job: &Job<'_>, slot: &mut Option<Profile>| {
        let bytes = job.input.file.read(job.range.clone())?;
        let mut profile = Profile::new(job.piece.dtype, rule);
        profile.add(&bytes)?;
        *slot = Some(profile);
        Ok::<(), anyhow::Error>(())
    };
    let bar = progress::bytes(tensors().map(|(_, p)| p.bytes()).sum(), args.common.quiet);
    let mut tensor: Option<Profile> = None;
    workers.run(BLOCK_BYTES, jobs, count, |job, slot| {
        let Some(part) = slot.take() else { return Ok(()) };
        match &mut tensor {
            Some(profile) => profile.merge(&part),
            none => *none = Some(part),
        }
        bar.inc(job.range.end - job.range.start);
        if job.range.end == job.piece.range.end
            && let Some(profile) = tensor.take()
        {
            let kind = match args.kinds {
                Kinds::Names => kind_of(job.piece.name()),
                Kinds::One => "*".to_owned(),
            };
            collector.push(&kind, profile)?;
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(())
}

const fn block_bytes(dtype: Dtype) -> usize {
    BLOCK_BYTES / dtype.unit_bytes() * dtype.unit_bytes()
}

fn kind(report: &KindReport) -> Kind<'_> {
    Kind {
        kind: &report.kind,
        dtype: report.dtype.name(),
        layout: report.layout.name(),
        plane: report.plane,
        shards: report.shards,
        books: &report.books,
        shannon_bits: report.shannon_bits,
        huffman_bits: report.huffman_bits,
        book_bits: report.book_bits,
        mean_kl_bits: report.mean_kl_bits,
    }
}

fn text(args: &CalibrateArgs, calibration: &Calibration, shards: usize) -> String {
    let headings =
        ["kind", "type", "symbols", "shards", "books", "bits/symbol", "Huffman", "Shannon", "KL"];
    let mut table = Table::new(headings).flush_left(1).flush_left(2);
    for report in &calibration.kinds {
        let books: Vec<String> = report.books.iter().map(|book| format!("#{book}")).collect();
        table.row([
            printable(&report.kind),
            report.dtype.to_string(),
            format!("{} {}", report.layout, report.plane),
            report.shards.to_string(),
            books.join(" "),
            format!("{:.3}", report.book_bits),
            format!("{:.3}", report.huffman_bits),
            format!("{:.3}", report.shannon_bits),
            format!("{:.3}", report.mean_kl_bits),
        ]);
    }
    let set = &calibration.set;
    format!(
        "{table}\n{shards} shards -> {}: set {} ({}), {} codebooks{}\n",
        printable(&args.output.display().to_string()),
        set.id(),
        printable(set.name()),
        set.books().len(),
        if args.no_builtin { "" } else { ", built-in ones included" },
    )
}
