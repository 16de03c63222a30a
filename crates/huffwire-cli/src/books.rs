//! Finding the codebooks to work with.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use huffwire::CodebookSet;

use crate::container::Container;
use crate::input_file::InputFile;

/// 192 codebooks and their bindings are far from this.
const MAX_BYTES: u64 = 1 << 26;

/// The codebooks in a file, or the built-in ones when none is given.
pub(crate) fn load_or_builtin(path: Option<&Path>) -> Result<Arc<CodebookSet>> {
    path.map_or_else(|| Ok(CodebookSet::builtin()), load)
}

/// The codebooks in a file of any form: binary, JSON, or embedded in a .hw file.
pub(crate) fn load(path: &Path) -> Result<Arc<CodebookSet>> {
    let file = InputFile::open(path)?;
    if !Container::is_one(&file.read(0..file.bytes().min(8))?) {
        return read(&file).map(Arc::new);
    }
    let label = file.label().to_owned();
    match Container::read(file)?.directory.embedded {
        Some(set) => Ok(set),
        None => bail!("{label}: no codebooks are embedded in this file"),
    }
}

/// The codebooks in a codebook file, binary or JSON.
pub(crate) fn read(file: &InputFile) -> Result<CodebookSet> {
    let (label, size) = (file.label(), file.bytes());
    if size > MAX_BYTES {
        bail!("{label}: this is no codebook file: it has {size} bytes");
    }
    let bytes = file.read(0..size)?;
    if bytes.first() == Some(&b'{') {
        parse_json(&String::from_utf8(bytes).with_context(|| label.to_owned())?, label)
    } else {
        CodebookSet::from_bytes(&bytes).with_context(|| label.to_owned())
    }
}

/// Codebooks from JSON.
pub(crate) fn parse_json(json: &str, label: &str) -> Result<CodebookSet> {
    CodebookSet::from_json(json).with_context(|| format!("{label}: no codebooks in this JSON"))
}

/// Whether these bytes begin a codebook file.
pub(crate) fn is_book_file(start: &[u8]) -> bool {
    start.starts_with(b"HUFFBOOK") || start.first() == Some(&b'{')
}
