//! How fast blocks of every kind are decoded, the slowest that anybody can make included: bytes of elements a second,
//! for `docs/format.md`, section 12. `cargo run --release -p huffwire --example worst_blocks`.

use std::time::Instant;

use huffwire::codebook::fit::{self, Effort};
use huffwire::codebook::{CodeLimit, Codebook, Lengths};
use huffwire::stats::Pmf;
use huffwire::{CodebookSet, CodedBlock, Decoder, Dtype, Layout, Platform, lanes};

type Failure = Box<dyn std::error::Error>;

/// How a plane is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Raw,
    Constant,
    /// In lanes, with a book of the set.
    Lanes,
    /// In lanes, with a book stored in the block.
    LanesEmbedded(CodeLimit),
    Single,
    SingleEmbedded,
}

/// A block of so many bytes of elements, whose planes are all stored in one way.
fn block(
    set: &CodebookSet,
    dtype: Dtype,
    layout: Layout,
    mode: Mode,
    bytes: usize,
) -> Result<Vec<u8>, Failure> {
    let mut header = vec![layout.number()];
    let mut payload: Vec<u8> = Vec::new();
    let mut headers = Vec::new();
    for (index, plane) in dtype.planes(layout).iter().enumerate().rev() {
        let count = bytes / dtype.unit_bytes() * usize::from(plane.per_unit);
        let symbols = 1usize << plane.width;
        if mode == Mode::Raw {
            headers.push(vec![0xff]);
            payload.resize(payload.len() + (count * usize::from(plane.width)).div_ceil(8), 0);
            continue;
        }
        if mode == Mode::Constant {
            headers.push(vec![0xfe, 0]);
            continue;
        }
        // As many symbols as there can be, from common to rare.
        let weights: Vec<f64> = (0..symbols).map(|i| 0.985f64.powi(i as i32)).collect();
        let fitted = |limit| -> Result<Lengths, Failure> {
            let pmf = Pmf::from_weights(&weights).ok_or("no weights")?;
            Ok(fit::plain(&pmf, plane.width, limit, Effort::Quick)?.lengths)
        };
        let (book, resident) = match mode {
            Mode::LanesEmbedded(limit) => (Codebook::new(fitted(limit)?), None),
            Mode::SingleEmbedded => (Codebook::new(fitted(CodeLimit::Bits8)?), None),
            _ => {
                let number = set.candidates(None, dtype, layout, index as u8).next();
                let number = number.ok_or("no book")?;
                (set.book(number)?.clone(), Some(number))
            }
        };
        let lengths = book.lengths();
        let slots: Vec<u8> = (0..count)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8)
            .map(|slot| if lengths.direct(slot) > 0 { slot } else { 0 })
            .map(|slot| if lengths.direct(slot) > 0 { slot } else { first(lengths) })
            .collect();
        let single = matches!(mode, Mode::Single | Mode::SingleEmbedded);
        let mut head = match (resident, single) {
            (Some(number), false) => vec![number],
            (Some(number), true) => vec![0xfb, number],
            (None, false) => vec![0xfd],
            (None, true) => vec![0xfc],
        };
        if resident.is_none() {
            lengths.write(&mut head);
        }
        if single {
            let bits: String = slots.iter().map(|&slot| book.code_string(slot)).collect();
            let bytes = bits.as_bytes().chunks(8);
            let byte = |bits: &[u8]| bits.iter().zip(0..).map(|(b, i)| (b - b'0') << (7 - i)).sum();
            let stream: Vec<u8> = bytes.map(byte).collect();
            varint(&mut head, stream.len());
            payload.extend_from_slice(&stream);
        } else {
            let taken = payload.len().min(lanes::CARRIED_BYTES);
            let mut carried = [0; lanes::CARRIED_BYTES];
            carried[..taken].copy_from_slice(&payload[payload.len() - taken..]);
            payload.truncate(payload.len() - taken);
            let mut states = vec![0; lanes::states_bytes(book.limit())];
            let mut stream = vec![0; lanes::stream_capacity(book.limit(), 12 * count as u64)];
            let length = lanes::encode(&book, &slots, &carried, &mut states, &mut stream)?;
            head.extend_from_slice(&(length as u32).to_le_bytes());
            payload.extend_from_slice(&states);
            payload.extend_from_slice(&stream[..length]);
        }
        if lengths.escape() > 0 {
            let none: &[u8] = if single { &[0] } else { &[0; 4] };
            head.extend_from_slice(none);
        }
        headers.push(head);
    }
    headers.iter().rev().for_each(|head| header.extend_from_slice(head));
    header.extend_from_slice(&payload);
    Ok(header)
}

fn first(lengths: &Lengths) -> u8 {
    (0..=u8::MAX).find(|&slot| lengths.direct(slot) > 0).unwrap_or(0)
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// MB of elements a second, in the fastest of many rounds: other programs only slow them down.
fn rate(decoder: &mut Decoder, coded: &CodedBlock<'_>, out: &mut [u8]) -> Result<f64, Failure> {
    let mut best = f64::MAX;
    for _ in 0..300 {
        let start = Instant::now();
        for _ in 0..4 {
            decoder.decode_block(coded, out)?;
        }
        best = best.min(start.elapsed().as_secs_f64() / 4.0);
    }
    Ok(out.len() as f64 / best / 1e6)
}

fn main() -> Result<(), Failure> {
    let set = CodebookSet::builtin();
    let bits12 = Mode::LanesEmbedded(CodeLimit::Bits12);
    let bits8 = Mode::LanesEmbedded(CodeLimit::Bits8);
    let cases = [
        (Dtype::U8, Layout::Bytes, Mode::Raw, 1024),
        (Dtype::Word64, Layout::Positions, Mode::Raw, 1024),
        (Dtype::Bf16, Layout::Exponent, Mode::Raw, 1024),
        (Dtype::E3m2Packed, Layout::Magnitude, Mode::Raw, 1023),
        (Dtype::U8, Layout::Bytes, Mode::Constant, 1024),
        (Dtype::I8, Layout::Bytes, Mode::Lanes, 1024),
        (Dtype::U8, Layout::Bytes, bits8, 1024),
        (Dtype::E4m3, Layout::Magnitude, bits8, 1024),
        (Dtype::Word64, Layout::Positions, bits8, 1024),
        (Dtype::E3m2Packed, Layout::Magnitude, bits8, 1023),
        (Dtype::I8, Layout::Bytes, Mode::Single, 1024),
        (Dtype::I8, Layout::Bytes, Mode::Single, 1 << 20),
        (Dtype::U8, Layout::Bytes, Mode::SingleEmbedded, 1024),
        (Dtype::Word64, Layout::Positions, Mode::SingleEmbedded, 1024),
        (Dtype::U8, Layout::Bytes, bits12, 4096),
        (Dtype::U8, Layout::Bytes, bits12, 8192),
        (Dtype::U8, Layout::Bytes, bits12, 16384),
        (Dtype::E4m3, Layout::Magnitude, bits12, 4096),
        (Dtype::E3m2Packed, Layout::Magnitude, bits12, 3072),
        (Dtype::E3m2Packed, Layout::Magnitude, bits12, 3 * 2048),
        (Dtype::E3m2Packed, Layout::Magnitude, bits12, 3 * 4096),
        (Dtype::Word64, Layout::Positions, bits12, 32768),
    ];
    println!("{:<13}{:<11}{:<26}{:>9}  MB/s", "type", "layout", "mode", "bytes");
    for (dtype, layout, mode, bytes) in cases {
        let coded = match block(&set, dtype, layout, mode, bytes) {
            Ok(coded) => coded,
            Err(error) => {
                println!("{dtype:<13}{layout:<11}{:<26}{bytes:>9}  {error}", format!("{mode:?}"));
                continue;
            }
        };
        print!("{dtype:<13}{layout:<11}{:<26}{bytes:>9}", format!("{mode:?}"));
        for platform in Platform::available() {
            let mut decoder = Decoder::builtin().with_platform(platform);
            let coded = CodedBlock { dtype, set: set.id(), checksum: None, bytes: &coded };
            let mut out = vec![0; bytes];
            match rate(&mut decoder, &coded, &mut out) {
                Ok(rate) => print!("  {platform} {rate:.0}"),
                Err(error) => print!("  {platform} {error}"),
            }
        }
        println!();
    }
    Ok(())
}
