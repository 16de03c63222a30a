//! Several sets in one place, for a decoder that selects a set by the id in a message.

use std::sync::Arc;

use super::CodebookSet;
use crate::error::{Error, Result};
use crate::ids::SetId;

/// Sets of which no two have ids that begin alike.
#[derive(Debug, Clone)]
pub(crate) struct Sets {
    sets: Vec<Arc<CodebookSet>>,
}

impl Sets {
    /// One set alone.
    pub(crate) fn one(set: Arc<CodebookSet>) -> Self {
        Self { sets: vec![set] }
    }

    /// Adds a set, unless it is there.
    pub(crate) fn add(&mut self, set: Arc<CodebookSet>) -> Result<()> {
        match self.sets.iter().find(|held| held.id().short() == set.id().short()) {
            Some(held) if held.id() == set.id() => Ok(()),
            Some(held) => Err(Error::AmbiguousSet { held: held.id(), added: set.id() }),
            None => {
                self.sets.push(set);
                Ok(())
            }
        }
    }

    /// The set with this id.
    pub(crate) fn find(&self, id: SetId) -> Result<&CodebookSet> {
        let found = self.sets.iter().find(|set| set.id() == id);
        found.map(|set| &**set).ok_or_else(|| self.none(id.to_string()))
    }

    /// The set whose id begins with these 32 bits.
    pub(crate) fn find_short(&self, short: [u8; 4]) -> Result<&Arc<CodebookSet>> {
        let found = self.sets.iter().find(|set| set.id().short() == short);
        found.ok_or_else(|| {
            let wanted: String = short.iter().map(|byte| format!("{byte:02x}")).collect();
            self.none(wanted + "…")
        })
    }

    /// All sets.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<CodebookSet>> {
        self.sets.iter()
    }

    fn none(&self, wanted: String) -> Error {
        Error::SetMismatch { wanted, held: self.sets.iter().map(|set| set.id()).collect() }
    }
}
