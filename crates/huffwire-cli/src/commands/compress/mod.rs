//! `huffwire compress`.

mod dry_run;
mod report;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use huffwire_io::tree::{Action, Direction, Job};
use huffwire_io::{Input, InputFile, Origin, Reader, WriteOptions, Writer, Written};
use indicatif::ProgressBar;

use super::many::{self, Done, Task};
use crate::args::CompressArgs;
use crate::bases;
use crate::books::{self, Books};
use crate::failure;
use crate::files::{self, Create, is_dash};
use crate::progress;
use crate::report::Stream;

/// Compresses a file, or many.
pub(crate) fn run(args: &CompressArgs) -> Result<u8> {
    let started = Instant::now();
    if args.many.recursive && args.raw.dtype.is_some() {
        bail!("--dtype: with -r a file tells by itself what is in it; give raw files without -r");
    }
    let workers = files::workers(args.common.threads)?;
    let Books { set, origin } = books::load_or_builtin(args.codebooks.codebooks.as_deref())?;
    let encode = args.coder.options(&set)?;
    let options = WriteOptions { encode, workers, ..WriteOptions::default() };
    let mut options = options.with_codebooks(set);
    options.embed &= !args.reference_codebooks;
    if !args.base.bases.is_empty() && many::is_many(&args.inputs, &args.many) {
        bail!("--base: a base goes with one input; compress each file by itself");
    }
    let given = args.codebooks.codebooks.as_deref();
    options.base = bases::open(&args.base.bases, args.raw.options().as_ref(), given)?;
    if let (Some(base), [input]) = (&options.base, &args.inputs[..]) {
        // Else it would be found out when the output is read.
        let (target, _) = target(args, input);
        base.check_chain(&target.to_string_lossy())?;
    }
    if args.dry_run {
        return dry_run::run(args, &options);
    }
    let compressor = Compressor { args, options, books: origin };
    match &args.inputs[..] {
        [one] if !many::is_many(&args.inputs, &args.many) => compressor.one(one, started),
        _ => compressor.many(),
    }
}

/// What is the same for all files.
struct Compressor<'a> {
    args: &'a CompressArgs,
    options: WriteOptions,
    /// The file that the codebooks come from.
    books: Option<Origin>,
}

impl Compressor<'_> {
    /// Compresses one file, a sharded model or standard input.
    fn one(mut self, path: &Path, started: Instant) -> Result<u8> {
        let args = self.args;
        let has_base = self.options.base.is_some();
        self.options.analyse = args.common.json || args.verbose || args.stats || has_base;
        self.options.ideals = args.verbose || args.stats;
        let (target, create) = target(args, path);
        if args.many.rm {
            files::require_removable(path, [target.as_path()])?;
        }
        let (inputs, note) = open_one(args, path)?;
        if args.many.rm {
            self.keep_bases(&inputs)?;
        }
        let matches = self.options.base.as_ref().map(|base| base.matches(&inputs));
        let total = inputs.iter().map(|input| input.file.bytes()).sum();
        let bar = progress::bytes(total, args.common.quiet);
        let (written, label) = self.write(&inputs, (&target, create), &bar)?;
        bar.finish_and_clear();
        let removal = args.many.rm.then(|| self.remove(&inputs, &target, path));
        let stream = if files::is_stdout(&target) { Stream::Stderr } else { Stream::Stdout };
        let seconds = started.elapsed().as_secs_f64();
        let report =
            report::Report::new(&self.options, &written, matches, (&removal, note), seconds);
        if args.common.json {
            stream.print_json(&report)?;
        } else if !args.common.quiet {
            stream.print(&report.text(args.verbose || args.stats, &inputs, &label))?;
        }
        Ok(failure::of_removal(removal, args.common.json))
    }

    /// Refuses `--rm` for an input that is a base of the delta, or a part of one: the delta could not be restored.
    fn keep_bases(&self, inputs: &[Input]) -> Result<()> {
        let bases: Vec<_> = self.options.base.iter().flat_map(|base| base.origins()).collect();
        for input in inputs {
            if bases.iter().any(|base| base.is_same(input.file.origin())) {
                bail!(
                    "{}: --rm would remove the base, and the delta needs it to be restored",
                    input.file.label()
                );
            }
        }
        Ok(())
    }

    /// Compresses several files, and folders.
    fn many(self) -> Result<u8> {
        let args = self.args;
        let task = Task {
            direction: Direction::Compress,
            inputs: &args.inputs,
            output: args.output.as_deref(),
            force: args.force,
            verbose: args.verbose,
            many: &args.many,
            common: &args.common,
        };
        many::run(&task, |job, bar| self.job(job, bar))
    }

    /// Compresses one of several files.
    fn job(&self, job: &Job, bar: &ProgressBar) -> Result<Done> {
        let [target] = &job.targets[..] else {
            bail!("{}: it has no output", job.source.display())
        };
        let (inputs, note) = open_job(self.args, job)?;
        let (written, _) = self.write(&inputs, (target, files::create_one_of_many), bar)?;
        let removed = self.args.many.rm.then(|| self.remove(&inputs, target, &job.source));
        let (raw_bytes, file_bytes) = (written.directory.raw_bytes(), written.bytes);
        Ok(Done { raw_bytes, file_bytes, note, removed, ..Done::default() })
    }

    /// Writes a .hw file; returns what was written, and what messages call the file.
    fn write(
        &self,
        inputs: &[Input],
        (target, create): (&Path, Create),
        bar: &ProgressBar,
    ) -> Result<(Written, String)> {
        let origins = inputs.iter().map(|input| input.file.origin());
        let bases = self.options.base.iter().flat_map(|base| base.origins());
        let origins: Vec<&Origin> = origins.chain(&self.books).chain(bases).collect();
        let output = create(target, self.args.force, &origins)?;
        let label = output.label().to_owned();
        let mut writer = Writer::new(output, self.options.clone())?;
        writer.add_inputs(inputs, |bytes| bar.inc(bytes))?;
        Ok((writer.finish()?, label))
    }

    /// Removes the inputs of a .hw file if it holds the same, and its name is on the disk: all of them or none, as far as
    /// that can be known before.
    fn remove(&self, inputs: &[Input], hw: &Path, path: &Path) -> Result<()> {
        let check_removable = || inputs.iter().try_for_each(|input| input.file.check_removable());
        let check = || -> Result<()> {
            check_removable()?;
            let workers = &self.options.workers;
            let mut reader = files::read_hw(InputFile::open(hw)?, workers)?;
            if reader.missing().is_some() {
                let books = self.options.codebooks.clone();
                reader = reader.with_codebooks(books, "--codebooks")?;
            }
            if let Some(base) = &self.options.base {
                reader = reader.with_base(base.clone())?;
            }
            check_originals(&reader, inputs)?;
            huffwire_io::sync_name(hw)?;
            // Once more: reading takes its time.
            Ok(check_removable()?)
        };
        let kept = || format!("{}: kept, and its output too", path.display());
        check().with_context(kept)?;
        for (removed, input) in inputs.iter().enumerate() {
            input.file.remove().with_context(|| match removed {
                0 => kept(),
                _ => format!(
                    "{}: {removed} of its {} files were removed and the others kept; the output holds all of them",
                    path.display(),
                    inputs.len()
                ),
            })?;
        }
        Ok(())
    }
}

/// What is to be compressed, and what is worth knowing of it.
type Opened = (Vec<Input>, Option<String>);

/// Opens the only input: a file, a sharded model, or standard input, which can be read once and in order.
fn open_one(args: &CompressArgs, path: &Path) -> Result<Opened> {
    if args.many.recursive && !is_dash(path) {
        return open_any(path);
    }
    Ok((files::open_tensors_once(path, &args.raw)?, None))
}

/// Opens one of several inputs.
fn open_job(args: &CompressArgs, job: &Job) -> Result<Opened> {
    match job.action {
        Action::CompressAny => open_any(&job.source),
        _ => Ok((files::open_tensors(&job.source, &args.raw)?, None)),
    }
}

/// Opens a file of any kind, as with `-r`.
fn open_any(path: &Path) -> Result<Opened> {
    let (input, why) = Input::open_any(path)?;
    Ok((vec![input], why.map(|why| format!("compressed as bytes: {why}"))))
}

/// Checks that a .hw file holds these files.
fn check_originals(reader: &Reader, inputs: &[Input]) -> Result<()> {
    let originals = &reader.directory().originals;
    for (original, input) in originals.iter().zip(inputs) {
        reader.compare_original(original, &input.file, |_| ())?;
    }
    if originals.len() != inputs.len() {
        bail!("{}: it does not hold all that was compressed", reader.file().label());
    }
    Ok(())
}

/// The file to write, and how it is made: as the user said, else the input's name with `.hw`.
fn target(args: &CompressArgs, input: &Path) -> (PathBuf, Create) {
    let with_suffix = |path: &Path| {
        let mut name = OsString::from(path.as_os_str());
        name.push(".hw");
        PathBuf::from(name)
    };
    let target = match &args.output {
        Some(folder) if folder.is_dir() && !is_dash(input) => {
            let name = input.file_name().map(Path::new);
            let target = name.map_or_else(|| folder.clone(), |name| folder.join(with_suffix(name)));
            // The user named the folder, and did not see what lies in it.
            return (target, files::create_one_of_many);
        }
        Some(path) => path.clone(),
        None if is_dash(input) => PathBuf::from("-"),
        None => with_suffix(input),
    };
    (target, files::create)
}
