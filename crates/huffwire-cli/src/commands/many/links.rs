//! Folders and symbolic links among the results.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use huffwire_io::tree::{EntryKind, Link, is_same_entry, kind_of};

/// Makes a folder, unless there is one; and notes down what was made, the outer ones first.
pub(super) fn make_folder(path: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    match kind_of(path) {
        Ok(EntryKind::Folder) => Ok(()),
        // What lies behind a link may be anywhere: nothing is to be written there unasked.
        Ok(_) => {
            bail!("{}: this exists and is no folder: nothing is written there", path.display())
        }
        Err(_) => {
            if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
                make_folder(parent, made)?;
            }
            huffwire_io::create_partial_folder(path)?;
            made.push(path.to_owned());
            Ok(())
        }
    }
}

/// Makes a link. One that is there already and leads to the same place is left as it is.
pub(super) fn make(link: &Link, force: bool) -> Result<()> {
    let path = link.path.display();
    match fs::read_link(&link.path) {
        Ok(target) if target == link.target => return Ok(()),
        Ok(_) if force => {
            fs::remove_file(&link.path).with_context(|| format!("{path}: cannot be replaced"))?;
        }
        _ => {}
    }
    match symlink(&link.target, &link.path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{path}: already exists and is no link, or another one")
        }
        made => made.with_context(|| format!("{path}: this link cannot be made")),
    }
}

/// Removes the link that was copied, if the copy leads where it does.
pub(super) fn remove(link: &Link) -> Result<()> {
    let source = link.source.display();
    if kind_of(&link.source)? != EntryKind::Link(link.target.clone()) {
        bail!("{source}: kept: it was changed meanwhile");
    }
    if is_same_entry(&link.source, &link.path) {
        bail!("{source}: kept: its copy is this link itself");
    }
    fs::remove_file(&link.source).with_context(|| format!("{source}: cannot be removed"))
}

#[cfg(unix)]
fn symlink(target: &Path, path: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(windows)]
fn symlink(target: &Path, path: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, path)
}
