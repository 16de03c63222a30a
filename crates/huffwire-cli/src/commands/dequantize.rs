//! `huffwire dequantize`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use huffwire::Dtype;
use huffwire::gradient::file::{Coding, Entry};
use safetensors::tensor::Metadata;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::args::{DequantizeArgs, ValueType};
use crate::files::{self, is_dash};
use crate::progress;
use crate::quantized::{Part, QuantizedFile};
use crate::report::{Stream, printable, size};
use crate::values;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Size of the .hwq file.
    coded_bytes: u64,
    /// Size of the safetensors file.
    written_bytes: u64,
    tensors: usize,
    /// How many of them were kept without loss.
    kept: usize,
    output: String,
    seconds: f64,
}

/// Restores a safetensors file.
pub(crate) fn run(args: &DequantizeArgs) -> Result<()> {
    let started = Instant::now();
    let file = QuantizedFile::open(&args.input)?;
    let plans = plans(args, &file)?;
    let header = header(&file, &plans)?;
    let target = target(args)?;
    let mut output = files::create(&target, args.force, &[file.file.origin()])?;
    let bar = progress::bytes(plans.iter().map(|plan| plan.bytes).sum(), args.quiet);
    output.write(&header)?;
    let mut bytes = Vec::new();
    for plan in &plans {
        let (mut values_written, before) = (0, output.written());
        file.decode(plan.entry, |part| {
            let part = match part {
                Part::Kept(kept) => kept,
                Part::Values(values) => {
                    bytes.clear();
                    let written = values::write(plan.element, values, values_written, &mut bytes);
                    written.with_context(|| file.describe(plan.entry))?;
                    values_written += values.len() as u64;
                    &bytes
                }
            };
            bar.inc(part.len() as u64);
            Ok(output.write(part)?)
        })?;
        if output.written() - before != plan.bytes {
            bail!(
                "{}: its size differs from that in the directory of the file: the file is damaged",
                file.describe(plan.entry)
            );
        }
    }
    bar.finish_and_clear();
    let (written_bytes, label) = (output.written(), output.label().to_owned());
    file.file.check_length()?;
    output.finish()?;
    let stream = if is_dash(&target) { Stream::Stderr } else { Stream::Stdout };
    let kept = plans.iter().filter(|plan| plan.entry.coding == Coding::Kept).count();
    let report = Report {
        coded_bytes: file.file.bytes(),
        written_bytes,
        tensors: plans.len(),
        kept,
        output: target.display().to_string(),
        seconds: started.elapsed().as_secs_f64(),
    };
    if args.json {
        return stream.print_json(&report);
    }
    if args.quiet {
        return Ok(());
    }
    stream.print(&format!(
        "{} -> {}: {} tensors, {kept} of them without loss, {} -> {}\n",
        printable(file.file.label()),
        printable(&label),
        report.tensors,
        size(report.coded_bytes),
        size(report.written_bytes),
    ))
}

/// A tensor to restore.
struct Plan<'a> {
    entry: &'a Entry,
    dtype: String,
    /// What values are written as.
    element: Dtype,
    bytes: u64,
}

fn plans<'a>(args: &DequantizeArgs, file: &'a QuantizedFile) -> Result<Vec<Plan<'a>>> {
    let plan = |entry: &'a Entry| match entry.coding {
        Coding::Kept => {
            let (dtype, bytes) = (entry.dtype.clone(), file.kept_bytes(entry)?);
            Ok(Plan { entry, dtype, element: Dtype::U8, bytes })
        }
        Coding::Quantized => {
            let element = match args.values {
                ValueType::Original => original(file, entry)?,
                ValueType::F32 => Dtype::F32,
            };
            let elements = entry.shape.iter().try_fold(1u64, |all, &d| all.checked_mul(d));
            let bytes = elements.and_then(|all| all.checked_mul(element.unit_bytes() as u64));
            let bytes = bytes.with_context(|| {
                format!("{}: it has more elements than can be", file.describe(entry))
            })?;
            Ok(Plan { entry, dtype: element.name().to_ascii_uppercase(), element, bytes })
        }
    };
    file.directory.entries.iter().map(plan).collect()
}

/// The type that a tensor had; the message has to agree with it in the end.
fn original(file: &QuantizedFile, entry: &Entry) -> Result<Dtype> {
    let element = entry.dtype.parse().ok().filter(|element| values::is_float(*element));
    element.with_context(|| {
        format!("{}: quantized from {:?}, which cannot be", file.describe(entry), entry.dtype)
    })
}

/// The safetensors header, found to be valid.
fn header(file: &QuantizedFile, plans: &[Plan<'_>]) -> Result<Vec<u8>> {
    let mut header = Map::new();
    if !file.directory.metadata.is_empty() {
        let pairs = file.directory.metadata.iter();
        let pairs = pairs.map(|(key, value)| (key.clone(), Value::from(value.as_str())));
        header.insert("__metadata__".to_owned(), Value::Object(pairs.collect()));
    }
    let mut at = 0u64;
    for plan in plans {
        let end = at.checked_add(plan.bytes).context("more bytes than a file can have")?;
        let (dtype, shape) = (&plan.dtype, &plan.entry.shape);
        let tensor = json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, end] });
        header.insert(plan.entry.name.clone(), tensor);
        at = end;
    }
    let mut text = serde_json::to_vec(&header)?;
    // Types, shapes and sizes of kept tensors come from the file: whether they go together is not
    // known before this.
    let valid = serde_json::from_slice::<Metadata>(&text);
    valid
        .with_context(|| format!("{}: its tensors make no safetensors file", file.file.label()))?;
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    Ok(bytes)
}

/// The file to write.
fn target(args: &DequantizeArgs) -> Result<PathBuf> {
    match &args.output {
        Some(path) => Ok(path.clone()),
        None if is_dash(&args.input) => Ok(PathBuf::from("-")),
        None => with_suffix(&args.input),
    }
}

fn with_suffix(input: &Path) -> Result<PathBuf> {
    match input.extension() {
        Some(extension) if extension == "hwq" => Ok(input.with_extension("safetensors")),
        _ => bail!("{}: the name does not end in .hwq; pass -o OUT", input.display()),
    }
}
