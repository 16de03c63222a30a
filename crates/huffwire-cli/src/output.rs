//! Output that appears under its name only when it is complete.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::input_file::{Identity, Origin, is_dash};
use crate::interrupt;
use crate::standard::stdout_is_closed;

/// Blocks of a tensor are larger than this; it gathers the many small writes around them.
const BUFFER: usize = 1 << 16;

/// A destination that was found fit to be written to. Dropped before [`Output::finish`] it leaves
/// no trace, unless it is a stream.
#[derive(Debug)]
pub(crate) struct Output {
    writer: BufWriter<Sink>,
    label: String,
    force: bool,
    written: u64,
}

#[derive(Debug)]
enum Sink {
    /// Standard output, a device, a pipe: written as it comes.
    Stream(File),
    /// A file beside the final one, which takes its place in the end.
    File { temporary: NamedTempFile, target: PathBuf },
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stream(file) => file.write(bytes),
            Self::File { temporary, .. } => temporary.as_file_mut().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(file) => file.flush(),
            Self::File { temporary, .. } => temporary.as_file_mut().flush(),
        }
    }
}

impl Output {
    /// Prepares to write to `path`, or to standard output for `-`.
    ///
    /// Refuses, before any work is done: a terminal (the output is binary), a file that exists
    /// (unless `force`), and a file that is one of the `inputs`, codebook files among them.
    pub(crate) fn create(path: &Path, force: bool, inputs: &[&Origin]) -> Result<Self> {
        if is_dash(path) {
            return Self::stdout(inputs);
        }
        let label = path.display().to_string();
        refuse_inputs(&label, Identity::of(path), inputs)?;
        // A link stays a link: what it points to is replaced.
        let link = path.is_symlink().then(|| path.canonicalize().ok()).flatten();
        let target = link.unwrap_or_else(|| path.to_owned());
        let sink = match fs::symlink_metadata(&target) {
            Ok(metadata) if metadata.is_dir() => bail!("{label}: this is a folder"),
            Ok(metadata) if !metadata.is_file() && !metadata.is_symlink() => {
                let file = OpenOptions::new().write(true).open(&target);
                Sink::Stream(file.with_context(|| format!("{label}: cannot be written to"))?)
            }
            Ok(_) if !force => bail!("{label}: already exists; pass --force to overwrite it"),
            replaced => Sink::File { temporary: temporary_beside(&target, replaced.ok())?, target },
        };
        Ok(Self::new(sink, label, force))
    }

    fn stdout(inputs: &[&Origin]) -> Result<Self> {
        let stdout = io::stdout();
        if stdout_is_closed() {
            bail!("standard output is closed: it cannot be written to; pass -o FILE");
        }
        if stdout.is_terminal() {
            bail!("standard output is a terminal and the output is binary; pass -o FILE");
        }
        let label = "standard output".to_owned();
        refuse_inputs(&label, Identity::of_stream(&stdout), inputs)?;
        Ok(Self::new(Sink::Stream(stdout_file()?), label, false))
    }

    fn new(sink: Sink, label: String, force: bool) -> Self {
        Self { writer: BufWriter::with_capacity(BUFFER, sink), label, force, written: 0 }
    }

    /// How messages call this output.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let context = || format!("{}: cannot be written", self.label);
        self.writer.write_all(bytes).with_context(context)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Bytes written so far.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// Brings everything to the disk; what remains to be done cannot fail for want of space.
    pub(crate) fn complete(mut self) -> Result<Complete> {
        let context = format!("{}: cannot be written", self.label);
        self.writer.flush().with_context(|| context.clone())?;
        let (sink, _) = self.writer.into_parts();
        if let Sink::File { temporary, .. } = &sink {
            temporary.as_file().sync_all().context(context)?;
        }
        Ok(Complete { sink, label: self.label, force: self.force })
    }

    /// Completes the output and lets it appear under its name.
    pub(crate) fn finish(self) -> Result<()> {
        self.complete()?.publish().map(drop)
    }
}

/// Output that is on the disk but has not got its name yet: several can appear together.
#[derive(Debug)]
pub(crate) struct Complete {
    sink: Sink,
    label: String,
    force: bool,
}

impl Complete {
    /// Lets several files appear. When one of them cannot, those that already did are taken away
    /// again, unless they may have replaced something (`force`): that is gone, and taking the new
    /// file away too would leave nothing at all.
    pub(crate) fn publish_all(all: Vec<Self>) -> Result<()> {
        let mut published = Vec::new();
        for complete in all {
            match complete.publish() {
                Ok(target) => published.extend(target),
                Err(error) => {
                    for target in published {
                        // The error that led here is the one to report.
                        let _ = fs::remove_file(target);
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Lets the file appear under its name, which it returns if nothing can have been replaced.
    fn publish(self) -> Result<Option<PathBuf>> {
        let Sink::File { temporary, target } = self.sink else { return Ok(None) };
        let persisted = if self.force {
            temporary.persist(&target)
        } else {
            temporary.persist_noclobber(&target)
        };
        let context = || format!("{}: the finished file cannot get this name", self.label);
        persisted.map_err(|failed| failed.error).with_context(context)?;
        Ok((!self.force).then_some(target))
    }
}

fn refuse_inputs(label: &str, output: Option<Identity>, inputs: &[&Origin]) -> Result<()> {
    if let Some(output) = output
        && let Some(input) = inputs.iter().find(|input| input.is(&output))
    {
        bail!("{label}: input and output are the same file ({}); pass another -o", input.label());
    }
    Ok(())
}

/// A file in the folder of another one, whose place it is going to take.
fn temporary_beside(target: &Path, replaced: Option<Metadata>) -> Result<NamedTempFile> {
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let replaced = replaced.filter(Metadata::is_file);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".huffwire-").suffix(".partial");
    // Private by default, and so it stays until it has the mode of a file that it replaces; else the finished file is
    // to have the mode of any file that a program makes.
    #[cfg(unix)]
    if replaced.is_none() {
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    }
    let context = || format!("{}: no file can be made in {}", target.display(), folder.display());
    let temporary = interrupt::file(|| builder.tempfile_in(folder)).with_context(context)?;
    #[cfg(unix)]
    if let Some(replaced) = replaced {
        let kept = temporary.as_file().set_permissions(permissions_of(&replaced));
        kept.with_context(|| format!("{}: its mode cannot be kept", target.display()))?;
    }
    Ok(temporary)
}

/// Who may read and write a file. Nothing that is written here is to be run as somebody else.
#[cfg(unix)]
fn permissions_of(file: &Metadata) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(file.permissions().mode() & 0o777)
}

/// Standard output without the line buffer in front of it.
#[cfg(unix)]
fn stdout_file() -> Result<File> {
    use std::os::fd::AsFd;
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

#[cfg(windows)]
fn stdout_file() -> Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(File::from(io::stdout().as_handle().try_clone_to_owned()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(path: &Path, force: bool) -> Complete {
        let mut output = Output::create(path, force, &[]).unwrap();
        output.write(b"new").unwrap();
        assert_eq!(output.written(), 3);
        output.complete().unwrap()
    }

    #[test]
    fn several_files_appear_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        let both = vec![complete(&first, false), complete(&second, false)];
        // Somebody else was quicker.
        fs::write(&second, b"theirs").unwrap();
        let error = Complete::publish_all(both).unwrap_err();
        assert!(error.to_string().contains("second"), "{error}");
        assert_eq!(fs::read(&second).unwrap(), b"theirs");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "the first was taken away again");
    }

    #[test]
    fn what_was_forced_stays() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        fs::write(&first, b"old").unwrap();
        let both = vec![complete(&first, true), complete(&second, true)];
        // A file cannot take the place of a folder.
        fs::create_dir(&second).unwrap();
        assert!(Complete::publish_all(both).is_err());
        assert_eq!(fs::read(&first).unwrap(), b"new", "the old one is gone in any case");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "no litter");
    }
}
