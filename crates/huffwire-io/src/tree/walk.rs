//! What lies in a folder, and in the folders within it.

use std::fs::{self, FileType};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Something in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies, counted from the folder that was searched.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
}

/// What something in a folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A file of so many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// A symbolic link with this target. It is not followed, so it may lead anywhere.
    Link(PathBuf),
    /// Something else, such as a socket. The text says what.
    Special(&'static str),
}

/// Everything in `folder` and in the folders within it, each folder before what lies in it and otherwise ordered by
/// name; and an error for each part that cannot be read.
///
/// Symbolic links are not followed, except `folder` itself.
#[must_use]
pub fn walk(folder: &Path) -> (Vec<Entry>, Vec<(PathBuf, Error)>) {
    let (mut entries, mut errors) = (Vec::new(), Vec::new());
    // A list instead of recursion: folders may lie deeper than the stack is high.
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let path =
            if below.as_os_str().is_empty() { folder.to_owned() } else { folder.join(&below) };
        match children(&path, &below, &mut errors) {
            Ok(found) => {
                // The last one is taken first, and each folder directly after it was listed.
                let folders = found.iter().filter(|entry| entry.kind == EntryKind::Folder);
                let folders: Vec<PathBuf> = folders.map(|entry| entry.path.clone()).collect();
                open.extend(folders.into_iter().rev());
                entries.extend(found);
            }
            Err(error) => errors.push((path, error)),
        }
    }
    (entries, errors)
}

/// What lies in one folder, by name.
fn children(path: &Path, below: &Path, errors: &mut Vec<(PathBuf, Error)>) -> Result<Vec<Entry>> {
    let label = path.display().to_string();
    let failed = || Error::io(&label, "this folder cannot be read");
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        match kind_of(&entry.path()) {
            Ok(kind) => found.push(Entry { path: below.join(entry.file_name()), kind }),
            Err(error) => errors.push((entry.path(), error)),
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// What a path names; a symbolic link is not followed.
///
/// # Errors
/// [`Error::Io`].
pub fn kind_of(path: &Path) -> Result<EntryKind> {
    let label = path.display().to_string();
    let failed = || Error::io(&label, "cannot be opened");
    let metadata = fs::symlink_metadata(path).map_err(failed())?;
    Ok(if metadata.is_symlink() {
        EntryKind::Link(fs::read_link(path).map_err(failed())?)
    } else if metadata.is_dir() {
        EntryKind::Folder
    } else if metadata.is_file() {
        EntryKind::File(metadata.len())
    } else {
        EntryKind::Special(special(metadata.file_type()))
    })
}

#[cfg(unix)]
fn special(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn special(_: FileType) -> &'static str {
    "a special file"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_lies_in_them() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["b/x", "a", "c"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for file in ["b/x/deep", "b/file", "zero"] {
            fs::write(root.path().join(file), file).unwrap();
        }
        let (entries, errors) = walk(root.path());
        assert!(errors.is_empty());
        let paths: Vec<_> = entries.iter().map(|entry| entry.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["a", "b", "c", "zero", "b/file", "b/x", "b/x/deep"]);
        assert_eq!(entries[3].kind, EntryKind::File(4));
        let (none, errors) = walk(&root.path().join("absent"));
        assert!(none.is_empty() && errors.len() == 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        symlink(".", root.path().join("circle")).unwrap();
        symlink("/", root.path().join("out")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
        let kinds: Vec<_> = walk(root.path()).0.into_iter().map(|entry| entry.kind).collect();
        let links = [".", "/"].map(|target| EntryKind::Link(PathBuf::from(target)));
        assert_eq!(kinds[..2], links);
        assert_eq!(kinds[2], EntryKind::Special("a socket"));
    }
}
