//! What forgers need: checksums made good again, and a codebook set small enough to take apart.

#![allow(dead_code)] // Every test uses some of it.
#![allow(unreachable_pub)] // The fuzz targets include this file too.

use std::sync::Arc;

use huffwire::codebook::{Alphabet, CodeLimit, Lengths, WINDOW};
use huffwire::{Binding, SetBuilder};
use huffwire::{CodebookSet, Dtype, Layout, message};

/// CRC-32C bit by bit: independent of what the library uses.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    })
}

/// Makes the checksum in the header of a message good again.
pub fn mend_message(message: &mut [u8]) {
    if message.len() >= message::HEADER_BYTES {
        let check = crc32c(&message[..12]);
        message[12..16].copy_from_slice(&check.to_le_bytes());
    }
}

/// A set of two small books, short enough to be embedded in a seed.
pub fn small_set() -> Arc<CodebookSet> {
    let mut window = [0; WINDOW];
    window[27..36].copy_from_slice(&[6, 5, 5, 4, 3, 2, 2, 3, 6]);
    let centred =
        Lengths::new(Alphabet::Centred, CodeLimit::Bits8, &window, 5, 4).expect("a complete code");
    let mut direct = [0; 256];
    direct[..4].copy_from_slice(&[1, 3, 3, 3]);
    let bytes = Lengths::new(Alphabet::Plain { width: 8 }, CodeLimit::Bits12, &direct, 3, 0)
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
