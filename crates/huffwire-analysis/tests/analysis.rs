//! The analysis against what is known of its input.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says that something does not hold")]

use std::path::Path;

use huffwire::{Dtype, SymbolRule};
use huffwire_analysis::{Analysis, File, Options, analyze, bytes_to_read};
use huffwire_io::{Input, Workers};
use huffwire_testing::files::safetensors;
use huffwire_testing::{Random, float, noise};

fn open(path: &Path) -> File<'static> {
    File::new("x.safetensors", Input::open(path, None).unwrap())
}

/// Analyzes a file with these tensors, on so many threads.
fn analyzed(
    tensors: &[huffwire_testing::files::Tensor<'_>],
    options: &Options,
    workers: &Workers,
) -> Analysis {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    std::fs::write(&path, safetensors(tensors)).unwrap();
    let files = [open(&path)];
    let mut read = 0;
    let mut count = |bytes| {
        read += bytes;
        Ok(())
    };
    let analysis = analyze(&files, &[], options, workers, &mut count).unwrap();
    assert_eq!(read, bytes_to_read(&files, &[], options));
    analysis
}

fn all_rules() -> Options {
    let rules = vec![SymbolRule::Auto, SymbolRule::Bytes, SymbolRule::BytePlanes];
    Options { rules, ..Options::default() }
}

#[test]
fn uniform_bytes_cannot_be_coded_and_two_values_take_a_bit() {
    let bytes = noise(1 << 20, 1);
    let bits: Vec<u8> = bytes.iter().map(|byte| byte & 1).collect();
    let tensors = [("noise", "U8", &[1 << 20][..], &bytes[..]), ("bits", "U8", &[1 << 20], &bits)];
    let analysis = analyzed(&tensors, &Options::default(), &Workers::caller());
    let savings = |name: &str| {
        let kind = analysis.kinds.iter().find(|kind| kind.name == name).unwrap();
        assert_eq!((kind.shards, kind.values), (1, 1 << 20));
        (kind.shannon_saving_percent, kind.huffman_saving_percent, kind.fixed_saving_percent)
    };
    let (shannon, huffman, fixed) = savings("noise");
    assert!(shannon < 0.01 && huffman < 0.01 && fixed.unwrap() < 0.01);
    let (shannon, huffman, fixed) = savings("bits");
    assert!((shannon - 87.5).abs() < 0.01 && huffman == 87.5, "{shannon} {huffman}");
    // The escape, for symbols that never came, takes code space.
    assert!((70.0..=87.5).contains(&fixed.unwrap()), "{fixed:?}");
}

#[test]
fn threads_and_shards_do_not_change_what_is_counted() {
    let values = Random::new(4).tensor(300_000, -5.0, 1.0);
    let bytes = float::to_bf16_bytes(&values);
    let tensors = [("a", "BF16", &[300, 1000][..], &bytes[..])];
    let mut options = all_rules();
    options.derived = vec![Dtype::E4m3, Dtype::E2m1];
    let json = |analysis: &Analysis| format!("{analysis:?}");
    let alone = analyzed(&tensors, &options, &Workers::caller());
    let on_threads = analyzed(&tensors, &options, &Workers::new(3).unwrap());
    assert!(json(&alone) == json(&on_threads));
    for axis in [0, 1] {
        options.shards = 7.try_into().unwrap();
        options.axis = axis;
        let cut = analyzed(&tensors, &options, &Workers::new(2).unwrap());
        assert_eq!(cut.kinds.len(), alone.kinds.len());
        for (cut, whole) in cut.kinds.iter().zip(&alone.kinds) {
            assert_eq!((cut.shards, cut.values), (7, whole.values), "axis {axis}");
            assert_eq!(cut.fixed_from, Some("other shards"));
            // The entropy of parts is at most that of the whole, and of alike parts nearly the same.
            let more = cut.shannon_saving_percent - whole.shannon_saving_percent;
            assert!((-0.05..0.5).contains(&more), "{more}");
        }
    }
}

#[test]
fn a_fixed_codebook_loses_what_divergence_says() {
    // Two kinds of layers whose bytes have different peaks: each layer is coded with a book of the other one.
    let peaked = |peak: u8, seed| -> Vec<u8> {
        noise(1 << 16, seed).iter().map(|byte| if byte & 3 == 0 { *byte } else { peak }).collect()
    };
    let (first, second) = (peaked(7, 1), peaked(201, 2));
    let tensors = [
        ("layers.0.x", "U8", &[1 << 16][..], &first[..]),
        ("layers.1.x", "U8", &[1 << 16], &second),
    ];
    let analysis = analyzed(&tensors, &Options::default(), &Workers::caller());
    let kind = &analysis.kinds[0];
    assert_eq!(kind.fixed_from, Some("other layers"));
    assert!(kind.huffman_saving_percent > 50.0);
    // Worse than the bytes themselves, so these are kept.
    assert!(kind.fixed_saving_percent.unwrap() < 1.0, "{:?}", kind.fixed_saving_percent);
    assert!(kind.max_kl_bits > 0.5);
}

#[test]
fn figures_have_names_of_their_own() {
    let bytes = noise(4096, 1);
    let tensors = [("a", "F32", &[1024][..], &bytes[..]), ("A", "F32", &[1024], &bytes)];
    let analysis = analyzed(&tensors, &all_rules(), &Workers::caller());
    let mut names: Vec<String> = analysis.figures().into_iter().map(|figure| figure.name).collect();
    let count = names.len();
    assert!(huffwire_analysis::Figure::ALWAYS.iter().all(|name| names.iter().any(|n| n == name)));
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(analysis.figures().iter().all(|figure| figure.svg().starts_with("<svg")));
}
