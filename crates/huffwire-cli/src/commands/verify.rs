//! `huffwire verify`.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use crate::args::VerifyArgs;
use crate::container::Container;
use crate::failure;
use crate::pipeline::Workers;
use crate::progress;
use crate::report::{Stream, printable, size};
use crate::unpack;

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

/// Decodes everything and reports. The exit code tells whether all is well.
pub(crate) fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let started = Instant::now();
    let workers = Workers::new(args.common.threads)?;
    let container = Container::open(&args.input)?;
    let set = container.set(args.codebooks.codebooks.as_deref())?;
    let directory = &container.directory;
    let bar = progress::bytes(directory.raw_bytes(), args.common.quiet);
    let (mut blocks, mut damaged_blocks, mut damaged) = (0, 0, Vec::new());
    let jobs = directory.items().flat_map(unpack::jobs);
    unpack::decode(&container, &set, &workers, jobs, |job, bytes| {
        bar.inc(job.block.raw_bytes as u64);
        blocks += 1;
        let Err(error) = bytes else { return Ok(()) };
        damaged_blocks += 1;
        if damaged.len() < DESCRIBED {
            damaged.push(Damage {
                tensor: job.item.tensor.as_ref().map(|tensor| tensor.name.clone()),
                block: job.index,
                offset: job.block.offset,
                error: failure::message(&error),
            });
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    let report = Report {
        ok: damaged_blocks == 0,
        tensors: directory.items().filter(|item| item.tensor.is_some()).count(),
        blocks,
        raw_bytes: directory.raw_bytes(),
        coded_bytes: container.file.bytes(),
        checksums: directory.checksums,
        damaged_blocks,
        damaged,
        seconds: started.elapsed().as_secs_f64(),
    };
    if args.common.json {
        Stream::Stdout.print_json(&report)?;
    } else {
        print(&report, &container, args.common.quiet)?;
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &Report, container: &Container, quiet: bool) -> Result<()> {
    for damage in &report.damaged {
        Stream::Stderr.print(&format!("error: {}\n", printable(&damage.error)))?;
    }
    let label = printable(container.file.label());
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
