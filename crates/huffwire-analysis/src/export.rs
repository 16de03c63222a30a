//! Codebooks as source text for other coders: a C header, and decoders in SystemVerilog.
//!
//! The codes are the canonical ones of `docs/format.md`, the first bit of a code in the highest place. A symbol without a
//! code of its own takes the code of the escape, and follows as 8 bits. In a centred codebook a symbol is an exponent less
//! the base, modulo 256, and slot 63 is the exact zero.

use std::fmt::Write as _;

use huffwire::codebook::{Alphabet, ESCAPE_SLOT};
use huffwire::{Codebook, CodebookSet};

/// Writes to a string, which cannot fail.
macro_rules! put {
    ($text:expr, $($rest:tt)*) => {
        let _ = writeln!($text, $($rest)*);
    };
}

/// The codebooks of a set as a C header (C99), with functions to look codes up.
///
/// ```
/// let header = huffwire_analysis::export::c_header(&huffwire::CodebookSet::builtin());
/// assert!(header.contains("static const huffwire_book huffwire_book_0"));
/// ```
#[must_use]
pub fn c_header(set: &CodebookSet) -> String {
    let mut text = String::new();
    put!(text, "/* Codebooks of the set {}. Made by huffwire. */", set.id());
    text.push_str(include_str!("export/head.h"));
    for (number, book) in set.books().iter().enumerate() {
        let entries = entries(book);
        let bits = book.limit().bits();
        put!(text, "\n/* {} */", describe(number, book));
        let lengths = entries.iter().map(|entry| u32::from(entry.length));
        put!(text, "static const uint8_t huffwire_lengths_{number}[] = {{{}}};", list(lengths));
        let codes = entries.iter().map(|entry| u32::from(entry.code));
        put!(text, "static const uint16_t huffwire_codes_{number}[] = {{{}}};", list(codes));
        let decode = book.decode_table().iter().map(|entry| {
            let (slot, length) = (entry & 0xff, (entry >> 8).trailing_zeros());
            let escapes = escape_slot(book).is_some_and(|escape| u32::from(escape) == slot);
            u32::from(escapes) << 15 | length << 8 | slot
        });
        put!(text, "static const uint16_t huffwire_decode_{number}[] = {{{}}};", list(decode));
        let (length, code) = escape(book);
        put!(
            text,
            "static const huffwire_book huffwire_book_{number} = {{{bits}, {}, {}, {length}, {code}, \
             huffwire_lengths_{number}, huffwire_codes_{number}, huffwire_decode_{number}}};",
            book.lengths().alphabet().symbols(),
            book.lengths().zero()
        );
    }
    put!(text, "\n#endif");
    text
}

/// A decoder of each codebook of a set in SystemVerilog: a module whose only statement is a `case` over the next bits.
///
/// ```
/// let modules = huffwire_analysis::export::system_verilog(&huffwire::CodebookSet::builtin());
/// assert!(modules.contains("module huffwire_book_0"));
/// ```
#[must_use]
pub fn system_verilog(set: &CodebookSet) -> String {
    let mut text =
        format!("// Decoders of the codebooks of the set {}. Made by huffwire.\n", set.id());
    text.push_str(
        "// window: the next bits of the stream, the first of them the highest. slot: the symbol that they begin with;\n\
         // bits: the length of its code. escape: the symbol follows behind the code as 8 bits, and slot means nothing.\n",
    );
    for (number, book) in set.books().iter().enumerate() {
        let bits = usize::from(book.limit().bits());
        put!(text, "\n// {}", describe(number, book));
        put!(text, "module huffwire_book_{number} (");
        put!(text, "  input  logic [{}:0] window,", bits - 1);
        put!(
            text,
            "  output logic [7:0] slot,\n  output logic [3:0] bits,\n  output logic escape\n);"
        );
        put!(text, "  always_comb begin\n    casez (window)");
        let (length, code) = escape(book);
        let mut codes: Vec<(u8, u16, u8, bool)> = entries(book)
            .iter()
            .zip(0u8..=u8::MAX)
            .filter(|(entry, _)| entry.length > 0)
            .map(|(entry, slot)| (entry.length, entry.code, slot, false))
            .collect();
        if length > 0 {
            codes.push((length, code, 0, true));
        }
        codes.sort_unstable();
        for (length, code, slot, escape) in codes {
            let pattern = format!("{code:0width$b}", width = usize::from(length));
            let any = "?".repeat(bits - usize::from(length));
            put!(
                text,
                "      {bits}'b{pattern}{any}: begin slot = 8'd{slot}; bits = 4'd{length}; escape = 1'b{}; end",
                u8::from(escape)
            );
        }
        put!(text, "      default: begin slot = 8'd0; bits = 4'd0; escape = 1'b0; end");
        put!(text, "    endcase\n  end\nendmodule");
    }
    text
}

/// The code of a slot; a length of 0 where it has none.
struct Entry {
    length: u8,
    code: u16,
}

fn entries(book: &Codebook) -> Vec<Entry> {
    let lengths = book.lengths();
    let entry = |slot: usize| {
        let at = slot as u8;
        let own = match lengths.alphabet() {
            Alphabet::Centred if slot == ESCAPE_SLOT => 0,
            Alphabet::Centred if slot > ESCAPE_SLOT => lengths.zero(),
            _ => lengths.direct(at),
        };
        let code = if own > 0 { book.encode_table()[slot] & 0xfff } else { 0 };
        Entry { length: own, code }
    };
    (0..lengths.alphabet().slots()).map(entry).collect()
}

/// Length and code of the escape; a length of 0 where there is none.
fn escape(book: &Codebook) -> (u8, u16) {
    escape_slot(book).map_or((0, 0), |slot| {
        (book.lengths().escape(), book.encode_table()[usize::from(slot)] & 0xfff)
    })
}

fn escape_slot(book: &Codebook) -> Option<u8> {
    book.lengths().escape_slot()
}

fn describe(number: usize, book: &Codebook) -> String {
    let lengths = book.lengths();
    let symbols = match lengths.alphabet() {
        Alphabet::Centred => "exponents from a base on".to_owned(),
        Alphabet::Plain { width } => format!("symbols of {width} bits"),
    };
    let entries = entries(book);
    let longest = entries.iter().map(|entry| entry.length).chain([lengths.escape()]).max();
    format!(
        "Codebook {number} ({}): {symbols}, codes of up to {} bits, a table of {} entries",
        lengths.id(),
        longest.unwrap_or(0),
        book.decode_table().len()
    )
}

fn list(numbers: impl Iterator<Item = u32>) -> String {
    let mut text = String::new();
    for (place, number) in numbers.enumerate() {
        let gap = if place == 0 {
            ""
        } else if place % 24 == 0 {
            ",\n  "
        } else {
            ", "
        };
        let _ = write!(text, "{gap}{number}");
    }
    text
}
