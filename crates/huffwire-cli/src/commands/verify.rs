//! `huffwire verify`.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use huffwire_io::Reader;
use serde::Serialize;

use crate::args::VerifyArgs;
use crate::failure;
use crate::files;
use crate::progress;
use crate::quantized::{Part, QuantizedFile};
use crate::report::{Stream, printable, size};

/// Damaged blocks that are described; more are only counted.
const DESCRIBED: usize = 100;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    tensors: usize,
    blocks: u64,
    raw_bytes: u64,
    coded_bytes: u64,
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
    block: usize,
    offset: u64,
    error: String,
}

/// What `--json` prints when it does not even come to blocks.
#[derive(Debug, Serialize)]
struct Unreadable {
    ok: bool,
    error: String,
}

/// Decodes everything and reports. The exit code tells whether all is well.
pub(crate) fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let ok = match check(args) {
        Ok((report, label)) => {
            if args.common.json {
                Stream::Stdout.print_json(&report)?;
            } else {
                print(&report, &label, args.common.quiet)?;
            }
            report.ok
        }
        // Who reads the JSON should not have to read messages too.
        Err(error) if args.common.json => {
            let error = failure::message(&error);
            Stream::Stdout.print_json(&Unreadable { ok: false, error })?;
            false
        }
        Err(error) => return Err(error),
    };
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was found, and how messages call the file.
fn check(args: &VerifyArgs) -> Result<(Report, String)> {
    let file = files::open(&args.input)?;
    let start = file.start(8)?;
    if huffwire::gradient::file::is_one(&start) {
        let file = QuantizedFile::read(file)?;
        let checked = quantized(args, &file)?;
        file.file.check_length()?;
        return Ok(checked);
    }
    let workers = files::workers(args.common.threads)?;
    let mut reader = files::read_hw(file, &workers)?;
    if let Some(path) = &args.codebooks.codebooks {
        reader = reader.with_codebooks_file(path)?;
    }
    let checked = lossless(args, &reader)?;
    reader.file().check_length()?;
    Ok(checked)
}

fn lossless(args: &VerifyArgs, reader: &Reader) -> Result<(Report, String)> {
    let started = Instant::now();
    let directory = reader.directory();
    let bar = progress::bytes(directory.raw_bytes(), args.common.quiet);
    let (mut blocks, mut damaged_blocks, mut damaged) = (0, 0, Vec::new());
    let jobs = directory.items().flat_map(Reader::blocks);
    reader.decode_blocks(jobs, |job, bytes| {
        bar.inc(job.block.raw_bytes as u64);
        blocks += 1;
        let Err(error) = bytes else { return Ok(()) };
        damaged_blocks += 1;
        if damaged.len() < DESCRIBED {
            damaged.push(Damage {
                tensor: job.item.tensor.as_ref().map(|tensor| tensor.name.clone()),
                block: job.index,
                offset: job.block.offset,
                error: failure::message(&error.into()),
            });
        }
        Ok::<(), huffwire_io::Error>(())
    })?;
    bar.finish_and_clear();
    let report = Report {
        ok: damaged_blocks == 0,
        tensors: directory.items().filter(|item| item.tensor.is_some()).count(),
        blocks,
        raw_bytes: directory.raw_bytes(),
        coded_bytes: reader.file().bytes(),
        checksums: directory.checksums,
        damaged_blocks,
        damaged,
        seconds: started.elapsed().as_secs_f64(),
    };
    Ok((report, reader.file().label().to_owned()))
}

/// A quantized tensor is a message: one block.
fn quantized(args: &VerifyArgs, file: &QuantizedFile) -> Result<(Report, String)> {
    let started = Instant::now();
    let entries = &file.directory.entries;
    let bar = progress::bytes(file.file.bytes(), args.common.quiet);
    let (mut raw_bytes, mut damaged_blocks, mut damaged) = (0, 0, Vec::new());
    for entry in entries {
        bar.inc(entry.range.end - entry.range.start);
        let mut bytes = 0;
        let decoded = file.decode(entry, |part| {
            bytes += match part {
                Part::Kept(bytes) => bytes.len() as u64,
                Part::Floats(floats) => 4 * floats.len() as u64,
            };
            Ok(())
        });
        match decoded {
            Ok(()) => raw_bytes += bytes,
            Err(error) => {
                damaged_blocks += 1;
                if damaged.len() < DESCRIBED {
                    let (tensor, offset) = (Some(entry.name.clone()), entry.range.start);
                    let error = failure::message(&error);
                    damaged.push(Damage { tensor, block: 0, offset, error });
                }
            }
        }
    }
    bar.finish_and_clear();
    let report = Report {
        ok: damaged_blocks == 0,
        tensors: entries.len(),
        blocks: entries.len() as u64,
        raw_bytes,
        coded_bytes: file.file.bytes(),
        checksums: true,
        damaged_blocks,
        damaged,
        seconds: started.elapsed().as_secs_f64(),
    };
    Ok((report, file.file.label().to_owned()))
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
    Stream::Stdout.print(&format!(
        "{label}: {} tensors, {} blocks, {} -> {}: everything decodes, {checked}\n",
        report.tensors,
        report.blocks,
        size(report.coded_bytes),
        size(report.raw_bytes),
    ))
}
