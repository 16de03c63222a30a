//! `huffwire decompress`.

use std::collections::HashSet;
use std::fs;
use std::iter;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use huffwire::file::{Item, Source};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::args::{DecompressArgs, ElementRange, TensorFormat};
use crate::books::Books;
use crate::container::Container;
use crate::input::npy_header;
use crate::input_file::{Origin, as_file, is_dash};
use crate::interrupt;
use crate::output::{Complete, Output};
use crate::pipeline::Workers;
use crate::progress;
use crate::report::{Stream, printable, size};
use crate::unpack::{self, Job};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Size of the .hw file.
    coded_bytes: u64,
    /// Bytes of the original files, or of the elements of a tensor.
    raw_bytes: u64,
    /// Bytes written: with the header that `--as npy` puts before the elements.
    written_bytes: u64,
    outputs: Vec<String>,
    seconds: f64,
}

/// Restores files, or a tensor.
pub(crate) fn run(args: &DecompressArgs) -> Result<()> {
    let started = Instant::now();
    let workers = Workers::new(args.common.threads)?;
    let container = Container::open(&args.input)?;
    let restored = match &args.tensor {
        Some(name) => tensor(args, name, &container, &workers)?,
        None => whole(args, &container, &workers)?,
    };
    let to_stdout = restored.outputs.iter().any(|output| is_dash(Path::new(output)));
    let stream = if to_stdout { Stream::Stderr } else { Stream::Stdout };
    let seconds = started.elapsed().as_secs_f64();
    if args.common.json {
        let Restored { raw_bytes, written_bytes, outputs } = restored;
        let coded_bytes = container.file.bytes();
        let report = Report { coded_bytes, raw_bytes, written_bytes, outputs, seconds };
        return stream.print_json(&report);
    }
    if args.common.quiet || to_stdout {
        return Ok(());
    }
    let speed = (restored.raw_bytes as f64 / seconds.max(1e-9)) as u64;
    stream.print(&format!(
        "{} -> {}: {}, {}/s\n",
        printable(container.file.label()),
        printable(&restored.outputs.join(", ")),
        size(restored.raw_bytes),
        size(speed),
    ))
}

/// What was written where.
struct Restored {
    raw_bytes: u64,
    written_bytes: u64,
    outputs: Vec<String>,
}

/// Restores all original files; none of them appears unless all are complete.
fn whole(args: &DecompressArgs, container: &Container, workers: &Workers) -> Result<Restored> {
    let Books { set, origin } = container.books(args.codebooks.codebooks.as_deref())?;
    let inputs: Vec<&Origin> = iter::once(container.file.origin()).chain(&origin).collect();
    let sources = &container.directory.sources;
    let targets = Targets::of(args, container)?;
    let mut outputs = Vec::new();
    for path in &targets.files {
        outputs.push(Output::create(path, args.force, &inputs)?);
    }
    let bar = progress::bytes(container.directory.raw_bytes(), args.common.quiet);
    let (mut complete, mut written_bytes) = (Vec::new(), 0);
    for (source, mut output) in sources.iter().zip(outputs) {
        let jobs = source.items.iter().flat_map(unpack::jobs);
        unpack::decode(container, &set, workers, jobs, |_, bytes| {
            let bytes = bytes?;
            bar.inc(bytes.len() as u64);
            output.write(bytes)
        })?;
        written_bytes += output.written();
        complete.push(output.complete()?);
    }
    bar.finish_and_clear();
    container.file.check_length()?;
    Complete::publish_all(complete)?;
    targets.keep_folder();
    let outputs = targets.files.iter().map(|path| path.display().to_string()).collect();
    Ok(Restored { raw_bytes: container.directory.raw_bytes(), written_bytes, outputs })
}

/// Where each original file goes.
struct Targets {
    files: Vec<PathBuf>,
    /// A folder made for them, taken away again if nothing comes of it.
    made: std::cell::Cell<Option<PathBuf>>,
}

impl Targets {
    fn of(args: &DecompressArgs, container: &Container) -> Result<Self> {
        let label = container.file.label();
        let made = std::cell::Cell::new(None);
        let in_folder = |folder: &Path, sources: &[Source]| {
            sources.iter().map(|source| as_file(folder.join(&source.name))).collect()
        };
        let sources = &container.directory.sources;
        let mut names = HashSet::new();
        if let Some(twice) = sources.iter().find(|source| !names.insert(&source.name)) {
            bail!("{label}: it holds two files of the name {:?}", twice.name);
        }
        let files = match (&sources[..], &args.output) {
            ([], _) => Vec::new(),
            ([one], Some(folder)) if folder.is_dir() => vec![folder.join(&one.name)],
            ([_], Some(path)) => vec![path.clone()],
            ([_], None) if is_dash(&args.input) => vec![PathBuf::from("-")],
            ([_], None) => vec![as_file(without_suffix(&args.input)?)],
            (several, Some(folder)) if !is_dash(folder) => {
                if !folder.is_dir() {
                    let context = || format!("{}: this folder cannot be made", folder.display());
                    interrupt::folder(folder).with_context(context)?;
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
    container: &Container,
    workers: &Workers,
) -> Result<Restored> {
    let label = container.file.label();
    let Some(item) = container.directory.tensor(name) else {
        bail!("{label}: there is no tensor {name:?}{}", similar(container, name));
    };
    let slice = Slice::of(item, args.range).with_context(|| format!("{label}: {name:?}"))?;
    let Books { set, origin } = container.books(args.codebooks.codebooks.as_deref())?;
    let inputs: Vec<&Origin> = iter::once(container.file.origin()).chain(&origin).collect();
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from("-"));
    let mut output = Output::create(&path, args.force, &inputs)?;
    let bytes = slice.bytes.end - slice.bytes.start;
    let bar = progress::bytes(bytes, args.common.quiet);
    if args.format == TensorFormat::Npy {
        match npy_original(container, item).filter(|_| args.range.is_none()) {
            Some(header) => {
                let all = 0..header.raw_bytes;
                write_slice(container, &set, workers, header, &all, &mut output, &bar)?;
            }
            None => {
                let dtype = item.tensor.as_ref().map_or("", |tensor| &tensor.dtype);
                let header = npy_header(item.element, dtype, &slice.shape, bytes);
                output.write(&header.with_context(|| format!("{label}: {name:?}"))?)?;
            }
        }
    }
    write_slice(container, &set, workers, item, &slice.bytes, &mut output, &bar)?;
    bar.finish_and_clear();
    let written_bytes = output.written();
    container.file.check_length()?;
    output.finish()?;
    Ok(Restored { raw_bytes: bytes, written_bytes, outputs: vec![path.display().to_string()] })
}

/// The header that an array had in the `.npy` file it comes from: only there it is told whether the
/// array is in C or Fortran order.
fn npy_original<'a>(container: &'a Container, item: &Item) -> Option<&'a Item> {
    container.directory.sources.iter().find_map(|source| match &source.items[..] {
        [header, array] if std::ptr::eq(array, item) && source.name.ends_with(".npy") => {
            header.tensor.is_none().then_some(header)
        }
        _ => None,
    })
}

fn write_slice(
    container: &Container,
    set: &std::sync::Arc<huffwire::CodebookSet>,
    workers: &Workers,
    item: &Item,
    wanted: &Range<u64>,
    output: &mut Output,
    bar: &ProgressBar,
) -> Result<()> {
    let overlap = |job: &Job<'_>| {
        let (start, end) =
            (job.block.raw_offset, job.block.raw_offset + job.block.raw_bytes as u64);
        let from = wanted.start.clamp(start, end) - start;
        let to = wanted.end.clamp(start, end) - start;
        from as usize..to as usize
    };
    let jobs = unpack::jobs(item).filter(|job| !overlap(job).is_empty());
    unpack::decode(container, set, workers, jobs, |job, bytes| {
        let bytes = &bytes?[overlap(job)];
        bar.inc(bytes.len() as u64);
        output.write(bytes)
    })
}

/// Names like the one that was not found.
fn similar(container: &Container, name: &str) -> String {
    let tensors = container.directory.items().filter_map(|item| item.tensor.as_ref());
    let names: Vec<&str> = tensors.map(|tensor| tensor.name.as_str()).collect();
    let like = names.iter().filter(|other| other.contains(name) || name.contains(**other));
    let like: Vec<String> = like.take(3).map(|other| format!("{other:?}")).collect();
    if like.is_empty() {
        format!(" among its {}; huffwire inspect lists them", names.len())
    } else {
        format!("; did you mean {}?", like.join(" or "))
    }
}

/// A part of a tensor.
#[derive(Debug)]
struct Slice {
    bytes: Range<u64>,
    shape: Vec<u64>,
}

impl Slice {
    fn of(item: &Item, range: Option<ElementRange>) -> Result<Self> {
        let shape = item.tensor.as_ref().map(|tensor| tensor.shape.clone()).unwrap_or_default();
        let Some(range) = range else {
            return Ok(Self { bytes: 0..item.raw_bytes, shape });
        };
        let elements = shape.iter().try_fold(1u64, |product, &d| product.checked_mul(d));
        let bits = u128::from(item.raw_bytes) * 8;
        let bits_each = match elements {
            Some(0) => Some(0),
            Some(n) if bits.is_multiple_of(u128::from(n)) => Some(bits / u128::from(n)),
            _ => None,
        };
        let (Some(elements), Some(bits_each)) = (elements, bits_each) else {
            bail!("its size and shape do not tell how large an element is; leave --range away");
        };
        let Some(range) = range.within(elements) else {
            bail!("--range reaches outside its {elements} elements");
        };
        let at = |element: u64| match u128::from(element) * bits_each {
            bits if bits.is_multiple_of(8) => Ok((bits / 8) as u64),
            _ => bail!(
                "its elements have {bits_each} bits: --range must begin and end between bytes"
            ),
        };
        Ok(Self { bytes: at(range.start)?..at(range.end)?, shape: vec![range.end - range.start] })
    }
}
