//! `huffwire compress`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use huffwire::{Level, SymbolRule};
use huffwire_io::{Analysis, Input, Origin, WriteOptions, Writer, Written};
use serde::Serialize;

use crate::args::CompressArgs;
use crate::books::{self, Books};
use crate::files::{self, is_dash};
use crate::progress;
use crate::report::{Stream, Table, percent, printable, saving, size};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    raw_bytes: u64,
    /// The whole .hw file.
    coded_bytes: u64,
    saving_percent: f64,
    tensors: Vec<TensorReport<'a>>,
    /// Bytes of the originals that are no tensor, such as their headers.
    other_raw_bytes: u64,
    other_coded_bytes: u64,
    /// File header, directory and trailer.
    container_bytes: u64,
    codebook_set: String,
    codebook_set_embedded: bool,
    symbols: &'static str,
    level: &'static str,
    seconds: f64,
}

/// One tensor.
#[derive(Debug, Serialize)]
struct TensorReport<'a> {
    name: &'a str,
    original: &'a str,
    dtype: &'static str,
    /// The type as the original spells it.
    original_dtype: &'a str,
    shape: &'a [u64],
    raw_bytes: u64,
    coded_bytes: u64,
    /// The codebooks of its blocks.
    codebook: String,
    layout: String,
    /// Saved at the entropy of the tensor's own distribution.
    shannon_saving_percent: f64,
    /// Saved by a Huffman code made for this very tensor, its codebook not counted.
    huffman_saving_percent: f64,
    saving_percent: f64,
}

/// Compresses a file.
pub(crate) fn run(args: &CompressArgs) -> Result<()> {
    let started = Instant::now();
    let workers = files::workers(args.common.threads)?;
    let Books { set, origin } = books::load_or_builtin(args.codebooks.codebooks.as_deref())?;
    let encode = args.coder.options(&set)?;
    let analyse = args.common.json || args.verbose;
    let options = WriteOptions { encode, analyse, workers, ..WriteOptions::default() };
    let mut options = options.with_codebooks(set);
    options.embed &= !args.reference_codebooks;
    let inputs = files::open_tensors(&args.input, &args.raw)?;
    let target = target(args);
    let origins = inputs.iter().map(|input| input.file.origin());
    let origins: Vec<&Origin> = origins.chain(&origin).collect();
    let output = files::create(&target, args.output.force, &origins)?;
    let label = output.label().to_owned();
    let bar =
        progress::bytes(inputs.iter().map(|input| input.file.bytes()).sum(), args.common.quiet);
    let mut writer = Writer::new(output, options.clone())?;
    writer.add_inputs(&inputs, |bytes| bar.inc(bytes))?;
    let written = writer.finish()?;
    bar.finish_and_clear();

    let stream = if is_dash(&target) { Stream::Stderr } else { Stream::Stdout };
    let seconds = started.elapsed().as_secs_f64();
    if args.common.json {
        stream.print_json(&report(&options, &written, seconds))
    } else if args.common.quiet {
        Ok(())
    } else {
        let report = report(&options, &written, seconds);
        let mut text = if args.verbose { table(&report) } else { String::new() };
        text.push_str(&summary(&report, &inputs, &label));
        stream.print(&text)
    }
}

/// The file to write: as the user said, else the input's name with `.hw`.
fn target(args: &CompressArgs) -> PathBuf {
    let with_suffix = |path: &Path| {
        let mut name = OsString::from(path.as_os_str());
        name.push(".hw");
        PathBuf::from(name)
    };
    match &args.output.output {
        Some(folder) if folder.is_dir() && !is_dash(&args.input) => {
            let name = args.input.file_name().map(Path::new);
            name.map_or_else(|| folder.clone(), |name| folder.join(with_suffix(name)))
        }
        Some(path) => path.clone(),
        None if is_dash(&args.input) => PathBuf::from("-"),
        None => with_suffix(&args.input),
    }
}

fn report<'a>(options: &WriteOptions, written: &'a Written, seconds: f64) -> Report<'a> {
    let directory = &written.directory;
    let none = Analysis::default();
    let originals = directory.originals.iter();
    let items =
        originals.flat_map(|original| original.items.iter().map(move |item| (original, item)));
    let mut tensors = Vec::new();
    let (mut other_raw_bytes, mut other_coded_bytes) = (0, 0);
    for (index, (original, item)) in items.enumerate() {
        let (raw, coded) = (item.raw_bytes, item.coded_bytes());
        let Some(tensor) = &item.tensor else {
            other_raw_bytes += raw;
            other_coded_bytes += coded;
            continue;
        };
        let analysis = written.analyses.get(index).unwrap_or(&none);
        let ideal = analysis.ideal;
        let ideal_saving = |bytes: Option<f64>| {
            bytes.map_or(0.0, |bytes| huffwire::stats::saving_percent(raw as f64, bytes))
        };
        tensors.push(TensorReport {
            name: &tensor.name,
            original: &original.name,
            dtype: item.dtype.name(),
            original_dtype: &tensor.dtype,
            shape: &tensor.shape,
            raw_bytes: raw,
            coded_bytes: coded,
            codebook: analysis.usage.codebooks(&options.codebooks),
            layout: analysis.usage.layouts(),
            shannon_saving_percent: ideal_saving(ideal.map(|ideal| ideal.shannon_bytes)),
            huffman_saving_percent: ideal_saving(ideal.map(|ideal| ideal.huffman_bytes)),
            saving_percent: saving(raw, coded),
        });
    }
    let (raw_bytes, coded_bytes) = (directory.raw_bytes(), written.bytes);
    let blocks: u64 = directory.items().map(huffwire::file::Item::coded_bytes).sum();
    Report {
        raw_bytes,
        coded_bytes,
        saving_percent: saving(raw_bytes, coded_bytes),
        tensors,
        other_raw_bytes,
        other_coded_bytes,
        container_bytes: coded_bytes - blocks,
        codebook_set: options.codebooks.id().to_string(),
        codebook_set_embedded: options.embed,
        symbols: match options.encode.rule {
            SymbolRule::Auto => "auto",
            SymbolRule::Bytes => "bytes",
            SymbolRule::BytePlanes => "byte-planes",
        },
        level: match options.encode.level {
            Level::Fast => "fast",
            Level::Max => "max",
        },
        seconds,
    }
}

fn table(report: &Report<'_>) -> String {
    let headings = ["tensor", "dtype", "size", "coded", "saved", "Huffman", "Shannon", "codebooks"];
    let mut table = Table::new(headings).flush_left(1).flush_left(7);
    for tensor in &report.tensors {
        table.row([
            printable(tensor.name),
            printable(tensor.original_dtype),
            size(tensor.raw_bytes),
            size(tensor.coded_bytes),
            percent(tensor.saving_percent),
            percent(tensor.huffman_saving_percent),
            percent(tensor.shannon_saving_percent),
            tensor.codebook.clone(),
        ]);
    }
    format!("{table}\n")
}

/// A line about the whole, and one for each type if there are several.
fn summary(report: &Report<'_>, inputs: &[Input], label: &str) -> String {
    let mut types: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for tensor in &report.tensors {
        let (count, raw, coded) = types.entry(tensor.original_dtype).or_default();
        *count += 1;
        *raw += tensor.raw_bytes;
        *coded += tensor.coded_bytes;
    }
    let from = match inputs {
        [one] => one.file.label().to_owned(),
        [index, ..] => format!("{} and its shards", index.file.label()),
        [] => String::new(),
    };
    let mut text = format!(
        "{} -> {}: {} -> {}, saved {}, {}/s\n",
        printable(&from),
        printable(label),
        size(report.raw_bytes),
        size(report.coded_bytes),
        percent(report.saving_percent),
        size((report.raw_bytes as f64 / report.seconds.max(1e-9)) as u64),
    );
    if types.len() > 1 {
        for (dtype, (count, raw, coded)) in types {
            let tensors = if count == 1 { "tensor" } else { "tensors" };
            text.push_str(&format!(
                "  {:<8} {count} {tensors}, {} -> {}, saved {}\n",
                printable(dtype),
                size(raw),
                size(coded),
                percent(saving(raw, coded)),
            ));
        }
    }
    text
}
