//! The codebooks that a .hw file is decoded with.

use std::path::Path;
use std::sync::Arc;

use huffwire::file::Item;
use huffwire::{CodebookSet, Kind, SetId};

use super::Reader;
use crate::codebooks::load_codebooks;
use crate::error::{Error, Result};

impl Reader {
    /// Decodes with codebooks from the file `path`, if the .hw file needs any: codebooks that are embedded
    /// or built in come first, and `path` is not opened then.
    ///
    /// # Errors
    /// [`Error::OtherCodebooks`] when it holds other codebooks than those that the data were coded with;
    /// those of [`load_codebooks`].
    pub fn with_codebooks_file(self, path: &Path) -> Result<Self> {
        if self.missing().is_none() && !self.has_values() {
            return Ok(self);
        }
        self.with_codebooks(load_codebooks(path)?, &path.display().to_string())
    }

    /// Decodes with these codebooks. `given` is what messages call them.
    ///
    /// # Errors
    /// [`Error::OtherCodebooks`] when the data were coded with others.
    pub fn with_codebooks(mut self, codebooks: Arc<CodebookSet>, given: &str) -> Result<Self> {
        let found = codebooks.id();
        let place = self.directory.sets.iter().position(|set| set.id == found);
        match (place, self.missing()) {
            (Some(place), _) => self.sets[place] = Some(codebooks),
            (None, None) => self.others.push(codebooks),
            // Items of quantized values may name sets that the directory does not list.
            (None, Some(_)) if self.has_values() => self.others.push(codebooks),
            (None, Some(wanted)) => {
                let (path, given) = (self.file.label().to_owned(), given.to_owned());
                return Err(Error::OtherCodebooks { path, wanted, given, found });
            }
        }
        self.idle().clear();
        Ok(self)
    }

    /// Whether the file has items of quantized values.
    fn has_values(&self) -> bool {
        self.directory.items().any(|item| item.kind == Kind::Values)
    }

    /// The first codebook set of the file that is neither embedded nor built in nor given.
    #[must_use]
    pub fn missing(&self) -> Option<SetId> {
        let missing = self.sets.iter().position(Option::is_none)?;
        self.directory.sets.get(missing).map(|set| set.id)
    }

    /// The codebook sets that are at hand, first those that the file names.
    pub fn sets(&self) -> impl Iterator<Item = &Arc<CodebookSet>> {
        self.sets.iter().flatten().chain(&self.others)
    }

    /// The codebooks to decode an item with.
    ///
    /// # Errors
    /// [`Error::CodebooksMissing`] when they are neither embedded nor built in nor given.
    pub fn codebooks_of(&self, item: &Item) -> Result<&Arc<CodebookSet>> {
        let missing = || {
            let path = self.file.label().to_owned();
            self.directory.set_of(item).map_or_else(
                || Error::invalid(&path, ".hw", "an item names no codebook set"),
                |wanted| Error::CodebooksMissing { path: path.clone(), wanted },
            )
        };
        self.sets.get(item.set).and_then(Option::as_ref).ok_or_else(missing)
    }

    /// Checks that all codebooks of the file are at hand.
    ///
    /// # Errors
    /// [`Error::CodebooksMissing`].
    pub fn check_codebooks(&self) -> Result<()> {
        let path = || self.file.label().to_owned();
        self.missing()
            .map_or(Ok(()), |wanted| Err(Error::CodebooksMissing { path: path(), wanted }))
    }
}
