//! Deltas of files as messages, for those who have the base in memory.

use huffwire::Kind;
use huffwire::delta;
use huffwire::file::Item;

use super::{Reader, describe};
use crate::error::{Error, Result};

impl Reader {
    /// An item that is a delta, as the message that a [`Decoder`](huffwire::Decoder) takes. Checksums are verified; no
    /// base is needed.
    ///
    /// # Errors
    /// [`Error::Codec`] when it is damaged, or is no delta; [`Error::CodebooksMissing`], [`Error::Io`].
    pub fn delta_message(&self, item: &Item) -> Result<Vec<u8>> {
        let codec = |error| Error::codec(self.file.label(), describe(item))(error);
        if item.kind != Kind::Delta {
            let (expected, found) = (Kind::Delta.name().into(), item.kind.name().into());
            let what = "the kind of an item";
            return Err(codec(huffwire::Error::Unexpected { what, expected, found }));
        }
        self.check_kind_header(item)?;
        let mut blocks = Vec::new();
        for job in Self::blocks(item) {
            let mut coded = Vec::new();
            self.read_block(&job, &mut coded)?;
            blocks.push(coded);
        }
        let set = self.codebooks_of(item)?.id();
        delta::join_message(item.dtype, item.units(), set, &blocks).map_err(codec)
    }
}
