//! The delta between two files of raw elements: its size, its blocks, and how long it takes, one thread, as JSON.
//!
//! ```text
//! cargo run --release -p huffwire --example delta_pair -- DTYPE BASE NEW [ROUNDS]
//! ```
//!
//! The delta is applied, and the result is compared with the new elements. With ROUNDS everything is done that often
//! once more, and timed in turns; `compare` is a loop that reads and compares both files. `benches/deltas.py` calls this.

#![allow(clippy::unwrap_used)] // An example that fails should say so.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::time::Instant;

use huffwire::{Decoder, Dtype, Encoder, Platform, delta};
use serde_json::json;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (dtype, base, new, rounds) = match &arguments[..] {
        [dtype, base, new] => (dtype, base, new, 0),
        [dtype, base, new, rounds] => (dtype, base, new, rounds.parse().unwrap()),
        _ => panic!("this needs DTYPE BASE NEW [ROUNDS]"),
    };
    let dtype: Dtype = dtype.parse().unwrap();
    let (base, new) = (fs::read(base).unwrap(), fs::read(new).unwrap());

    let (mut encoder, mut decoder) = (Encoder::builtin(), Decoder::builtin());
    let mut message = vec![0; encoder.delta_bound(dtype, new.len() / dtype.unit_bytes())];
    let mut weights = base.clone();
    let mut length = 0;
    let (mut compare, mut encode, mut apply) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=rounds {
        weights.copy_from_slice(&base);
        let timed = |seconds: &mut Vec<f64>, work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        };
        timed(&mut compare, &mut || {
            black_box(differing(&base, &new));
        });
        timed(&mut encode, &mut || {
            length = encoder.encode_delta(dtype, &base, &new, &mut message).unwrap();
        });
        timed(&mut apply, &mut || {
            decoder.apply_delta(&message[..length], &mut weights).unwrap();
        });
        assert!(weights == new, "the delta does not lead to the new elements");
    }

    let info = delta::Info::read(&message[..length], None).unwrap();
    let mut kinds = BTreeMap::new();
    for block in &info.blocks {
        *kinds.entry(block.kind.name()).or_insert(0) += 1;
    }
    let plain = encoder.encode_to_vec(dtype, &new).unwrap();
    let report = json!({
        "platform": Platform::detect().name(),
        "words": info.words(),
        "changes": info.changes(),
        "raw_bytes": new.len(),
        "plain_bytes": plain.len(),
        "delta_bytes": length,
        "blocks": kinds,
        "compare_seconds": compare,
        "encode_seconds": encode,
        "apply_seconds": apply,
    });
    println!("{report}");
}

/// Number of chunks that differ.
fn differing(base: &[u8], new: &[u8]) -> usize {
    base.chunks(256).zip(new.chunks(256)).filter(|(base, new)| base != new).count()
}
