//! `huffwire fold` and `huffwire reverse`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use huffwire_io::{Base, Matches, Origin, WriteOptions, Writer, Written};
use serde::Serialize;

use crate::args::{ChainArgs, FoldArgs, ReverseArgs};
use crate::bases;
use crate::books::{self, Books};
use crate::delta_report::{self, DeltaReport, MatchReport};
use crate::files;
use crate::progress;
use crate::report::{Stream, printable, saving, size};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    raw_bytes: u64,
    file_bytes: u64,
    saving_percent: f64,
    deltas: usize,
    #[serde(flatten)]
    base: MatchReport,
    delta: DeltaReport,
    seconds: f64,
}

/// Makes one delta of a chain.
pub(crate) fn fold(args: &FoldArgs) -> Result<()> {
    run(&args.chain, |base, result| (base, result))
}

/// Makes the delta from the result of a chain to its base.
pub(crate) fn reverse(args: &ReverseArgs) -> Result<()> {
    run(&args.chain, |base, result| (result, base))
}

/// Writes a delta between the ends of a chain: `ends` tells from which one to which one.
fn run(
    args: &ChainArgs,
    ends: impl FnOnce(Arc<Base>, Arc<Base>) -> (Arc<Base>, Arc<Base>),
) -> Result<()> {
    let started = Instant::now();
    let workers = files::workers(args.common.threads)?;
    let Books { set, origin } = books::load_or_builtin(args.codebooks.codebooks.as_deref())?;
    let encode = args.coder.options(&set)?;
    let raw = args.raw.options();
    let open = |paths: &[PathBuf]| -> Result<Arc<Base>> {
        let given = args.codebooks.codebooks.as_deref();
        match bases::open(paths, raw.as_ref(), given)? {
            Some(base) => Ok(base),
            None => bail!("a chain needs a base"),
        }
    };
    let all: Vec<PathBuf> = std::iter::once(&args.base).chain(&args.deltas).cloned().collect();
    let (from, to) = ends(open(&all[..1])?, open(&all)?);
    let matches = from.matches_of_base(&to);
    let origins: Vec<Origin> = [&from, &to].iter().flat_map(|b| b.origins()).cloned().collect();
    let origins: Vec<&Origin> = origins.iter().chain(&origin).collect();
    let output = files::create(&args.output, args.force, &origins)?;
    let label = output.label().to_owned();
    let options =
        WriteOptions { encode, workers, analyse: true, ideals: false, ..WriteOptions::default() };
    let options = WriteOptions { base: Some(Arc::clone(&from)), ..options }.with_codebooks(set);
    let mut writer = Writer::new(output, options)?;
    let bar = progress::bytes(to.raw_bytes(), args.common.quiet);
    writer.add_base(&to, |bytes| bar.inc(bytes))?;
    let written = writer.finish()?;
    bar.finish_and_clear();
    let stream = if files::is_stdout(&args.output) { Stream::Stderr } else { Stream::Stdout };
    let report = report(args, &written, matches, started.elapsed().as_secs_f64());
    if args.common.json {
        stream.print_json(&report)
    } else if args.common.quiet {
        Ok(())
    } else {
        stream.print(&text(&report, &label))
    }
}

fn report(args: &ChainArgs, written: &Written, matches: Matches, seconds: f64) -> Report {
    let usage = delta_report::sum(written.analyses.iter().filter_map(|a| a.delta.as_ref()));
    let raw_bytes = written.directory.raw_bytes();
    Report {
        raw_bytes,
        file_bytes: written.bytes,
        saving_percent: saving(raw_bytes, written.bytes),
        deltas: args.deltas.len(),
        base: MatchReport::new(matches),
        delta: DeltaReport::of(&usage),
        seconds,
    }
}

fn text(report: &Report, label: &str) -> String {
    format!(
        "{}: {} -> {}, {} times smaller\n{}{}\n",
        printable(label),
        size(report.raw_bytes),
        size(report.file_bytes),
        delta_report::ratio(report.raw_bytes, report.file_bytes),
        report.base.text(),
        report.delta.text(),
    )
}
