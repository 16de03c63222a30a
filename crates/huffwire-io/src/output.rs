//! Output that appears under its name only when it is complete.

mod gather;
mod link;
mod partial;
mod published;
mod write_back;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::input::{Identity, Origin};

use gather::Gather;
pub use link::create_link;
use partial::temporary_beside;
pub use partial::{create_partial_folder, remove_partial_files};
pub use published::Published;

/// Blocks of a tensor are larger than this; it gathers the many small writes around them to a stream.
const BUFFER: usize = 1 << 16;

/// A destination that was found fit to be written to.
///
/// A file is written under a temporary name beside its own, and gets its name in the end
/// ([`Output::finish`]). Dropped before that, it leaves no trace. An existing file that is replaced keeps
/// its permissions. Streams and devices are written as the bytes come.
///
/// ```
/// use huffwire_io::Output;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("out.bin");
/// let mut output = Output::create(&path, false, &[])?;
/// output.write(b"all ")?;
/// output.write(b"or nothing")?;
/// assert!(!path.exists());
/// output.finish()?;
/// assert_eq!(std::fs::read(&path)?, b"all or nothing");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Output {
    sink: Sink,
    label: String,
    force: bool,
    written: u64,
    /// What the run has made so far, if it counts.
    run: Option<Arc<Published>>,
}

enum Sink {
    /// Standard output, a device, a pipe, or whatever the caller gave.
    Stream(BufWriter<Box<dyn Write + Send>>),
    /// A file beside the final one, which takes its place in the end.
    File { temporary: NamedTempFile, target: PathBuf, gather: Gather },
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(_) => f.write_str("Stream"),
            Self::File { target, .. } => f.debug_struct("File").field("target", target).finish(),
        }
    }
}

impl Sink {
    fn stream(stream: impl Write + Send + 'static) -> Self {
        Self::Stream(BufWriter::with_capacity(BUFFER, Box::new(stream)))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.write_all(bytes),
            Self::File { temporary, gather, .. } => gather.write(temporary.as_file_mut(), bytes),
        }
    }

    /// Writes what was kept back, and brings a file to the disk.
    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.flush(),
            Self::File { temporary, gather, .. } => {
                gather.finish(temporary.as_file_mut())?;
                temporary.as_file().sync_all()
            }
        }
    }
}

impl Output {
    /// Prepares to write the file `path`. `force` allows that a file of that name is replaced. `inputs`
    /// are the files that the output is made from. A symbolic link at `path` is followed.
    ///
    /// # Errors
    /// Before any work is done: [`Error::Exists`] without `force`, [`Error::SameFile`] when the file is
    /// one of the `inputs`, [`Error::IsFolder`], and [`Error::Io`] when the folder cannot be written to.
    pub fn create(path: &Path, force: bool, inputs: &[&Origin]) -> Result<Self> {
        let label = path.display().to_string();
        refuse_inputs(&label, Identity::of(path), inputs)?;
        let Ok(metadata) = fs::metadata(path) else {
            if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
                return Err(partial::no_folder(&label, path, io::ErrorKind::NotFound.into()));
            }
            return Self::at(path, path.to_owned(), force);
        };
        if metadata.is_dir() {
            return Err(Error::folder(path));
        }
        match path.canonicalize() {
            // A link stays a link: what it points to is replaced.
            Ok(target) if metadata.is_file() && path.is_symlink() => Self::at(path, target, force),
            Ok(_) if metadata.is_file() => Self::at(path, path.to_owned(), force),
            // Links such as `/dev/stdout` may lead to what can be opened, but has no name.
            Err(_) if metadata.is_file() && !force => Err(Error::Exists { path: label }),
            _ => Self::into(path, label),
        }
    }

    /// As [`Output::create`]; but if there is a symbolic link at `path`, the link itself is replaced, and what it points
    /// to stays as it is. For names that nobody typed: whoever made such a link may have been somebody else.
    ///
    /// # Errors
    /// As [`Output::create`].
    pub fn create_no_follow(path: &Path, force: bool, inputs: &[&Origin]) -> Result<Self> {
        refuse_inputs(&path.display().to_string(), Identity::of_entry(path), inputs)?;
        Self::at(path, path.to_owned(), force)
    }

    /// Prepares to write a file that takes the place of `target`, which messages call `path`.
    fn at(path: &Path, target: PathBuf, force: bool) -> Result<Self> {
        let label = path.display().to_string();
        let replaced = match fs::symlink_metadata(&target) {
            Ok(metadata) if metadata.is_dir() => return Err(Error::folder(path)),
            Ok(metadata) if !metadata.is_file() && !metadata.is_symlink() => {
                return Self::into(&target, label);
            }
            Ok(_) if !force => return Err(Error::Exists { path: label }),
            replaced => replaced.ok(),
        };
        let temporary = temporary_beside(&target, replaced)?;
        let gather = Gather::default();
        Ok(Self::new(Sink::File { temporary, target, gather }, label, force))
    }

    /// Prepares to write into what is there: a pipe, a device, or a file that has lost its name.
    fn into(path: &Path, label: String) -> Result<Self> {
        let file = OpenOptions::new().write(true).truncate(true).open(path);
        let file = file.map_err(Error::io(&label, "cannot be written to"))?;
        Ok(Self::new(Sink::stream(file), label, false))
    }

    /// Prepares to write to standard output. `inputs` are the files that the output is made from.
    ///
    /// # Errors
    /// [`Error::Terminal`], and [`Error::SameFile`] when standard output goes to one of the `inputs`.
    pub fn stdout(inputs: &[&Origin]) -> Result<Self> {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            return Err(Error::Terminal);
        }
        let label = "standard output".to_owned();
        refuse_inputs(&label, Identity::of_stream(&stdout), inputs)?;
        let file = stdout_file().map_err(Error::io(&label, "cannot be written to"))?;
        Ok(Self::new(Sink::stream(file), label, false))
    }

    /// Prepares to write to any stream. `label` is its name in messages.
    pub fn to_stream(label: &str, stream: impl Write + Send + 'static) -> Self {
        Self::new(Sink::stream(stream), label.to_owned(), false)
    }

    const fn new(sink: Sink, label: String, force: bool) -> Self {
        Self { sink, label, force, written: 0, run: None }
    }

    /// The same output as one of a run: in the end it replaces no other output of this run, even where `force` was given.
    #[must_use]
    pub fn one_of(mut self, run: &Arc<Published>) -> Self {
        self.run = Some(Arc::clone(run));
        self
    }

    /// The name in messages: the path, or `standard output`.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write(bytes).map_err(Error::io(&self.label, "cannot be written"))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Brings everything to the disk. The file has not got its name yet; several can get theirs together
    /// ([`Complete::publish_all`]).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn complete(mut self) -> Result<Complete> {
        self.sink.finish().map_err(Error::io(&self.label, "cannot be written"))?;
        let Self { sink, label, force, run, .. } = self;
        Ok(Complete { sink, label, force, run })
    }

    /// Completes the output and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::MadeBefore`].
    pub fn finish(self) -> Result<()> {
        self.complete()?.publish().map(drop)
    }
}

/// Output that is on the disk but has not got its name yet.
#[derive(Debug)]
pub struct Complete {
    sink: Sink,
    label: String,
    force: bool,
    run: Option<Arc<Published>>,
}

impl Complete {
    /// Gives several files their names. If one of them cannot get its name, the files that already got
    /// theirs are removed again, except those that were allowed to replace something (`force`): the old
    /// file is gone, and removing the new one too would leave nothing at all.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::MadeBefore`].
    pub fn publish_all(all: Vec<Self>) -> Result<()> {
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

    /// Gives the file its name; returns the path if nothing can have been replaced.
    fn publish(self) -> Result<Option<PathBuf>> {
        let Sink::File { temporary, target, .. } = self.sink else { return Ok(None) };
        let persist = || {
            let persisted = if self.force {
                temporary.persist(&target)
            } else {
                temporary.persist_noclobber(&target)
            };
            let failed = Error::io(&self.label, "the finished file cannot get this name");
            persisted.map_err(|error| failed(error.error)).map(drop)
        };
        match &self.run {
            Some(run) => run.publish(&target, persist)?,
            None => persist()?,
        }
        Ok((!self.force).then_some(target))
    }
}

fn refuse_inputs(label: &str, output: Option<Identity>, inputs: &[&Origin]) -> Result<()> {
    if let Some(output) = output
        && let Some(input) = inputs.iter().find(|input| input.is(&output))
    {
        let (path, input) = (label.to_owned(), input.label().to_owned());
        return Err(Error::SameFile { path, input });
    }
    Ok(())
}

/// Brings the names of the files in a folder to the disk: those of [`Output`] get there after a while by themselves.
///
/// # Errors
/// [`Error::Io`].
pub fn sync_folder(path: &Path) -> Result<()> {
    // Elsewhere folders cannot be opened.
    if cfg!(unix) {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let synced = File::open(path).and_then(|folder| folder.sync_all());
        synced.map_err(Error::io(&path.display().to_string(), "this folder cannot be synced"))?;
    }
    Ok(())
}

/// Brings the name of a file to the disk, as [`sync_folder`] does. Where `path` is a symbolic link, it is the name of what
/// the link leads to.
///
/// # Errors
/// [`Error::Io`].
pub fn sync_name(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    sync_folder(&folder.map_err(Error::io(&path.display().to_string(), "cannot be found"))?)
}

/// The folder with the name of a file, links followed.
fn folder_of(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.canonicalize()?;
    name.pop();
    Ok(name)
}

/// Standard output without the line buffer in front of it.
#[cfg(unix)]
fn stdout_file() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

#[cfg(windows)]
fn stdout_file() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(File::from(io::stdout().as_handle().try_clone_to_owned()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_folder_and_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = Output::create(&folder.path().join("absent/x"), false, &[]).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("absent does not exist; make it first"), "{message}");
        assert!(!message.contains("partial"), "{message}");
    }

    fn complete(path: &Path, force: bool) -> Complete {
        let mut output = Output::create(path, force, &[]).unwrap();
        output.write(b"new").unwrap();
        assert_eq!(output.written(), 3);
        output.complete().unwrap()
    }

    /// So large that it is written back early.
    #[test]
    fn a_large_file_holds_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        let piece: Vec<u8> = (0..1_000_003u32).map(|i| (i % 253) as u8).collect();
        let mut output = Output::create(&path, false, &[]).unwrap();
        for _ in 0..40 {
            output.write(&piece).unwrap();
        }
        assert_eq!(output.written(), 40 * piece.len() as u64);
        output.finish().unwrap();
        let content = fs::read(&path).unwrap();
        assert_eq!(content.len(), 40 * piece.len());
        assert!(content.chunks(piece.len()).all(|part| part == piece));
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

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed_or_replaced() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let [link, dangling, file] =
            ["link", "dangling", "file"].map(|name| folder.path().join(name));
        let write = |mut output: Output| {
            output.write(b"new").unwrap();
            output.finish().unwrap();
        };
        fs::write(&file, b"old").unwrap();
        symlink("file", &link).unwrap();
        symlink("absent", &dangling).unwrap();
        for link in [&link, &dangling] {
            let error = Output::create_no_follow(link, false, &[]).unwrap_err();
            assert!(matches!(error, Error::Exists { .. }), "{error}");
            // The input is what the link leads to, and stays.
            write(Output::create_no_follow(link, true, &[&Origin::of(&file)]).unwrap());
            assert!(!link.is_symlink() && fs::read(link).unwrap() == b"new");
        }
        assert_eq!(fs::read(&file).unwrap(), b"old");
        let error = Output::create_no_follow(&file, true, &[&Origin::of(&file)]).unwrap_err();
        assert!(matches!(error, Error::SameFile { .. }), "{error}");
        fs::remove_file(&link).unwrap();
        symlink("file", &link).unwrap();
        write(Output::create(&link, true, &[]).unwrap());
        assert!(link.is_symlink() && fs::read(&file).unwrap() == b"new");
    }

    /// Nothing tells whether a name is on the disk, but the folder is the one where the name is.
    #[cfg(unix)]
    #[test]
    fn the_folder_of_a_name_is_found_through_links() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["links", "files"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        symlink("links", root.join("to-links")).unwrap();
        symlink("../files/x", root.join("links/link")).unwrap();
        fs::write(root.join("files/x"), b"old").unwrap();
        complete(&root.join("to-links/link"), true).publish().unwrap();
        for (path, place) in [("to-links/link", "files"), ("files/x", "files")] {
            assert_eq!(folder_of(&root.join(path)).unwrap(), root.join(place), "{path}");
            sync_name(&root.join(path)).unwrap();
        }
        assert!(sync_name(&root.join("absent")).unwrap_err().to_string().contains("absent"));
    }

    #[cfg(unix)]
    #[test]
    fn a_replaced_file_keeps_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("private");
        fs::write(&path, b"old").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        Complete::publish_all(vec![complete(&path, true)]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
