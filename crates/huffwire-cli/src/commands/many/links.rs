//! Folders and symbolic links among the results.

use std::fs;
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

/// Removes the link that was copied, if it still leads where the copy does, and the name of the copy is on the disk.
pub(super) fn remove(link: &Link) -> Result<()> {
    let source = link.source.display();
    if kind_of(&link.source)? != EntryKind::Link(link.target.clone()) {
        bail!("{source}: kept: it was changed meanwhile");
    }
    if is_same_entry(&link.source, &link.path) {
        bail!("{source}: kept: its copy is this link itself");
    }
    huffwire_io::sync_folder(link.path.parent().unwrap_or(Path::new("")))?;
    fs::remove_file(&link.source).with_context(|| format!("{source}: cannot be removed"))
}
