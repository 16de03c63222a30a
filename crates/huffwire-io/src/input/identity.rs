//! Which file it is, and whether it is still what it was.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where an input comes from: its name in messages, and which file it is, so that no output replaces an
/// input.
#[derive(Debug, Clone)]
pub struct Origin {
    pub(super) label: String,
    pub(super) identity: Option<Identity>,
}

impl Origin {
    /// The file that `path` names. The file is not opened.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self { label: path.display().to_string(), identity: Identity::of(path) }
    }

    /// A file that was opened by this path.
    pub(super) fn of_open(path: &Path, metadata: &Metadata) -> Self {
        Self { label: path.display().to_string(), identity: Identity::of_open(path, metadata) }
    }

    /// Standard input.
    #[must_use]
    pub fn stdin() -> Self {
        let identity = Identity::of_stream(&io::stdin());
        Self { label: "standard input".to_owned(), identity }
    }

    /// The name in messages: the path, or `standard input`.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether both are the same file, by whatever names.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.identity.is_some() && self.identity == other.identity
    }

    /// Whether this is the file that `other` names.
    pub(crate) fn is(&self, other: &Identity) -> bool {
        self.identity.as_ref() == Some(other)
    }
}

/// Which file it is, whatever path led there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Identity(#[cfg(unix)] (u64, u64), #[cfg(not(unix))] std::path::PathBuf);

impl Identity {
    /// The file at `path`, links followed; `None` when there is none.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        #[cfg(unix)]
        return std::fs::metadata(path).ok().map(|m| Self::from_metadata(&m));
        #[cfg(not(unix))]
        return path.canonicalize().ok().map(Self);
    }

    /// What the path itself names: links are not followed. `None` when there is nothing.
    pub(crate) fn of_entry(path: &Path) -> Option<Self> {
        #[cfg(unix)]
        return std::fs::symlink_metadata(path).ok().map(|m| Self::from_metadata(&m));
        #[cfg(not(unix))]
        {
            if !std::fs::symlink_metadata(path).ok()?.is_symlink() {
                // The name as the folder has it, however it was typed.
                return path.canonicalize().ok().map(Self);
            }
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let folder = parent.unwrap_or(Path::new(".")).canonicalize().ok()?;
            Some(Self(path.file_name().map_or_else(|| folder.clone(), |name| folder.join(name))))
        }
    }

    /// A file that was opened by this path.
    pub(super) fn of_open(path: &Path, metadata: &Metadata) -> Option<Self> {
        #[cfg(unix)]
        {
            let _ = path;
            Some(Self::from_metadata(metadata))
        }
        #[cfg(not(unix))]
        {
            let _ = metadata;
            Self::of(path)
        }
    }

    #[cfg(unix)]
    fn from_metadata(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self((metadata.dev(), metadata.ino()))
    }

    /// The file that a standard stream is redirected to, as far as the system tells.
    #[cfg(unix)]
    pub(crate) fn of_stream(stream: &impl std::os::fd::AsFd) -> Option<Self> {
        let file = std::fs::File::from(stream.as_fd().try_clone_to_owned().ok()?);
        let metadata = file.metadata().ok()?;
        metadata.is_file().then(|| Self::from_metadata(&metadata))
    }

    #[cfg(not(unix))]
    pub(crate) fn of_stream<T>(_stream: &T) -> Option<Self> {
        None
    }
}

/// Where a file lay when it was opened, and what it was then.
#[derive(Debug)]
pub(super) struct Stamp {
    pub(super) path: PathBuf,
    identity: Option<Identity>,
    bytes: u64,
    modified: Option<SystemTime>,
    /// When its content or anything that is known of it was changed, which no program can set.
    #[cfg(unix)]
    changed: (i64, i64),
    /// How many names it has.
    #[cfg(unix)]
    names: u64,
}

impl Stamp {
    /// The stamp of a file that was opened by this path, or found there.
    pub(super) fn of(path: &Path, metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            path: path.to_owned(),
            identity: Identity::of_open(path, metadata),
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            #[cfg(unix)]
            names: metadata.nlink(),
        }
    }

    /// Whether it is the same file, whatever was written to it.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// Whether it is the same file and nobody has written to it.
    pub(super) fn is_unchanged(&self, now: &Self) -> bool {
        // The time of change tells also of those who set the other time back. But it tells of names, too, and another
        // name of the file may be an input that was removed. Names are never added here.
        #[cfg(unix)]
        let untouched = self.changed == now.changed || now.names < self.names;
        #[cfg(not(unix))]
        let untouched = true;
        let same = self.is_same_file(now) && self.bytes == now.bytes;
        same && self.modified == now.modified && untouched
    }
}

/// Whether two paths name one thing, such as a file in two folders that are one. Links are not followed.
#[must_use]
pub fn is_same_entry(a: &Path, b: &Path) -> bool {
    Identity::of_entry(a).is_some_and(|identity| Identity::of_entry(b) == Some(identity))
}
