//! `huffwire verify`.

use std::time::Instant;

use anyhow::Result;
use huffwire::Kind;
use huffwire::file::Item;
use huffwire_io::{BlockJob, Error, Reader};
use serde::Serialize;

use crate::args::VerifyArgs;
use crate::bases;
use crate::failure;
use crate::files;
use crate::progress;
use crate::report::{Stream, printable, size};

/// Damaged blocks that are described; more are only counted.
const DESCRIBED: usize = 100;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    tensors: usize,
    /// Of these so many are quantized.
    lossy_tensors: usize,
    /// Of these so many are deltas.
    delta_tensors: usize,
    /// Whether deltas were decoded: only with their base.
    deltas_decoded: bool,
    /// Blocks, and the headers of quantized tensors and of deltas.
    blocks: u64,
    /// Bytes of the files that it restores.
    raw_bytes: u64,
    file_bytes: u64,
    /// Whether blocks carry checksums: without them not all damage is found.
    checksums: bool,
    damaged_blocks: u64,
    /// The first of them.
    damaged: Vec<Damage>,
    seconds: f64,
}

/// A block that does not decode.
#[derive(Debug, Serialize)]
struct Damage {
    /// `None` for a block that belongs to no tensor, such as the original file's header.
    tensor: Option<String>,
    /// `None` for the header of a quantized tensor or of a delta, without which its blocks cannot be decoded.
    block: Option<usize>,
    offset: u64,
    error: String,
}

/// All damage, of which only the first is described.
#[derive(Debug, Default)]
struct Found {
    count: u64,
    described: Vec<Damage>,
}

impl Found {
    fn add(&mut self, item: &Item, block: Option<usize>, offset: u64, error: huffwire_io::Error) {
        self.count += 1;
        if self.described.len() < DESCRIBED {
            let tensor = item.tensor.as_ref().map(|tensor| tensor.name.clone());
            let error = failure::message(&error.into());
            self.described.push(Damage { tensor, block, offset, error });
        }
    }
}

/// Decodes everything and reports. The exit code tells whether all is well.
pub(crate) fn run(args: &VerifyArgs) -> Result<u8> {
    let (report, label) = check(args)?;
    if args.common.json {
        Stream::Stdout.print_json(&report)?;
    } else {
        print(&report, &label, args.common.quiet)?;
    }
    Ok(if report.ok { failure::SUCCESS } else { failure::FAILURE })
}

/// What was found, and how messages call the file.
fn check(args: &VerifyArgs) -> Result<(Report, String)> {
    let reader = files::open_hw(&args.input, &files::workers(args.common.threads)?)?;
    let reader = bases::give(reader, &args.base.bases, args.codebooks.codebooks.as_deref())?;
    if reader.base().is_some() {
        reader.check_base()?;
    }
    let checked = decode(args, &reader)?;
    reader.check_length()?;
    Ok(checked)
}

fn decode(args: &VerifyArgs, reader: &Reader) -> Result<(Report, String)> {
    let started = Instant::now();
    let directory = reader.directory();
    let bar = progress::bytes(directory.raw_bytes(), args.common.quiet);
    let (mut blocks, mut found) = (0, Found::default());
    // Every codebook that is missing would be the damage of each block.
    reader.check_codebooks()?;
    let mut readable = Vec::new();
    for item in directory.items() {
        let Some(header) = item.kind_header() else {
            readable.push(item);
            continue;
        };
        blocks += 1;
        match reader.check_kind_header(item) {
            Ok(()) => readable.push(item),
            Err(error) => {
                blocks += item.blocks().count() as u64;
                bar.inc(item.raw_bytes);
                found.add(item, None, header.offset, error);
            }
        }
    }
    let decodes_deltas = reader.base().is_some();
    let is_decoded = |item: &&Item| item.kind != Kind::Delta || decodes_deltas;
    let (decoded, checked): (Vec<_>, Vec<_>) = readable.into_iter().partition(is_decoded);
    let mut note = |job: &BlockJob<'_>, error: Option<Error>| {
        bar.inc(job.block.raw_bytes as u64);
        blocks += 1;
        match error {
            // The base is at fault, not the file.
            Some(error @ (Error::WrongBase { .. } | Error::BaseUnreadable { .. })) => {
                return Err(error);
            }
            Some(error) => found.add(job.item, Some(job.index), job.block.offset, error),
            None => {}
        }
        Ok(())
    };
    let jobs = decoded.into_iter().flat_map(Reader::blocks);
    reader.decode_blocks(jobs, |job, bytes| note(job, bytes.err()))?;
    let jobs = checked.into_iter().flat_map(Reader::blocks);
    reader.check_delta_blocks(jobs, |job, header| note(job, header.err()))?;
    bar.finish_and_clear();
    let tensors = || directory.items().filter(|item| item.tensor.is_some());
    let of_kind = |kind| tensors().filter(|item| item.kind == kind).count();
    let report = Report {
        ok: found.count == 0,
        tensors: tensors().count(),
        lossy_tensors: of_kind(Kind::Values),
        delta_tensors: of_kind(Kind::Delta),
        deltas_decoded: decodes_deltas,
        blocks,
        raw_bytes: directory.raw_bytes(),
        file_bytes: reader.file().bytes(),
        checksums: directory.checksums,
        damaged_blocks: found.count,
        damaged: found.described,
        seconds: started.elapsed().as_secs_f64(),
    };
    Ok((report, reader.file().label().to_owned()))
}

fn print(report: &Report, label: &str, quiet: bool) -> Result<()> {
    for damage in &report.damaged {
        Stream::Stderr.print(&format!("error: {}\n", printable(&damage.error)))?;
    }
    let label = printable(label);
    if !report.ok {
        let (damaged, blocks) = (report.damaged_blocks, report.blocks);
        let verdict = format!("error: {label}: {damaged} of {blocks} blocks are damaged\n");
        return Stream::Stderr.print(&verdict);
    }
    if quiet {
        return Ok(());
    }
    let checked = match report.checksums {
        true => "all checksums agree",
        false => "it carries no checksums, so damage may go unnoticed",
    };
    let lossy = match report.lossy_tensors {
        0 => String::new(),
        count => format!(" ({count} of them quantized)"),
    };
    let (decodes, unchecked) = match (report.delta_tensors, report.deltas_decoded) {
        (0, _) | (_, true) => ("everything decodes", String::new()),
        (count, false) => (
            "everything else decodes",
            format!(
                "{label}: {count} of the tensors are deltas: their blocks were read, and not decoded; pass --base OLD to \
                 check what they make of it\n"
            ),
        ),
    };
    Stream::Stdout.print(&format!(
        "{unchecked}{label}: {} tensors{lossy}, {} blocks, {} -> {}: {decodes}, {checked}\n",
        report.tensors,
        report.blocks,
        size(report.file_bytes),
        size(report.raw_bytes),
    ))
}
