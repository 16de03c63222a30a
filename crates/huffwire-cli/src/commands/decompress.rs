//! `huffwire decompress`.

use std::fs;
use std::iter;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};
use huffwire::Kind;
use huffwire::file::{Item, Original};
use huffwire_io::{Complete, Origin, Reader, TensorFormat};
use serde::Serialize;

use crate::args::{DecompressArgs, ElementRange, Format};
use crate::files::{self, as_file, is_dash};
use crate::progress;
use crate::report::{Stream, printable, size};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Size of the .hw file.
    coded_bytes: u64,
    /// Bytes of the original files, or of the elements of a tensor.
    raw_bytes: u64,
    /// Bytes written: with the header that `--as npy` puts before the elements.
    written_bytes: u64,
    /// Tensors that were quantized: their floats are near the original ones.
    lossy_tensors: usize,
    outputs: Vec<String>,
    seconds: f64,
}

/// Restores files, or a tensor.
pub(crate) fn run(args: &DecompressArgs) -> Result<()> {
    let started = Instant::now();
    let mut reader = files::open_hw(&args.input, &files::workers(args.common.threads)?)?;
    let codebooks = args.codebooks.codebooks.as_deref();
    if let Some(path) = codebooks {
        reader = reader.with_codebooks_file(path)?;
    }
    // Before anything is made: what would fail in any case should leave no trace.
    reader.check_codebooks()?;
    let given = codebooks.map(files::origin);
    let inputs: Vec<&Origin> = iter::once(reader.file().origin()).chain(&given).collect();
    let restored = match &args.tensor {
        Some(name) => tensor(args, name, &reader, &inputs)?,
        None => whole(args, &reader, &inputs)?,
    };
    let to_stdout = restored.outputs.iter().any(|output| is_dash(Path::new(output)));
    let stream = if to_stdout { Stream::Stderr } else { Stream::Stdout };
    let seconds = started.elapsed().as_secs_f64();
    if args.common.json {
        let Restored { raw_bytes, written_bytes, lossy_tensors, outputs } = restored;
        let coded_bytes = reader.file().bytes();
        let report =
            Report { coded_bytes, raw_bytes, written_bytes, lossy_tensors, outputs, seconds };
        return stream.print_json(&report);
    }
    if args.common.quiet || to_stdout {
        return Ok(());
    }
    let speed = (restored.raw_bytes as f64 / seconds.max(1e-9)) as u64;
    let lossy = match restored.lossy_tensors {
        0 => String::new(),
        1 => "1 tensor was quantized: its floats are near the original ones, not the same\n"
            .to_owned(),
        count => format!(
            "{count} tensors were quantized: their floats are near the original ones, not the same\n"
        ),
    };
    stream.print(&format!(
        "{} -> {}: {}, {}/s\n{lossy}",
        printable(reader.file().label()),
        printable(&restored.outputs.join(", ")),
        size(restored.raw_bytes),
        size(speed),
    ))
}

/// What was written where.
struct Restored {
    raw_bytes: u64,
    written_bytes: u64,
    lossy_tensors: usize,
    outputs: Vec<String>,
}

/// How many of these items are tensors that were quantized.
fn lossy<'a>(items: impl Iterator<Item = &'a Item>) -> usize {
    items.filter(|item| item.kind == Kind::Values).count()
}

/// Restores all original files; none of them appears unless all are complete.
fn whole(args: &DecompressArgs, reader: &Reader, inputs: &[&Origin]) -> Result<Restored> {
    let targets = Targets::of(args, reader)?;
    let mut outputs = Vec::new();
    for path in &targets.files {
        outputs.push(files::create(path, args.force, inputs)?);
    }
    let raw_bytes = reader.directory().raw_bytes();
    let bar = progress::bytes(raw_bytes, args.common.quiet);
    let (mut complete, mut written_bytes) = (Vec::new(), 0);
    for (original, mut output) in reader.directory().originals.iter().zip(outputs) {
        reader.write_original(original, &mut output, |bytes| bar.inc(bytes))?;
        written_bytes += output.written();
        complete.push(output.complete()?);
    }
    bar.finish_and_clear();
    Complete::publish_all(complete)?;
    targets.keep_folder();
    let outputs = targets.files.iter().map(|path| path.display().to_string()).collect();
    let lossy_tensors = lossy(reader.directory().items());
    Ok(Restored { raw_bytes, written_bytes, lossy_tensors, outputs })
}

/// Where each original file goes.
struct Targets {
    files: Vec<PathBuf>,
    /// A folder made for them, taken away again if nothing comes of it.
    made: std::cell::Cell<Option<PathBuf>>,
}

impl Targets {
    fn of(args: &DecompressArgs, reader: &Reader) -> Result<Self> {
        let label = reader.file().label();
        let made = std::cell::Cell::new(None);
        let in_folder = |folder: &Path, originals: &[Original]| {
            originals.iter().map(|original| as_file(folder.join(&original.name))).collect()
        };
        let originals = &reader.directory().originals;
        let files = match (&originals[..], &args.output) {
            ([], _) => Vec::new(),
            ([one], Some(folder)) if folder.is_dir() => vec![folder.join(&one.name)],
            ([_], Some(path)) => vec![path.clone()],
            ([_], None) if is_dash(&args.input) => vec![PathBuf::from("-")],
            ([_], None) => vec![as_file(without_suffix(&args.input)?)],
            (several, Some(folder)) if !is_dash(folder) => {
                if !folder.is_dir() {
                    huffwire_io::create_partial_folder(folder)?;
                    made.set(Some(folder.clone()));
                }
                in_folder(folder, several)
            }
            (several, None) if !is_dash(&args.input) => {
                in_folder(args.input.parent().unwrap_or(Path::new("")), several)
            }
            (several, _) => {
                bail!("{label}: it holds {} files; pass -o FOLDER", several.len())
            }
        };
        Ok(Self { files, made })
    }

    fn keep_folder(&self) {
        self.made.take();
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        if let Some(folder) = self.made.take() {
            // Only if it is empty, and there is nobody to tell if it is not.
            let _ = fs::remove_dir(folder);
        }
    }
}

fn without_suffix(input: &Path) -> Result<PathBuf> {
    match input.extension() {
        Some(extension) if extension == "hw" => Ok(input.with_extension("")),
        _ => bail!("{}: the name does not end in .hw; pass -o OUT", input.display()),
    }
}

/// Takes a tensor, or a part of it, out of the file; decodes no other block.
fn tensor(
    args: &DecompressArgs,
    name: &str,
    reader: &Reader,
    inputs: &[&Origin],
) -> Result<Restored> {
    let item = reader.tensor(name)?;
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from("-"));
    let mut output = files::create(&path, args.force, inputs)?;
    let bar = progress::bytes(item.raw_bytes, args.common.quiet);
    let format = match args.format {
        Format::Raw => TensorFormat::Raw,
        Format::Npy => TensorFormat::Npy,
    };
    let range = args.range.map_or((Bound::Unbounded, Bound::Unbounded), ElementRange::bounds);
    let raw_bytes =
        reader.write_tensor(name, range, format, &mut output, |bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    let written_bytes = output.written();
    output.finish()?;
    let (lossy_tensors, outputs) = (lossy([item].into_iter()), vec![path.display().to_string()]);
    Ok(Restored { raw_bytes, written_bytes, lossy_tensors, outputs })
}
