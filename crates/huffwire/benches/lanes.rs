//! Speed of the lane coder alone, on every platform. `cargo bench -p huffwire --bench lanes`.
//!
//! 64 Ki symbols, the exponents of a bf16 block of 128 KiB, drawn as the book expects them.

#![allow(clippy::expect_used)] // A benchmark that cannot run says so with a panic.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use huffwire::codebook::fit::{Effort, plain};
use huffwire::codebook::{CodeLimit, Codebook};
use huffwire::stats::Pmf;
use huffwire::{CodebookSet, Platform, lanes};
use huffwire_testing::Random;

fn main() {
    divan::main();
}

const SYMBOLS: usize = 64 << 10;

/// Kinds of books: narrow (two tables of 64 entries decode it), wide (a table of 256 does); 12-bit codes as
/// exponents have them and as mantissas have them.
const KINDS: [&str; 4] = ["narrow", "wide", "12-bit, peaked", "12-bit, wide"];

fn cases() -> impl Iterator<Item = (&'static str, &'static str)> {
    let platforms = || Platform::available().map(Platform::name);
    KINDS.into_iter().flat_map(move |kind| platforms().map(move |platform| (kind, platform)))
}

fn platform(name: &str) -> Platform {
    name.parse().expect("it is one of those that are available")
}

/// The book of 12-bit codes for 256 symbols of these weights.
fn bits12(weight: impl Fn(i32) -> f64) -> Codebook {
    let pmf = Pmf::from_weights(&(0..256).map(weight).collect::<Vec<_>>()).expect("weights");
    let built = plain(&pmf, 8, CodeLimit::Bits12, Effort::Quick).expect("a 12-bit code fits");
    Codebook::new(built.lengths)
}

fn book(kind: &str) -> Codebook {
    match kind {
        // Halving upwards and downwards, as exponents do.
        "12-bit, peaked" => return bits12(|i| 0.5_f64.powi(i32::abs(i - 120).min(30))),
        // Falling by half an octave, twice, as mantissas with signs do.
        "12-bit, wide" => return bits12(|i| 0.5_f64.powf(f64::from(i % 128) / 128.0)),
        _ => {}
    }
    let set = CodebookSet::builtin();
    let fits = |book: &&Codebook| match kind {
        "narrow" => book.lengths().is_narrow(),
        // Codes of over 6 bits below the top quarter: no shortcut.
        "wide" => book.limit() == CodeLimit::Bits8 && book.decode_table()[0xbf] >> 8 > 1 << 6,
        _ => false,
    };
    set.books().iter().find(fits).expect("the built-in set has all kinds").clone()
}

fn slots(book: &Codebook) -> Vec<u8> {
    let table = book.decode_table();
    let mut random = Random::new(1);
    let draw = |_| table[random.below(table.len())] as u8;
    (0..SYMBOLS).map(draw).collect()
}

#[divan::bench(args = cases())]
fn encode(bencher: Bencher<'_, '_>, (kind, name): (&str, &str)) {
    let (book, platform) = (book(kind), platform(name));
    let slots = slots(&book);
    let mut states = vec![0; lanes::states_bytes(book.limit())];
    let mut stream = vec![0; lanes::stream_capacity(book.limit(), 12 * SYMBOLS as u64)];
    bencher.counter(BytesCount::new(SYMBOLS)).bench_local(|| {
        lanes::encode_on(platform, &book, black_box(&slots), &[0; 128], &mut states, &mut stream)
    });
}

#[divan::bench(args = cases())]
fn decode(bencher: Bencher<'_, '_>, (kind, name): (&str, &str)) {
    let (book, platform) = (book(kind), platform(name));
    let slots = slots(&book);
    let mut states = vec![0; lanes::states_bytes(book.limit())];
    let mut stream = vec![0; lanes::stream_capacity(book.limit(), 12 * SYMBOLS as u64)];
    let length = lanes::encode_on(platform, &book, &slots, &[0; 128], &mut states, &mut stream);
    stream.truncate(length.expect("slots of the book"));
    let mut decoded = vec![0; SYMBOLS];
    bencher.counter(BytesCount::new(SYMBOLS)).bench_local(|| {
        lanes::decode_on(platform, &book, &states, black_box(&stream), &mut decoded)
    });
    assert!(decoded == slots);
}
