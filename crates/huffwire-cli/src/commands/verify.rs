//! `huffwire verify`.

use std::time::Instant;

use anyhow::Result;
use huffwire::Kind;
use huffwire::file::Item;
use huffwire_io::Reader;
use serde::Serialize;

use crate::args::VerifyArgs;
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
    /// Blocks, and the headers of quantized tensors.
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
    /// `None` for the header of a quantized tensor, without which its blocks cannot be decoded.
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
    let mut reader = files::open_hw(&args.input, &files::workers(args.common.threads)?)?;
    if let Some(path) = &args.codebooks.codebooks {
        reader = reader.with_codebooks_file(path)?;
    }
    let checked = decode(args, &reader)?;
    reader.file().check_length()?;
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
    let jobs = readable.into_iter().flat_map(Reader::blocks);
    reader.decode_blocks(jobs, |job, bytes| {
        bar.inc(job.block.raw_bytes as u64);
        blocks += 1;
        if let Err(error) = bytes {
            found.add(job.item, Some(job.index), job.block.offset, error);
        }
        Ok::<(), huffwire_io::Error>(())
    })?;
    bar.finish_and_clear();
    let report = Report {
        ok: found.count == 0,
        tensors: directory.items().filter(|item| item.tensor.is_some()).count(),
        lossy_tensors: directory.items().filter(|item| item.kind == Kind::Values).count(),
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
    Stream::Stdout.print(&format!(
        "{label}: {} tensors{lossy}, {} blocks, {} -> {}: everything decodes, {checked}\n",
        report.tensors,
        report.blocks,
        size(report.file_bytes),
        size(report.raw_bytes),
    ))
}
