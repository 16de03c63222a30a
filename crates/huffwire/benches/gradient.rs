//! Elements per second of the encoders of quantized gradients, beside the Elias codes on the same values in the
//! same run. `cargo bench -p huffwire --bench gradient [-- NAME…]` measures the encoders whose names
//! begin so (the Elias codes always), and prints a table.
//!
//! A million values in a byte each: QSGD's of 4 levels with so many percent zeros, those that QSGD makes of
//! normal values with 16 and 127 levels, and any bytes. The encoders take turns, and the best of
//! all turns counts: what else the machine does slows each of them alike, and some turns not at all.

#![allow(clippy::expect_used)] // A benchmark that cannot run says so with a panic.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use huffwire::Platform;
use huffwire::gradient::encode::{
    self, Auto, Bitmap, BitmapBooks, Fixed, RunAlphabet, ValueEncoder, shannon,
};
use huffwire::gradient::quantize::{Norm, Qsgd, Quantizer};
use huffwire::gradient::{Random, ValueBuf, Values};

const VALUES: usize = 1 << 20;

/// Turns of each encoder.
const TURNS: usize = 60;

fn main() {
    // `cargo test --benches` only wants to know whether it runs.
    let (values, turns) =
        if std::env::args().any(|arg| arg == "--bench") { (VALUES, TURNS) } else { (1 << 12, 1) };
    let names: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| {
        let elias = name.starts_with("elias") || name.starts_with("qsgd-elias");
        elias || names.is_empty() || names.iter().any(|wanted| name.starts_with(wanted.as_str()))
    };
    println!(
        "| values | zeros % | encoder | platform | of Shannon | encode Gelem/s | × ω | × best | decode Gelem/s | × ω | × best |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (kind, [earlier, now]) in kinds(values) {
        let mut rows = encoders(&earlier);
        rows.retain(|row| is_wanted(row.encoder.name()));
        measure(&kind, &mut rows, now.view(), turns);
    }
}

/// Values as QSGD has them: other values than 0 get rarer with their magnitude.
fn few_levels(count: usize, zeros: u32, seed: u64) -> ValueBuf {
    let random = Random::new(seed);
    let value = |i: u64| {
        if random.uniform(3 * i) * 100.0 < f64::from(zeros) {
            return 0;
        }
        let level = 1 + (random.bits(3 * i + 1) | 1 << 3).trailing_zeros() as i8;
        if random.bits(3 * i + 2) & 1 == 0 { level } else { -level }
    };
    (0..count as u64).map(value).collect::<Vec<i8>>().into()
}

/// Normal floats: the sum of twelve even ones, near enough.
fn normal(count: usize, seed: u64) -> Vec<f32> {
    let random = Random::new(seed);
    let float = |i: u64| (0..12).map(|j| random.uniform(12 * i + j)).sum::<f64>() - 6.0;
    (0..count as u64).map(|i| float(i) as f32).collect()
}

/// Kinds of values: those of an earlier step, for books, and those to be coded.
fn kinds(count: usize) -> Vec<(String, [ValueBuf; 2])> {
    let mut kinds: Vec<(String, [ValueBuf; 2])> = Vec::new();
    for zeros in [0, 50, 90, 99, 100] {
        kinds.push(("4 levels".into(), [2, 1].map(|seed| few_levels(count, zeros, seed))));
    }
    for (levels, norm) in [(16, Norm::L2), (127, Norm::L2), (127, Norm::Max)] {
        let quantizer = Quantizer::Qsgd(Qsgd { levels, bucket: 512, norm });
        let values = [2, 1].map(|seed| {
            quantizer.quantize(&normal(count, seed), seed).expect("normal floats").values
        });
        kinds.push((format!("QSGD {levels} {norm:?}"), values));
    }
    let any = |seed| (0..count as u64).map(|i| Random::new(seed).bits(i) as i8).collect::<Vec<_>>();
    kinds.push(("any bytes".into(), [any(2).into(), any(1).into()]));
    if let [.., (_, [earlier, now])] = &kinds[..3] {
        let wide = [earlier, now].map(|values| {
            let view = values.view();
            ValueBuf::I32((0..view.len()).map(|i| view.get(i)).collect())
        });
        kinds.push(("4 levels in i32".into(), wide));
    }
    kinds
}

struct Row {
    encoder: Box<dyn ValueEncoder>,
    platform: Option<Platform>,
    stream: Vec<u8>,
    /// The best so far, in seconds.
    encode: f64,
    decode: f64,
}

impl Row {
    fn new(encoder: impl ValueEncoder + 'static, platform: Option<Platform>) -> Self {
        Self::boxed(Box::new(encoder), platform)
    }

    fn boxed(encoder: Box<dyn ValueEncoder>, platform: Option<Platform>) -> Self {
        Self { encoder, platform, stream: Vec::new(), encode: f64::MAX, decode: f64::MAX }
    }
}

fn encoders(earlier: &ValueBuf) -> Vec<Row> {
    let others = encode::all(-127, 127).into_iter().filter(|encoder| encoder.name() != "bitmap");
    let mut rows: Vec<Row> = others.map(|encoder| Row::boxed(encoder, None)).collect();
    for alphabet in
        [RunAlphabet::Values, RunAlphabet::Pairs, RunAlphabet::ZeroRuns(encode::DEFAULT_RUNS)]
    {
        rows.push(Row::new(Fixed::train(alphabet, [earlier.view()]).expect("an alphabet"), None));
    }
    let books = Arc::new(BitmapBooks::train([earlier.view()]).expect("values"));
    for platform in Platform::available() {
        rows.push(Row::new(Bitmap::default().with_platform(platform), Some(platform)));
        let fixed = Bitmap::with_books(Arc::clone(&books)).with_platform(platform);
        rows.push(Row::new(fixed, Some(platform)));
    }
    rows.push(Row::new(Auto, None));
    rows
}

fn seconds<R>(work: impl FnOnce() -> R) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_secs_f64()
}

fn measure(kind: &str, rows: &mut [Row], values: Values<'_>, turns: usize) {
    let mut narrow = vec![0i8; values.len()];
    let mut wide = vec![0i32; values.len()];
    for _ in 0..turns {
        for row in &mut *rows {
            // The first of two only brings its tables and memory back.
            for _ in 0..2 {
                row.stream.clear();
                let time = seconds(|| {
                    row.encoder.encode(black_box(values), &mut row.stream).expect("values")
                });
                row.encode = row.encode.min(time);
            }
            for _ in 0..2 {
                let room = match values {
                    Values::I8(_) => (&mut narrow[..]).into(),
                    Values::I32(_) => (&mut wide[..]).into(),
                };
                let stream = black_box(&row.stream[..]);
                let time = seconds(|| row.encoder.decode(stream, room).expect("its own stream"));
                row.decode = row.decode.min(time);
            }
            let is_right = match values {
                Values::I8(values) => narrow == values,
                Values::I32(values) => wide == values,
            };
            assert!(is_right, "{} lost something", row.encoder.name());
        }
    }
    let elias = |row: &&Row| row.encoder.name().contains("elias");
    let least =
        |time: fn(&Row) -> f64| rows.iter().filter(elias).map(time).fold(f64::MAX, f64::min);
    let omega = rows.iter().find(|row| row.encoder.name() == "elias-omega").expect("always there");
    let zeros = 100.0 * values.zeros() as f64 / values.len() as f64;
    for row in &*rows {
        let platform = row.platform.unwrap_or_else(Platform::detect).name();
        let speed = |time: f64| values.len() as f64 / time / 1e9;
        println!(
            "| {kind} | {zeros:.0} | {} | {platform} | {:.3} | {:.2} | {:.1} | {:.1} | {:.2} | {:.1} | {:.1} |",
            row.encoder.name(),
            row.stream.len() as f64 / shannon(values).values.max(1.0),
            speed(row.encode),
            omega.encode / row.encode,
            least(|row| row.encode) / row.encode,
            speed(row.decode),
            omega.decode / row.decode,
            least(|row| row.decode) / row.decode,
        );
    }
}
