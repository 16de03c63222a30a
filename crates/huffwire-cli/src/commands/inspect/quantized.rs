//! What is in a .hwq file.

use anyhow::Result;
use huffwire::gradient::file::{Coding, Entry};
use serde::Serialize;

use crate::args::InspectArgs;
use crate::quantized::QuantizedFile;
use crate::report::{Stream, Table, printable, shape, size};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    file_bytes: u64,
    tensors: Vec<TensorReport<'a>>,
}

/// A tensor.
#[derive(Debug, Serialize)]
struct TensorReport<'a> {
    name: &'a str,
    dtype: &'a str,
    shape: &'a [u64],
    coded_bytes: u64,
    /// `None` for a tensor that was kept without loss; so are the fields below.
    quantizer: Option<&'static str>,
    parameters: Option<String>,
    encoder: Option<&'static str>,
    scales: Option<usize>,
}

/// Shows what is in a file; reads and checks all messages of quantized tensors, and decodes none.
pub(super) fn run(args: &InspectArgs, file: &QuantizedFile) -> Result<()> {
    let tensors = file.directory.entries.iter().map(|entry| TensorReport::of(file, entry));
    let report = Report { file_bytes: file.file.bytes(), tensors: tensors.collect::<Result<_>>()? };
    if args.common.json {
        return Stream::Stdout.print_json(&report);
    }
    if args.common.quiet {
        return Ok(());
    }
    let headings = ["tensor", "dtype", "shape", "coded", "scales", "quantizer", "encoder"];
    let mut table = Table::new(headings);
    for column in [1, 2, 5, 6] {
        table = table.flush_left(column);
    }
    for tensor in &report.tensors {
        table.row([
            printable(tensor.name),
            printable(tensor.dtype),
            shape(tensor.shape),
            size(tensor.coded_bytes),
            tensor.scales.map_or_else(|| "-".to_owned(), |scales| scales.to_string()),
            tensor.parameters.clone().unwrap_or_else(|| "none: kept without loss".to_owned()),
            tensor.encoder.unwrap_or("-").to_owned(),
        ]);
    }
    let (label, bytes) = (printable(file.file.label()), size(report.file_bytes));
    let count = report.tensors.len();
    Stream::Stdout.print(&format!("{label}: {count} tensors, quantized, {bytes}\n\n{table}"))
}

impl<'a> TensorReport<'a> {
    fn of(file: &QuantizedFile, entry: &'a Entry) -> Result<Self> {
        let header = match entry.coding {
            Coding::Kept => None,
            Coding::Quantized => Some(file.message(entry)?.0),
        };
        Ok(Self {
            name: &entry.name,
            dtype: &entry.dtype,
            shape: &entry.shape,
            coded_bytes: entry.range.end - entry.range.start,
            quantizer: header.as_ref().map(|header| header.quantizer.name()),
            parameters: header.as_ref().map(|header| header.quantizer.to_string()),
            encoder: header.as_ref().map(|header| header.encoder.name()),
            scales: header.as_ref().map(|header| header.scales),
        })
    }
}
