//! A message whose header and table were read and whose entries have the right lengths; nothing is decoded.

use super::table::TableMut;
use super::table::{Seal, Table, table_bytes};
use super::{HEADER_BYTES, Header, WHAT, check_lengths};
use crate::error::{Error, Result};
use crate::wire::Reader;

/// Message whose parts are found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parsed<'a> {
    pub(crate) header: Header,
    pub(crate) seal: Seal,
    pub(crate) table: Table<'a>,
    /// All entries, one behind the other: as long as the table says.
    pub(crate) body: &'a [u8],
}

impl<'a> Parsed<'a> {
    /// Reads a whole message.
    pub(crate) fn read(message: &'a [u8], context: Option<u64>) -> Result<Self> {
        let (header, check) = Header::read_with_check(message, context)?;
        let mut reader = Reader::new(WHAT, message);
        reader.take(HEADER_BYTES)?;
        let entries = header.entries();
        let table = Table::new(reader.take(table_bytes(entries, header.checksums))?, entries);
        check_lengths(&header, &table)?;
        // More than a machine can address is not there.
        let length = usize::try_from(table.total()).unwrap_or(usize::MAX);
        let body = reader.take(length)?;
        reader.finish()?;
        Ok(Self { header, seal: Seal { header: check }, table, body })
    }

    /// Entries with their numbers.
    #[cfg(feature = "gradient")]
    pub(crate) fn entries(&self) -> impl Iterator<Item = (usize, &'a [u8])> + '_ {
        let mut rest = self.body;
        (0..self.table.len()).map(move |number| {
            let (entry, behind) = rest.split_at(self.table.length(number));
            rest = behind;
            (number, entry)
        })
    }

    /// Verifies the checksum of an entry, if it has one.
    pub(crate) fn verify(&self, number: usize, entry: &[u8], what: &'static str) -> Result<()> {
        verify(self.seal, &self.table, number, entry, what)
    }
}

/// Verifies the checksum of an entry of a table, if it has one.
pub(crate) fn verify(
    seal: Seal,
    table: &Table<'_>,
    entry: usize,
    bytes: &[u8],
    what: &'static str,
) -> Result<()> {
    let Some(stored) = table.check(entry) else { return Ok(()) };
    let computed = seal.check(table.first() + entry, bytes);
    if stored == computed { Ok(()) } else { Err(Error::Checksum { what, stored, computed }) }
}

/// Appends a message made of finished entries, the kind header first.
///
/// # Errors
/// [`Error::TooLarge`] for an entry of more than 4 GiB.
pub(crate) fn write_entries(
    header: &Header,
    context: Option<u64>,
    entries: &[&[u8]],
    out: &mut Vec<u8>,
) -> Result<()> {
    if let Some(entry) = entries.iter().find(|entry| u32::try_from(entry.len()).is_err()) {
        let (found, limit) = (entry.len() as u64, u32::MAX.into());
        let remedy = "make several messages of it";
        return Err(Error::TooLarge { what: "a part of a message", found, limit, remedy });
    }
    let (bytes, check) = header.write(context);
    out.extend_from_slice(&bytes);
    let start = out.len();
    out.resize(start + table_bytes(entries.len(), header.checksums), 0);
    let mut table = TableMut::new(&mut out[start..], entries.len(), Seal { header: check });
    for (number, entry) in entries.iter().enumerate() {
        table.fill(number, entry);
    }
    for entry in entries {
        out.extend_from_slice(entry);
    }
    Ok(())
}
