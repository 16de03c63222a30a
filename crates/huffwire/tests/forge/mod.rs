//! What forgers need: checksums made good again, and a codebook set small enough to take apart.

#![allow(dead_code)] // Every test uses some of it.
#![allow(unreachable_pub)] // The fuzz targets include this file too.

use std::ops::Range;
use std::sync::Arc;

use huffwire::codebook::{Alphabet, CodeLimit, Lengths, WINDOW};
use huffwire::{Binding, SetBuilder};
use huffwire::{CodebookSet, CodedBlock, Dtype, Layout, message};

/// CRC-32C bit by bit: independent of what the library uses.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    })
}

/// Makes all checksums of a message good again, as far as there is one.
pub fn mend_message(message: &mut [u8], context: Option<u64>) {
    if message.len() < message::HEADER_BYTES {
        return;
    }
    let check = header_check(&message[..12], context);
    message[12..16].copy_from_slice(&check.to_le_bytes());
    if message[1] & 1 == 0 {
        return;
    }
    let entries = entries_of(message);
    for (number, entry) in entries.iter().enumerate() {
        let entry = entry.start.min(message.len())..entry.end.min(message.len());
        let check = entry_check(check, number, &message[entry]);
        let at = message::HEADER_BYTES + 4 * (entries.len() + number);
        message[at..at + 4].copy_from_slice(&check.to_le_bytes());
    }
}

/// The checksum of the first 12 bytes of a message and of its context.
pub fn header_check(head: &[u8], context: Option<u64>) -> u32 {
    let context = context.map(u64::to_le_bytes);
    crc32c(&[head, context.as_ref().map_or(&[], |bytes| &bytes[..])].concat())
}

/// The checksum of an entry of a message.
pub fn entry_check(header_check: u32, number: usize, entry: &[u8]) -> u32 {
    let place = [header_check, number as u32, entry.len() as u32].map(u32::to_le_bytes);
    crc32c(place.as_flattened()) ^ crc32c(entry)
}

/// Where the entries of a message lie, as its table says. None if there is no such table.
pub fn entries_of(message: &[u8]) -> Vec<Range<usize>> {
    let head = &message[..message::HEADER_BYTES];
    let (kind, log2, checksums) = (head[3] >> 5, head[3] & 31, head[1] & 1 != 0);
    let units = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
    let Some(dtype) = Dtype::from_number(head[2]) else { return Vec::new() };
    if !(10..=20).contains(&log2) {
        return Vec::new();
    }
    let per_block = (1 << log2) / if kind == 0 { dtype.unit_bytes() } else { 1 };
    let count = units.div_ceil(per_block) + usize::from(kind > 0);
    let table = &message[message::HEADER_BYTES..];
    let table_bytes = count * if checksums { 8 } else { 4 };
    if table.len() < table_bytes {
        return Vec::new();
    }
    let mut at = message::HEADER_BYTES + table_bytes;
    let lengths = table.as_chunks().0[..count].iter();
    lengths
        .map(|length| {
            let start = at;
            at = at.saturating_add(u32::from_le_bytes(*length) as usize);
            start..at
        })
        .collect()
}

/// A message made of a header's first 12 bytes and of entries, whatever they are.
pub fn message_of(head: &[u8], context: Option<u64>, entries: &[Vec<u8>]) -> Vec<u8> {
    let check = header_check(&head[..12], context);
    let mut message = [&head[..12], &check.to_le_bytes()].concat();
    for entry in entries {
        message.extend_from_slice(&(entry.len() as u32).to_le_bytes());
    }
    if head[1] & 1 != 0 {
        for (number, entry) in entries.iter().enumerate() {
            message.extend_from_slice(&entry_check(check, number, entry).to_le_bytes());
        }
    }
    message.extend(entries.iter().flatten());
    message
}

/// The most units, and no more than these, that are whole values of a type: of complex numbers an even number.
pub fn whole(dtype: Dtype, units: usize) -> usize {
    let is_whole = |units: &usize| dtype.values_in((units * dtype.unit_bytes()) as u64).is_some();
    (0..=units).rev().find(is_whole).unwrap_or(0)
}

/// A block without a checksum, coded with the built-in set.
pub fn builtin_block(dtype: Dtype, bytes: &[u8]) -> CodedBlock<'_> {
    CodedBlock { dtype, set: CodebookSet::builtin().id(), checksum: None, bytes }
}

/// A set of two small books, short enough to be embedded in a seed.
pub fn small_set() -> Arc<CodebookSet> {
    let mut window = [0; WINDOW];
    window[27..36].copy_from_slice(&[6, 5, 5, 4, 3, 2, 2, 3, 6]);
    let centred =
        Lengths::new(Alphabet::Centred, CodeLimit::Bits8, &window, 5, 4).expect("a complete code");
    let mut ordinary = [0; 256];
    ordinary[..4].copy_from_slice(&[1, 3, 3, 3]);
    let bytes = Lengths::new(Alphabet::Plain { width: 8 }, CodeLimit::Bits12, &ordinary, 3, 0)
        .expect("a complete code");
    let mut builder = SetBuilder::new("small");
    for (lengths, dtype, layout) in
        [(centred, None, Layout::Exponent), (bytes, Some(Dtype::U8), Layout::Bytes)]
    {
        let book = builder.add(lengths).expect("room for two books");
        let binding = Binding { pattern: "*".into(), dtype, layout, plane: 0, books: vec![book] };
        builder.bind(binding).expect("a book of that alphabet");
    }
    Arc::new(builder.build())
}
