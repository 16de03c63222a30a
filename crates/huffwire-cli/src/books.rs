//! Finding the codebooks to work with.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use huffwire::CodebookSet;
use huffwire_io::{InputFile, Origin};

use crate::files;

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
    let Some(path) = path else {
        return Ok(Books { set: CodebookSet::builtin(), origin: None });
    };
    let file = files::open(path)?;
    check_kind(&file)?;
    let origin = Some(file.origin().clone());
    Ok(Books { set: huffwire_io::read_codebooks(file)?, origin })
}

/// Refuses a file that cannot hold codebooks, by its beginning.
pub(crate) fn check_kind(file: &InputFile) -> Result<()> {
    let start = file.start(8)?;
    if !huffwire_io::is_codebook_file(&start) && !huffwire_io::is_hw_file(&start) {
        bail!(
            "{}: this is no codebook file, nor its JSON export, nor a .hw file; `huffwire calibrate` makes codebook \
             files",
            file.label()
        );
    }
    Ok(())
}
