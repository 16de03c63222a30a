//! Reading at any offset: what parallel workers need, from files and from standard input alike.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The environment variable that says where temporary files go.
const TEMPORARY: &str = if cfg!(windows) { "TMP" } else { "TMPDIR" };

/// Bytes of something of unproven size that are read at a time.
const CHUNK: u64 = 1 << 20;

/// A file that is read at offsets. The size is that of the moment of opening; whether it stayed so,
/// [`InputFile::check_length`] tells.
#[derive(Debug)]
pub(crate) struct InputFile {
    file: File,
    bytes: u64,
    origin: Origin,
}

/// Where an input comes from: what output is held against, lest it destroys an input.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    label: String,
    identity: Option<Identity>,
}

impl Origin {
    /// What a path on the command line names as an input, without opening it.
    pub(crate) fn of(path: &Path) -> Self {
        if is_dash(path) {
            let identity = Identity::of_stream(&io::stdin());
            return Self { label: "standard input".to_owned(), identity };
        }
        Self { label: path.display().to_string(), identity: Identity::of(path) }
    }

    /// How messages call the input.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Whether this is the file that `other` names.
    pub(crate) fn is(&self, other: &Identity) -> bool {
        self.identity.as_ref() == Some(other)
    }
}

/// Which file it is, whatever path led there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity(#[cfg(unix)] (u64, u64), #[cfg(not(unix))] std::path::PathBuf);

impl Identity {
    /// The file at `path`, links followed; `None` when there is none.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        #[cfg(unix)]
        return std::fs::metadata(path).ok().map(|m| Self::from_metadata(&m));
        #[cfg(not(unix))]
        return path.canonicalize().ok().map(Self);
    }

    #[cfg(unix)]
    pub(crate) fn from_metadata(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self((metadata.dev(), metadata.ino()))
    }

    /// What a standard stream is redirected to, as far as the system tells.
    #[cfg(unix)]
    pub(crate) fn of_stream(stream: &impl std::os::fd::AsFd) -> Option<Self> {
        let file = File::from(stream.as_fd().try_clone_to_owned().ok()?);
        let metadata = file.metadata().ok()?;
        metadata.is_file().then(|| Self::from_metadata(&metadata))
    }

    #[cfg(not(unix))]
    pub(crate) fn of_stream<T>(_stream: &T) -> Option<Self> {
        None
    }
}

/// Whether a path on the command line means standard input or output.
pub(crate) fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A path that is made of the name of a file: there `-` is a name like any other.
pub(crate) fn as_file(path: PathBuf) -> PathBuf {
    if is_dash(&path) { Path::new(".").join(path) } else { path }
}

impl InputFile {
    /// Opens a file, or standard input for `-`. What cannot be read at offsets (a pipe) is first
    /// copied to a temporary file that has no name.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let origin = Origin::of(path);
        if is_dash(path) {
            return Self::spool(io::stdin().lock(), origin);
        }
        let label = &origin.label;
        let file = File::open(path).with_context(|| format!("{label}: cannot be opened"))?;
        let metadata = file.metadata().with_context(|| label.clone())?;
        if metadata.is_dir() {
            bail!("{label}: this is a folder; give a file in it");
        }
        let bytes = metadata.len();
        // Files that the system makes up as they are read, such as those in /proc, have no size or a wrong one.
        if !metadata.is_file() {
            return Self::spool(file, origin);
        }
        let at_offsets = match ends_at(&file, bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotSeekable => false,
            ends_there => ends_there.with_context(|| format!("{label}: it cannot be read"))?,
        };
        if at_offsets { Ok(Self { file, bytes, origin }) } else { Self::spool(file, origin) }
    }

    /// An error when the file is no longer as long as it was: what was read then is a part of it, or of two states of
    /// it. To be called when all was read and nothing of it has appeared yet.
    pub(crate) fn check_length(&self) -> Result<()> {
        let context = || format!("{}: it cannot be read", self.label());
        if !ends_at(&self.file, self.bytes).with_context(context)? {
            let now = self.file.metadata().with_context(context)?.len();
            bail!(
                "{}: it had {} bytes, and {now} after it was read: somebody writes to it; \
                 wait until that is done",
                self.label(),
                self.bytes
            );
        }
        Ok(())
    }

    fn spool(mut from: impl Read, origin: Origin) -> Result<Self> {
        let context = || {
            let folder = std::env::temp_dir();
            format!(
                "{}: cannot be copied to a temporary file in {}, where input from a pipe is kept \
                 meanwhile; the variable {TEMPORARY} names another folder",
                origin.label,
                folder.display()
            )
        };
        let mut file = tempfile::tempfile().with_context(context)?;
        let bytes = io::copy(&mut from, &mut file).with_context(context)?;
        file.rewind().with_context(context)?;
        Ok(Self { file, bytes, origin })
    }

    /// How messages call this file.
    pub(crate) fn label(&self) -> &str {
        &self.origin.label
    }

    /// Where it comes from.
    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Size in bytes.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `buffer` with what lies at `offset`.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let read = read_exact_at(&self.file, buffer, offset);
        if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            // It tells more, if that is the reason.
            self.check_length()?;
        }
        read.with_context(|| {
            let (label, length) = (self.label(), buffer.len());
            format!("{label}: {length} bytes at offset {offset} cannot be read")
        })
    }

    /// The bytes of a range, which the caller has found to be of reasonable size.
    pub(crate) fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start)?];
        self.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    /// The bytes of a range whose size nobody has vouched for. Memory grows as they arrive, and
    /// having too little of it is an error like any other.
    pub(crate) fn read_unproven(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let size = range.end - range.start;
        let mut bytes = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let chunk = (range.end - at).min(CHUNK) as usize;
            let reserved = bytes.try_reserve(chunk);
            reserved.with_context(|| {
                format!("{}: there is no memory for {size} bytes", self.label())
            })?;
            let filled = bytes.len();
            bytes.resize(filled + chunk, 0);
            self.read_exact_at(&mut bytes[filled..], at)?;
            at += chunk as u64;
        }
        Ok(bytes)
    }
}

/// Whether a file has a byte before this offset, and none from it on.
fn ends_at(file: &File, offset: u64) -> io::Result<bool> {
    let is_there = |at| match read_exact_at(file, &mut [0], at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    };
    Ok((offset == 0 || is_there(offset - 1)?) && !is_there(offset)?)
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        match file.seek_read(buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_that_grows_or_shrinks_is_noticed() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for content in ["", "content"] {
            file.write_all(content.as_bytes()).unwrap();
            let input = InputFile::open(file.path()).unwrap();
            assert_eq!(input.read(0..input.bytes()).unwrap(), content.as_bytes());
            input.check_length().unwrap();
            file.write_all(b"more").unwrap();
            let error = input.check_length().unwrap_err().to_string();
            let (before, after) = (content.len(), content.len() + 4);
            assert!(error.contains(&format!("{before} bytes, and {after} after")), "{error}");
            file.as_file().set_len(content.len() as u64).unwrap();
            input.check_length().unwrap();
            file.as_file().set_len(0).unwrap();
            file.rewind().unwrap();
            assert_eq!(input.check_length().is_err(), !content.is_empty());
            if !content.is_empty() {
                let error = input.read(0..input.bytes()).unwrap_err().to_string();
                assert!(error.contains("7 bytes, and 0 after"), "{error}");
            }
        }
    }

    /// Their size is said to be 0, or a page.
    #[cfg(target_os = "linux")]
    #[test]
    fn files_that_the_system_makes_up_are_read_whole() {
        for path in
            ["/proc/version", "/proc/self/cmdline", "/sys/kernel/mm/transparent_hugepage/enabled"]
        {
            let Ok(expected) = std::fs::read(path) else { continue };
            let input = InputFile::open(Path::new(path)).unwrap();
            assert_eq!(input.read(0..input.bytes()).unwrap(), expected, "{path}");
            input.check_length().unwrap();
        }
    }
}
