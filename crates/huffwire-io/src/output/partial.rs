//! What is not complete: it has a temporary name, and is removed when the program is interrupted.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// What was made and was not complete then.
#[derive(Debug)]
pub(super) struct Partial {
    /// Their names are random, so those that have since been completed and renamed can stay here.
    pub(super) files: Vec<PathBuf>,
    /// Folders are only removed when they are empty, so those in which something was completed can stay
    /// here.
    folders: Vec<PathBuf>,
}

static PARTIAL: Mutex<Partial> = Mutex::new(Partial { files: Vec::new(), folders: Vec::new() });

/// What is not complete now. While this is held, no interruption removes anything.
pub(super) fn partial() -> MutexGuard<'static, Partial> {
    PARTIAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a folder for files that are not complete: [`remove_partial_files`] removes it if it is empty then.
///
/// # Errors
/// [`Error::Io`].
pub fn create_partial_folder(path: &Path) -> Result<()> {
    let mut partial = partial();
    let label = path.display().to_string();
    fs::create_dir(path).map_err(Error::io(&label, "this folder cannot be made"))?;
    partial.folders.push(path.to_owned());
    Ok(())
}

/// Removes all files that are not complete, and the folders made for them. For a program that a signal is
/// about to end: no file can be made any more after this call, because every later [`Output::create`](crate::Output::create) waits
/// for ever.
pub fn remove_partial_files() {
    let partial = partial();
    // There is nobody to tell of an error, and no time.
    for path in &partial.files {
        let _ = fs::remove_file(path);
    }
    // The inner ones first: they were made last.
    for path in partial.folders.iter().rev() {
        let _ = fs::remove_dir(path);
    }
    // Never unlocked: a thread that still runs must not make another file.
    std::mem::forget(partial);
}

/// A file in the folder of another one, whose place it is going to take.
pub(super) fn temporary_beside(target: &Path, replaced: Option<Metadata>) -> Result<NamedTempFile> {
    let folder = folder_with(target);
    let label = target.display().to_string();
    #[cfg(unix)]
    let replaced = replaced.filter(Metadata::is_file);
    // Elsewhere files have no mode to keep.
    #[cfg(not(unix))]
    let _ = replaced;
    let builder = builder();
    // Private by default, and so it stays until it has the mode of a file that it replaces; else the finished file is
    // to have the mode of any file that a program makes.
    #[cfg(unix)]
    let builder = {
        let mut builder = builder;
        if replaced.is_none() {
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        }
        builder
    };
    // Locked meanwhile, so that no interruption comes between making a file and noting it down.
    let mut partial = partial();
    let temporary = builder.tempfile_in(folder).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            return no_folder(&label, folder, without_path(error));
        }
        let what = format!("no file can be made in {}", folder.display());
        Error::io(&label, what)(without_path(error))
    })?;
    partial.files.push(temporary.path().to_owned());
    drop(partial);
    #[cfg(unix)]
    if let Some(replaced) = replaced {
        let kept = temporary.as_file().set_permissions(permissions_of(&replaced));
        kept.map_err(Error::io(&label, "its mode cannot be kept"))?;
    }
    Ok(temporary)
}

/// The error where a file is to lie in a folder that is not there.
pub(super) fn no_folder(label: &str, folder: &Path, error: io::Error) -> Error {
    let what = format!("the folder {} does not exist; make it first", folder.display());
    Error::io(label, what)(error)
}

/// The name of a file that is not complete.
pub(super) fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".huffwire-").suffix(".partial");
    builder
}

/// The folder that a path lies in, as far as the path tells.
pub(super) fn folder_with(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// The error without the temporary name of the file, which is nobody's concern.
pub(super) fn without_path(error: io::Error) -> io::Error {
    match error.to_string().split_once(" at path ") {
        Some((what, _)) => io::Error::new(error.kind(), what.to_owned()),
        None => error,
    }
}

/// Who may read and write a file. Nothing that is written here is to be run as somebody else.
#[cfg(unix)]
fn permissions_of(file: &Metadata) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(file.permissions().mode() & 0o777)
}
