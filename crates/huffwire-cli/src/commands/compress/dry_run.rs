//! `huffwire compress --dry-run`: what would be saved, from a sample.

use std::time::{Duration, Instant};

use anyhow::Result;
use huffwire_io::tree::{Direction, Plan, Request};
use huffwire_io::{Estimate, Group, Input, WriteOptions, estimate};
use serde::Serialize;

use crate::args::CompressArgs;
use crate::commands::many;
use crate::failure::{self, FailureReport};
use crate::files::{self, is_dash};
use crate::report::{Stream, Table, count, percent, printable, saving, size};

/// How long blocks are encoded.
const TIME: Duration = Duration::from_millis(400);
/// How long everything takes, if finding the tensors leaves time for it: less than a second.
const WHOLE_TIME: Duration = Duration::from_millis(900);

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether everything could be read.
    ok: bool,
    dry_run: bool,
    input_files: usize,
    raw_bytes: u64,
    /// Of all .hw files together, estimated.
    file_bytes: u64,
    saving_percent: f64,
    sampled_bytes: u64,
    dtypes: Vec<Dtype>,
    failures: Vec<FailureReport>,
    seconds: f64,
}

/// The tensors of a type.
#[derive(Debug, Serialize)]
struct Dtype {
    /// The type as the files spell it; null for the bytes around tensors.
    original_dtype: Option<String>,
    dtype: &'static str,
    /// Whether these are stored as what changed since the base.
    delta: bool,
    tensors: u64,
    raw_bytes: u64,
    coded_bytes: u64,
    saving_percent: f64,
    sampled_bytes: u64,
}

impl From<Group> for Dtype {
    fn from(group: Group) -> Self {
        Self {
            saving_percent: saving(group.raw_bytes, group.coded_bytes),
            original_dtype: group.original_dtype,
            dtype: group.dtype.name(),
            delta: group.delta,
            tensors: group.tensors,
            raw_bytes: group.raw_bytes,
            coded_bytes: group.coded_bytes,
            sampled_bytes: group.sampled_bytes,
        }
    }
}

/// Estimates, reports, and returns the exit code.
pub(super) fn run(args: &CompressArgs, options: &WriteOptions) -> Result<u8> {
    let started = Instant::now();
    let (inputs, failures) = inputs(args)?;
    let time = TIME.min(WHOLE_TIME.saturating_sub(started.elapsed()));
    let Estimate { groups, raw_bytes, file_bytes } = estimate(&inputs, options, time)?;
    let report = Report {
        ok: failures.is_empty(),
        dry_run: true,
        input_files: inputs.len(),
        raw_bytes,
        file_bytes,
        saving_percent: saving(raw_bytes, file_bytes),
        sampled_bytes: groups.iter().map(|group| group.sampled_bytes).sum(),
        dtypes: groups.into_iter().map(Dtype::from).collect(),
        failures,
        seconds: started.elapsed().as_secs_f64(),
    };
    if args.common.json {
        Stream::Stdout.print_json(&report)?;
    } else {
        for failure in &report.failures {
            failure::print(&failure.error);
        }
        if !args.common.quiet {
            Stream::Stdout.print(&text(&report))?;
        }
    }
    Ok(if report.ok { failure::SUCCESS } else { failure::FAILURE })
}

/// All files that would be compressed, and what cannot be read.
fn inputs(args: &CompressArgs) -> Result<(Vec<Input>, Vec<FailureReport>)> {
    if let [one] = &args.inputs[..]
        && !many::is_many(&args.inputs, &args.many)
    {
        // Blocks are read in any order, so standard input is set aside.
        let inputs = match args.many.recursive && !is_dash(one) {
            true => super::open_any(one)?.0,
            false => files::open_tensors(one, &args.raw)?,
        };
        return Ok((inputs, Vec::new()));
    }
    let request = Request {
        direction: Direction::Compress,
        inputs: &args.inputs,
        recursive: args.many.recursive,
        output: args.output.as_deref(),
    };
    let plan = Plan::new(&request)?;
    let (mut inputs, mut failures) = (Vec::new(), Vec::new());
    for (path, error) in plan.failures {
        failures.push(FailureReport::new(&path, &error.into()));
    }
    for job in &plan.jobs {
        match super::open_job(args, job) {
            Ok((opened, _)) => inputs.extend(opened),
            Err(error) => failures.push(FailureReport::new(&job.source, &error)),
        }
    }
    Ok((inputs, failures))
}

fn text(report: &Report) -> String {
    let mut table = Table::new(["dtype", "tensors", "size", "coded", "saved", "sampled"]);
    for row in &report.dtypes {
        table.row([
            match (row.original_dtype.as_deref(), row.delta) {
                (None, _) => "(no tensor)".to_owned(),
                (Some(dtype), false) => printable(dtype),
                (Some(dtype), true) => format!("{}, changes", printable(dtype)),
            },
            row.tensors.to_string(),
            size(row.raw_bytes),
            size(row.coded_bytes),
            percent(row.saving_percent),
            match row.sampled_bytes == row.raw_bytes {
                true => "all".to_owned(),
                false => size(row.sampled_bytes),
            },
        ]);
    }
    format!(
        "{table}\n{}: {} -> about {}, would save about {}\n",
        count(report.input_files as u64, "file"),
        size(report.raw_bytes),
        size(report.file_bytes),
        percent(report.saving_percent),
    )
}
