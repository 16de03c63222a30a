//! `huffwire decompress`.

use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use huffwire::Kind;
use huffwire::file::{Item, Original};
use huffwire_io::tree::{Action, Direction, Job};
use huffwire_io::{Complete, InputFile, Origin, Reader, TensorFormat, Workers};
use indicatif::ProgressBar;
use serde::Serialize;

use super::many::{self, Done, Task};
use crate::args::{DecompressArgs, ElementRange, Format};
use crate::bases;
use crate::failure;
use crate::files::{self, Create, as_file, is_dash};
use crate::progress;
use crate::report::{Stream, printable, size};

/// Bytes that are copied by one call.
const COPIED_AT_ONCE: u64 = 1 << 20;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Size of the .hw file.
    file_bytes: u64,
    /// Bytes of the original files, or of the elements of a tensor.
    raw_bytes: u64,
    /// Bytes written: with the header that `--as npy` puts before the elements.
    written_bytes: u64,
    /// Tensors that were quantized: their floats are near the original ones.
    lossy_tensors: usize,
    outputs: Vec<String>,
    /// Whether the input was removed.
    removed: bool,
    /// Why it was kept, if it was to be removed.
    note: Option<String>,
    seconds: f64,
}

/// Restores files, or a tensor.
pub(crate) fn run(args: &DecompressArgs) -> Result<u8> {
    let workers = files::workers(args.common.threads)?;
    match &args.inputs[..] {
        [one] if !many::is_many(&args.inputs, &args.many) => run_one(args, one, &workers),
        _ if !args.base.bases.is_empty() => {
            bail!("--base: a base goes with one input; decompress each file by itself")
        }
        _ => run_many(args, &workers),
    }
}

/// Opens a .hw file, with all codebooks that it needs.
fn open(args: &DecompressArgs, path: &Path, workers: &Arc<Workers>) -> Result<Reader> {
    let reader = files::open_hw(path, workers)?;
    let reader = bases::give(reader, &args.base.bases, args.codebooks.codebooks.as_deref())?;
    // Before anything is made: what would fail in any case should leave no trace.
    reader.check_codebooks()?;
    if args.tensor.is_none() {
        reader.check_base()?;
    }
    Ok(reader)
}

fn run_one(args: &DecompressArgs, input: &Path, workers: &Arc<Workers>) -> Result<u8> {
    let started = Instant::now();
    let reader = open(args, input, workers)?;
    let given = args.codebooks.codebooks.as_deref().map(files::origin);
    let inputs: Vec<&Origin> = reader.origins().into_iter().chain(&given).collect();
    let mut removal = None;
    let restored = match &args.tensor {
        Some(name) => tensor(args, name, &reader, &inputs)?,
        None => {
            let targets = Targets::of(args, input, &reader)?;
            if args.many.rm {
                files::require_removable(input, targets.files.iter().map(PathBuf::as_path))?;
            }
            let bar = progress::bytes(reader.directory().raw_bytes(), args.common.quiet);
            let targeted = (&targets.files[..], targets.create);
            let restored = whole(args, targeted, &reader, &inputs, &bar)?;
            bar.finish_and_clear();
            targets.keep_folder();
            if args.many.rm {
                removal = Some(remove(&reader, input, &targets.files));
            }
            restored
        }
    };
    let to_stdout = restored.outputs.iter().any(|output| files::is_stdout(Path::new(output)));
    let stream = if to_stdout { Stream::Stderr } else { Stream::Stdout };
    let seconds = started.elapsed().as_secs_f64();
    if args.common.json {
        let Restored { raw_bytes, written_bytes, lossy_tensors, outputs } = restored;
        stream.print_json(&Report {
            file_bytes: reader.file().bytes(),
            raw_bytes,
            written_bytes,
            lossy_tensors,
            outputs,
            removed: matches!(removal, Some(Ok(()))),
            note: failure::why_kept(&removal),
            seconds,
        })?;
    } else if !args.common.quiet && !to_stdout {
        stream.print(&text(&reader, &restored, seconds))?;
    }
    Ok(failure::of_removal(removal, args.common.json))
}

/// The report for people.
fn text(reader: &Reader, restored: &Restored, seconds: f64) -> String {
    let speed = (restored.raw_bytes as f64 / seconds.max(1e-9)) as u64;
    let lossy = match restored.lossy_tensors {
        0 => String::new(),
        1 => "1 tensor was quantized: its floats are near the original ones, not the same\n"
            .to_owned(),
        count => format!(
            "{count} tensors were quantized: their floats are near the original ones, not the same\n"
        ),
    };
    format!(
        "{} -> {}: {}, {}/s\n{lossy}",
        printable(reader.file().label()),
        printable(&restored.outputs.join(", ")),
        size(restored.raw_bytes),
        size(speed),
    )
}

/// Restores several files, and folders.
fn run_many(args: &DecompressArgs, workers: &Arc<Workers>) -> Result<u8> {
    if args.tensor.is_some() {
        bail!("--tensor: a tensor is taken out of one file");
    }
    let task = Task {
        direction: Direction::Decompress,
        inputs: &args.inputs,
        output: args.output.as_deref(),
        force: args.force,
        verbose: false,
        many: &args.many,
        common: &args.common,
    };
    let given = args.codebooks.codebooks.as_deref().map(files::origin);
    many::run(&task, |job, bar| match job.action {
        Action::Copy => copy(args, job, bar),
        _ => restore(args, job, &given, workers, bar),
    })
}

/// Restores one of several files.
fn restore(
    args: &DecompressArgs,
    job: &Job,
    given: &Option<Origin>,
    workers: &Arc<Workers>,
    bar: &ProgressBar,
) -> Result<Done> {
    let reader = open(args, &job.source, workers)?;
    let inputs: Vec<&Origin> = reader.origins().into_iter().chain(given).collect();
    let targets: Vec<PathBuf> = job.targets.iter().cloned().map(as_file).collect();
    if targets.len() != reader.directory().originals.len() {
        bail!("{}: it was changed meanwhile", job.source.display());
    }
    let targeted = (&targets[..], files::create_one_of_many as Create);
    let restored = whole(args, targeted, &reader, &inputs, bar)?;
    Ok(Done {
        raw_bytes: restored.raw_bytes,
        file_bytes: reader.file().bytes(),
        lossy_tensors: restored.lossy_tensors,
        note: None,
        removed: args.many.rm.then(|| remove(&reader, &job.source, &targets)),
    })
}

/// Copies a file that is no .hw file.
fn copy(args: &DecompressArgs, job: &Job, bar: &ProgressBar) -> Result<Done> {
    let [target] = &job.targets[..] else { bail!("{}: it has no output", job.source.display()) };
    let file = InputFile::open(&job.source)?;
    let mut output = files::create_one_of_many(target, args.force, &[file.origin()])?;
    let bytes = file.bytes();
    for from in (0..bytes).step_by(COPIED_AT_ONCE as usize) {
        let part = file.read(from..bytes.min(from + COPIED_AT_ONCE))?;
        output.write(&part)?;
        bar.inc(part.len() as u64);
    }
    file.check_length()?;
    output.finish()?;
    let removed = args.many.rm.then(|| {
        let copy = InputFile::open(target)?;
        for from in (0..bytes).step_by(COPIED_AT_ONCE as usize) {
            let part = from..bytes.min(from + COPIED_AT_ONCE);
            if copy.read(part.clone())? != file.read(part)? {
                bail!("{}: kept: its copy is not the same", job.source.display());
            }
        }
        huffwire_io::sync_name(target)?;
        Ok(file.remove()?)
    });
    Ok(Done { raw_bytes: bytes, file_bytes: bytes, removed, ..Done::default() })
}

/// Removes a .hw file if the files made from it hold the same, and their names are on the disk.
fn remove(reader: &Reader, hw: &Path, restored: &[PathBuf]) -> Result<()> {
    let check = || -> Result<()> {
        reader.file().check_removable()?;
        if restored.is_empty() {
            bail!("it holds no files, so nothing was made from it");
        }
        for (original, path) in reader.directory().originals.iter().zip(restored) {
            reader.compare_original(original, &InputFile::open(path)?, |_| ())?;
            huffwire_io::sync_name(path)?;
        }
        Ok(reader.file().remove()?)
    };
    let kept = if restored.is_empty() { "kept" } else { "kept, and its output too" };
    check().with_context(|| format!("{}: {kept}", hw.display()))
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
fn whole(
    args: &DecompressArgs,
    (files, create): (&[PathBuf], Create),
    reader: &Reader,
    inputs: &[&Origin],
    bar: &ProgressBar,
) -> Result<Restored> {
    let mut outputs = Vec::new();
    for path in files {
        outputs.push(create(path, args.force, inputs)?);
    }
    let raw_bytes = reader.directory().raw_bytes();
    let (mut complete, mut written_bytes) = (Vec::new(), 0);
    for (original, mut output) in reader.directory().originals.iter().zip(outputs) {
        reader.write_original(original, &mut output, |bytes| bar.inc(bytes))?;
        written_bytes += output.written();
        complete.push(output.complete()?);
    }
    Complete::publish_all(complete)?;
    let outputs = files.iter().map(|path| path.display().to_string()).collect();
    let lossy_tensors = lossy(reader.directory().items());
    Ok(Restored { raw_bytes, written_bytes, lossy_tensors, outputs })
}

/// Where each original file goes.
struct Targets {
    files: Vec<PathBuf>,
    /// How they are made.
    create: Create,
    /// A folder made for them, taken away again if nothing comes of it.
    made: std::cell::Cell<Option<PathBuf>>,
}

impl Targets {
    fn of(args: &DecompressArgs, input: &Path, reader: &Reader) -> Result<Self> {
        let label = reader.file().label();
        let made = std::cell::Cell::new(None);
        let in_folder = |folder: &Path, originals: &[Original]| {
            originals.iter().map(|original| as_file(folder.join(&original.name))).collect()
        };
        let originals = &reader.directory().originals;
        // A name that the .hw file tells is not one that the user chose.
        let is_chosen =
            originals.len() == 1 && !args.output.as_deref().is_some_and(|output| output.is_dir());
        let create = if is_chosen { files::create } else { files::create_one_of_many };
        let files = match (&originals[..], &args.output) {
            ([], _) => Vec::new(),
            ([one], Some(folder)) if folder.is_dir() => vec![folder.join(&one.name)],
            ([_], Some(path)) => vec![path.clone()],
            ([_], None) if is_dash(input) => vec![PathBuf::from("-")],
            ([_], None) => vec![as_file(without_suffix(input)?)],
            (several, Some(folder)) if !is_dash(folder) => {
                if !folder.is_dir() {
                    huffwire_io::create_partial_folder(folder)?;
                    made.set(Some(folder.clone()));
                }
                in_folder(folder, several)
            }
            (several, None) if !is_dash(input) => {
                in_folder(input.parent().unwrap_or(Path::new("")), several)
            }
            (several, _) => {
                bail!("{label}: it holds {} files; pass -o FOLDER", several.len())
            }
        };
        Ok(Self { files, create, made })
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
