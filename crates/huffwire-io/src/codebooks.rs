//! Codebook files.

use std::path::Path;
use std::sync::Arc;

use huffwire::CodebookSet;

use crate::error::{Error, Result};
use crate::input::InputFile;
use crate::reader::{ReadOptions, Reader, is_hw_file};

/// 192 codebooks and their bindings are far from this.
const MAX_BYTES: u64 = 1 << 26;

/// The codebooks in the file `path`: a codebook file, its JSON export, or a .hw file that embeds
/// codebooks.
///
/// ```
/// use huffwire::CodebookSet;
/// use huffwire_io::load_codebooks;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("books.json");
/// std::fs::write(&path, CodebookSet::builtin().to_json())?;
/// assert_eq!(load_codebooks(&path)?.id(), CodebookSet::builtin().id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::NoCodebooks`], [`Error::Codec`] when they are damaged, and those of [`InputFile::open`].
pub fn load_codebooks(path: &Path) -> Result<Arc<CodebookSet>> {
    read_codebooks(InputFile::open(path)?)
}

/// The codebooks in a file that is open, as [`load_codebooks`] finds them.
///
/// # Errors
/// As [`load_codebooks`].
pub fn read_codebooks(file: InputFile) -> Result<Arc<CodebookSet>> {
    let path = file.label().to_owned();
    let none = |detail: String| Error::NoCodebooks { path: path.clone(), detail };
    let start = file.start(8)?;
    if is_hw_file(&start) {
        let reader = Reader::new(file, ReadOptions::default())?;
        let mut embedded = reader.directory().sets.iter().filter_map(|set| set.embedded.clone());
        let first = embedded.next().ok_or_else(|| none("none are embedded in it".to_owned()))?;
        if embedded.next().is_some() {
            return Err(none("it embeds several sets, and one is needed".to_owned()));
        }
        return Ok(first);
    }
    if file.bytes() > MAX_BYTES {
        return Err(none(format!("it has {} bytes, where {MAX_BYTES} are allowed", file.bytes())));
    }
    let bytes = file.read(0..file.bytes())?;
    file.check_length()?;
    let set = if is_json(&bytes) {
        let json = String::from_utf8(bytes).map_err(|error| none(error.to_string()))?;
        CodebookSet::from_json(&json).map_err(Error::codec(&path, ""))?
    } else {
        CodebookSet::from_bytes(&bytes).map_err(Error::codec(&path, ""))?
    };
    Ok(Arc::new(set))
}

/// Whether a file that begins so may be a codebook file: binary, or its JSON export.
#[must_use]
pub fn is_codebook_file(start: &[u8]) -> bool {
    start.starts_with(b"HUFFBOOK") || is_json(start)
}

fn is_json(start: &[u8]) -> bool {
    start.trim_ascii_start().first() == Some(&b'{')
}
