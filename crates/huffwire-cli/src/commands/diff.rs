//! `huffwire diff`.

use anyhow::Result;
use huffwire_io::{Change, ReadOptions, TensorFile, TensorRef, diff};
use serde::Serialize;

use crate::args::DiffArgs;
use crate::bases;
use crate::failure;
use crate::files;
use crate::progress;
use crate::report::{Stream, Table, printable};

/// What `--json` prints.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// Whether both files have the same tensors.
    equal: bool,
    equal_tensors: u64,
    changed_tensors: u64,
    /// Tensors that only one of the files has.
    missing_tensors: u64,
    elements: u64,
    changed_elements: u64,
    /// Of the elements of tensors that both files have in one type and shape.
    changed_percent: f64,
    tensors: Vec<Tensor>,
}

/// A tensor.
#[derive(Debug, Serialize)]
struct Tensor {
    name: String,
    /// `equal`, `changed`, `reshaped`, `only-first` or `only-second`.
    status: &'static str,
    dtype: &'static str,
    shape: Vec<u64>,
    raw_bytes: u64,
    /// `None` where elements were not compared.
    changed_elements: Option<u64>,
    changed_percent: Option<f64>,
}

impl Report {
    fn add(&mut self, tensor: &TensorRef<'_>, change: &Change) {
        let all = tensor.dtype.values_in(tensor.bytes).unwrap_or(tensor.bytes);
        let (status, changed) = match *change {
            Change::Equal => ("equal", Some(0)),
            Change::Changed { changed, .. } => ("changed", Some(changed)),
            Change::Reshaped => ("reshaped", None),
            Change::OnlyFirst => ("only-first", None),
            Change::OnlySecond => ("only-second", None),
        };
        match change {
            Change::Equal => self.equal_tensors += 1,
            Change::Changed { .. } | Change::Reshaped => self.changed_tensors += 1,
            Change::OnlyFirst | Change::OnlySecond => self.missing_tensors += 1,
        }
        if let Some(changed) = changed {
            self.elements += all;
            self.changed_elements += changed;
        }
        self.tensors.push(Tensor {
            name: tensor.info.name.clone(),
            status,
            dtype: tensor.dtype.name(),
            shape: tensor.info.shape.clone(),
            raw_bytes: tensor.bytes,
            changed_elements: changed,
            changed_percent: changed.map(|changed| share(changed, all)),
        });
    }
}

fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { 100.0 * part as f64 / all as f64 }
}

/// Compares and reports. The exit code is 0 if all tensors are equal and 1 if not; an error is 2, as for `diff`.
pub(crate) fn run(args: &DiffArgs) -> Result<u8> {
    let workers = files::workers(args.common.threads)?;
    let open = |path| -> Result<TensorFile> {
        let options = ReadOptions { workers: workers.clone(), ..ReadOptions::default() };
        let codebooks = args.codebooks.codebooks.as_deref();
        bases::open_tensors(path, &args.raw, codebooks, &args.base, options)
    };
    let (first, second) = (open(&args.first)?, open(&args.second)?);
    let total = first.tensors().iter().map(|tensor| tensor.bytes).sum();
    let bar = progress::bytes(total, args.common.quiet);
    let mut report = Report::default();
    let found = |tensor: &TensorRef<'_>, change| {
        report.add(tensor, &change);
        Ok::<(), anyhow::Error>(())
    };
    diff(&first, &second, found, |bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    report.equal = report.changed_tensors + report.missing_tensors == 0;
    report.changed_percent = share(report.changed_elements, report.elements);
    if args.common.json {
        Stream::Stdout.print_json(&report)?;
    } else if !args.common.quiet {
        Stream::Stdout.print(&text(&report))?;
    }
    Ok(if report.equal { failure::SUCCESS } else { failure::FAILURE })
}

fn text(report: &Report) -> String {
    let mut table = Table::new(["tensor", "status", "dtype", "changed elements", "share"])
        .flush_left(1)
        .flush_left(2);
    let different = report.tensors.iter().filter(|tensor| tensor.status != "equal");
    let dash = || "-".to_owned();
    for tensor in different {
        table.row([
            printable(&tensor.name),
            tensor.status.to_owned(),
            tensor.dtype.to_owned(),
            tensor.changed_elements.map_or_else(dash, |changed| changed.to_string()),
            tensor.changed_percent.map_or_else(dash, |share| format!("{share:.4} %")),
        ]);
    }
    let table = if report.equal { String::new() } else { format!("{table}\n") };
    format!(
        "{table}{} tensors are equal, {} changed, {} missing; {} of {} elements changed ({:.4} %)\n",
        report.equal_tensors,
        report.changed_tensors,
        report.missing_tensors,
        report.changed_elements,
        report.elements,
        report.changed_percent,
    )
}
