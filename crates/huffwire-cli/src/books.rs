//! Finding the codebooks to work with.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use huffwire::CodebookSet;

use crate::container::Container;
use crate::input_file::{InputFile, Origin};

/// 192 codebooks and their bindings are far from this.
const MAX_BYTES: u64 = 1 << 26;

/// Codebooks, and the file that the user gave for them: an input that no output may replace.
#[derive(Debug)]
pub(crate) struct Books {
    /// The codebooks.
    pub(crate) set: Arc<CodebookSet>,
    /// `None` if no file was given.
    pub(crate) origin: Option<Origin>,
}

/// The codebooks in a file, or the built-in ones when none is given.
pub(crate) fn load_or_builtin(path: Option<&Path>) -> Result<Books> {
    path.map_or_else(|| Ok(Books { set: CodebookSet::builtin(), origin: None }), load)
}

/// The codebooks in a file of any form: binary, JSON, or embedded in a .hw file.
pub(crate) fn load(path: &Path) -> Result<Books> {
    let file = InputFile::open(path)?;
    let origin = file.origin().clone();
    let set = if Container::is_one(&file.read(0..file.bytes().min(8))?) {
        match Container::read(file)?.directory.embedded {
            Some(set) => set,
            None => bail!("{}: no codebooks are embedded in this file", origin.label()),
        }
    } else {
        Arc::new(read(&file)?)
    };
    Ok(Books { set, origin: Some(origin) })
}

/// The codebooks in a codebook file, binary or JSON.
pub(crate) fn read(file: &InputFile) -> Result<CodebookSet> {
    let (label, size) = (file.label(), file.bytes());
    if size > MAX_BYTES {
        bail!("{label}: this is no codebook file: it has {size} bytes");
    }
    let bytes = file.read(0..size)?;
    file.check_length()?;
    if is_json(&bytes) {
        let json = String::from_utf8(bytes).with_context(|| label.to_owned())?;
        let context = || format!("{label}: no codebooks in this JSON");
        CodebookSet::from_json(&json).with_context(context)
    } else {
        CodebookSet::from_bytes(&bytes).with_context(|| label.to_owned())
    }
}

/// Whether these bytes begin a codebook file.
pub(crate) fn is_book_file(start: &[u8]) -> bool {
    start.starts_with(b"HUFFBOOK") || is_json(start)
}

fn is_json(start: &[u8]) -> bool {
    start.trim_ascii_start().first() == Some(&b'{')
}
