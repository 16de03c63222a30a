//! A file that is at hand whenever it is read, without being open all the time if there are very many.

use std::fs::File;
use std::ops::Deref;
use std::path::{self, Path};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::identity::Stamp;
use crate::error::{Error, Result};

/// Files that stay open. Systems allow a process 256 open files or more, unless they are told otherwise, and a program
/// has others.
pub(super) const MOST_OPEN: usize = 128;

/// Files of this process that stay open.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A file that can be read at any time.
#[derive(Debug)]
pub(super) enum Handle {
    /// It stays open.
    Open(Counted),
    /// Others do. It is opened for each read, and must be the same file then.
    Closed(Stamp),
}

/// An open file that is counted as long as it is open.
#[derive(Debug)]
pub(super) struct Counted(File);

impl Counted {
    fn new(file: File) -> (Self, usize) {
        let before = OPEN.fetch_add(1, Ordering::Relaxed);
        (Self(file), before)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file, open as long as this lives.
pub(super) enum Opened<'a> {
    Before(&'a File),
    Now(File),
}

impl Deref for Opened<'_> {
    type Target = File;

    fn deref(&self) -> &File {
        match self {
            Self::Before(file) => file,
            Self::Now(file) => file,
        }
    }
}

impl Handle {
    /// A file that was opened by a path, at which it can be opened again.
    pub(super) fn new(file: File, path: &Path) -> Self {
        let (counted, before) = Counted::new(file);
        if before < MOST_OPEN {
            return Self::Open(counted);
        }
        // The path must lead there from wherever the process will be then.
        match (path::absolute(path), counted.0.metadata()) {
            (Ok(path), Ok(metadata)) => Self::Closed(Stamp::of(&path, &metadata)),
            _ => Self::Open(counted),
        }
    }

    /// A file that has no path.
    pub(super) fn unnamed(file: File) -> Self {
        Self::Open(Counted::new(file).0)
    }

    /// The file, opened if need be. `label` is its name in messages.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened again, [`Error::Modified`] when it is another one by now.
    pub(super) fn file(&self, label: &str) -> Result<Opened<'_>> {
        match self {
            Self::Open(Counted(file)) => Ok(Opened::Before(file)),
            Self::Closed(stamp) => {
                let failed = || Error::io(label, "cannot be opened again");
                let file = File::open(&stamp.path).map_err(failed())?;
                let now = Stamp::of(&stamp.path, &file.metadata().map_err(failed())?);
                if !now.is_same_file(stamp) {
                    return Err(Error::Modified { path: label.to_owned() });
                }
                Ok(Opened::Now(file))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::InputFile;
    use super::*;

    #[test]
    fn very_many_files_do_not_stay_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = |i: usize| folder.path().join(i.to_string());
        let open = |i: usize| {
            fs::write(path(i), i.to_string()).unwrap();
            InputFile::open(&path(i)).unwrap()
        };
        let files: Vec<InputFile> = (0..2 * MOST_OPEN).map(open).collect();
        for (i, file) in files.iter().enumerate() {
            assert_eq!(file.read(0..file.bytes()).unwrap(), i.to_string().as_bytes());
            file.check_length().unwrap();
        }
        let closed: Vec<_> = files.iter().filter(|file| !file.stays_open()).collect();
        assert!(closed.len() >= MOST_OPEN, "{}", closed.len());
        // One that is opened again must be the one that was opened first.
        let (last, path) = (2 * MOST_OPEN - 1, path(2 * MOST_OPEN - 1));
        assert!(!files[last].stays_open());
        fs::write(&path, "longer").unwrap();
        assert!(matches!(files[last].check_length(), Err(Error::Changed { .. })));
        let other = path.with_extension("other");
        fs::write(&other, last.to_string()).unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(matches!(files[last].read(0..1), Err(Error::Modified { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(files[last].read(0..1), Err(Error::Io { .. })));
    }
}
