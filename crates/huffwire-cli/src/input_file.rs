//! Reading at any offset: what parallel workers need, from files and from standard input alike.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A file that is read at offsets. The size is that of the moment of opening.
#[derive(Debug)]
pub(crate) struct InputFile {
    file: File,
    bytes: u64,
    label: String,
    identity: Option<Identity>,
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

impl InputFile {
    /// Opens a file, or standard input for `-`. What cannot be read at offsets (a pipe) is first
    /// copied to a temporary file that has no name.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if is_dash(path) {
            let stdin = io::stdin();
            let identity = Identity::of_stream(&stdin);
            return Self::spool(stdin.lock(), "standard input".to_owned(), identity);
        }
        let label = path.display().to_string();
        let file = File::open(path).with_context(|| format!("{label}: cannot be opened"))?;
        let metadata = file.metadata().with_context(|| label.clone())?;
        if metadata.is_dir() {
            bail!("{label}: this is a folder; give a file in it");
        }
        let identity = Identity::of(path);
        if !metadata.is_file() {
            return Self::spool(file, label, identity);
        }
        Ok(Self { file, bytes: metadata.len(), label, identity })
    }

    fn spool(mut from: impl Read, label: String, identity: Option<Identity>) -> Result<Self> {
        let context = || format!("{label}: cannot be copied to a temporary file");
        let mut file = tempfile::tempfile().with_context(context)?;
        let bytes = io::copy(&mut from, &mut file).with_context(context)?;
        file.rewind().with_context(context)?;
        Ok(Self { file, bytes, label, identity })
    }

    /// How messages call this file.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Size in bytes.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether this is the file that `other` names.
    pub(crate) fn is(&self, other: &Identity) -> bool {
        self.identity.as_ref() == Some(other)
    }

    /// Fills `buffer` with what lies at `offset`.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        read_exact_at(&self.file, buffer, offset).with_context(|| {
            let (label, length) = (&self.label, buffer.len());
            format!("{label}: {length} bytes at offset {offset} cannot be read")
        })
    }

    /// The bytes of a range, which the caller has found to be of reasonable size.
    pub(crate) fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start)?];
        self.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }
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
