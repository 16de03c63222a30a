//! Codebooks that are refreshed: distributions that stay, distributions that drift, and what a refresh has to pay for.

use std::sync::Arc;

use huffwire::refresh::{Limits, Refreshable, Refresher, TensorBooks};
use huffwire::{CodebookSet, Decoder, Dtype, EncodeOptions, Encoder, Tensor};
use huffwire_testing::{Random, float};

/// Many samples of few messages.
const LIMITS: Limits = Limits { regret: 0.02, every: 40, interval: 1 << 16, samples: 16 };

/// Bell-shaped values raised to a power: the higher it is, the wider exponents are spread.
fn tensor(power: i32, octave: i32, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut value = || (0..3).map(|_| random.uniform() - 0.5).sum::<f64>();
    let scale = f64::from(octave).exp2();
    let values: Vec<f32> = (0..40_000)
        .map(|_| {
            let v = value();
            (v.signum() * v.abs().powi(power) * scale) as f32
        })
        .collect();
    float::to_bf16_bytes(&values)
}

fn send(refresher: &mut Refresher<TensorBooks>, name: &str, bytes: &[u8], times: usize) {
    for _ in 0..times {
        refresher.observe(&Tensor::new(Dtype::Bf16, bytes).named(name));
    }
}

#[test]
fn books_that_fit_stay_in_use() {
    let mut refresher = Refresher::new(TensorBooks::new(CodebookSet::builtin()), LIMITS);
    let tensors: Vec<Vec<u8>> = (0..4).map(|seed| tensor(1, -7, seed)).collect();
    for _ in 0..10 {
        for tensor in &tensors {
            send(&mut refresher, "layers.0.weight", tensor, 2);
        }
    }
    assert!(refresher.is_due());
    assert!(refresher.judge().unwrap().is_none());
    let regret = refresher.regret().unwrap().share();
    assert!(regret.abs() < 0.02, "{regret}");
    assert!(!refresher.is_due(), "what was judged is not judged again at once");
}

/// A drift of the scale costs nothing, since books are relative to a base; a drift of the shape does.
#[test]
fn books_of_another_distribution_are_replaced() {
    let mut refresher = Refresher::new(TensorBooks::new(CodebookSet::builtin()), LIMITS);
    for step in 0..80 {
        send(&mut refresher, "a.weight", &tensor(1, -step / 4, step as u64), 1);
    }
    assert!(refresher.judge().unwrap().is_none());
    assert!(refresher.regret().unwrap().share() < 0.02);

    // Fewer exponents than any tensor of neural networks has.
    let narrow = |seed: u64| -> Vec<u8> {
        let mut random = Random::new(seed);
        let mut one = || {
            let bits = random.bits() as u16;
            // Three of four have the one exponent, one has the other.
            0x3f00 | bits & 0x807f | if bits & 0x300 == 0 { 0x80 } else { 0 }
        };
        (0..40_000).flat_map(|_| one().to_le_bytes()).collect()
    };
    for step in 0..80 {
        send(&mut refresher, "a.weight", &narrow(step), 1);
    }
    let proposal = refresher.judge().unwrap().expect("books that pay");
    assert!(
        proposal.regret.share() > 0.02 && proposal.saved_bytes > proposal.shipping_bytes as f64
    );
    let bytes = proposal.books.set().to_bytes();
    assert_eq!(bytes.len(), proposal.shipping_bytes);

    // The other end reads the same set, and messages of the next step are smaller.
    let held = Arc::new(CodebookSet::from_bytes(&bytes).unwrap());
    let next = narrow(999);
    let message = |set: &Arc<CodebookSet>| {
        let mut encoder = Encoder::new(Arc::clone(set), EncodeOptions::default()).unwrap();
        encoder.encode_to_vec(Dtype::Bf16, &next).unwrap()
    };
    let (old, new) = (message(&CodebookSet::builtin()), message(&held));
    let (_, restored) = Decoder::new(Arc::clone(&held)).decode_to_vec(&new).unwrap();
    assert!(restored == next);
    // What was foreseen, in the bytes of one message.
    let saved = (old.len() - new.len()) as f64 * LIMITS.every as f64;
    assert!((saved / proposal.saved_bytes - 1.0).abs() < 0.1, "{saved} {}", proposal.saved_bytes);
    // An end that has only the old set says so.
    assert!(matches!(
        Decoder::builtin().decode_to_vec(&new),
        Err(huffwire::Error::SetMismatch { .. })
    ));

    refresher.switch(proposal.books);
    assert!(refresher.regret().is_none() && !refresher.is_due() && refresher.samples().is_empty());
    for step in 100..180 {
        send(&mut refresher, "a.weight", &narrow(step), 1);
    }
    assert!(refresher.judge().unwrap().is_none());
    assert!(refresher.regret().unwrap().share() < 0.01);
}

#[test]
fn new_books_wait_for_their_time_and_have_to_pay() {
    let constant = |seed: u64| {
        let mut random = Random::new(seed);
        let one = |_| (0x3f00 | (random.bits() & 0x807f) as u16).to_le_bytes();
        (0..30_000).flat_map(one).collect::<Vec<u8>>()
    };
    let tensor = constant(1);
    // Enough samples, but not enough messages.
    let limits = Limits { every: 1000, ..LIMITS };
    let mut refresher = Refresher::new(TensorBooks::new(CodebookSet::builtin()), limits);
    send(&mut refresher, "x", &tensor, 999);
    assert!(!refresher.is_due() && refresher.judge().unwrap().is_none());
    send(&mut refresher, "x", &tensor, 1);
    assert!(refresher.is_due());

    // Whoever does not want to wait gets a judgement from the samples at hand, if there are two.
    let mut refresher = Refresher::new(TensorBooks::new(CodebookSet::builtin()), limits);
    send(&mut refresher, "x", &tensor, 1);
    assert!(refresher.judge_now().unwrap().is_none() && refresher.regret().is_none());
    send(&mut refresher, "x", &tensor, 3);
    assert!(refresher.samples().len() >= 2 && refresher.judge().unwrap().is_none());
    refresher.judge_now().unwrap();
    assert!(refresher.regret().is_some());

    // Messages so small and few that a set is more than it saves.
    let limits = Limits { every: 2, interval: 0, samples: 16, regret: 0.0 };
    let mut refresher = Refresher::new(TensorBooks::new(CodebookSet::builtin()), limits);
    let bytes: Vec<u8> = self::tensor(1, 0, 3)[..2048].to_vec();
    send(&mut refresher, "x", &bytes, 16);
    assert!(refresher.is_due());
    assert!(refresher.judge().unwrap().is_none());
}

#[test]
fn samples_are_as_many_as_the_interval_says_and_lie_in_all_kinds() {
    let (small, large) = (tensor(1, 0, 1), tensor(1, 0, 2));
    let limits = Limits { interval: 1 << 20, samples: 1000, ..Limits::default() };
    let mut refresher = Refresher::new(TensorBooks::new(CodebookSet::builtin()), limits);
    for layer in 0..2000 {
        send(&mut refresher, &format!("layers.{layer}.a"), &small[..40_000], 1);
        send(&mut refresher, &format!("layers.{layer}.b"), &large, 1);
        send(&mut refresher, "nothing", &[], 1);
    }
    let sent = 2000.0 * (40_000.0 + large.len() as f64);
    let expected = sent / f64::from(1 << 20);
    let taken = refresher.samples().len() as f64;
    assert!((taken / expected - 1.0).abs() < 0.2, "{taken} of {expected}");
    let of = |kind| refresher.samples().iter().filter(|sample| sample.kind() == kind).count();
    assert_eq!(of("layers.*.a") + of("layers.*.b"), refresher.samples().len());
    assert!(of("layers.*.a") > 10 && of("layers.*.b") > of("layers.*.a"));
    assert!(refresher.samples().iter().all(|sample| sample.bytes().len() <= 16 << 10));
}

/// The last samples alone are judged: what was sent long ago does not count.
#[test]
fn old_samples_give_way_to_new_ones() {
    let mut refresher = Refresher::new(TensorBooks::new(CodebookSet::builtin()), LIMITS);
    send(&mut refresher, "old", &tensor(1, 0, 1), 100);
    send(&mut refresher, "new", &tensor(1, 0, 2), 100);
    assert_eq!(refresher.samples().len(), LIMITS.samples);
    assert!(refresher.samples().iter().all(|sample| sample.kind() == "new"));
}

/// Types without books of their own, packed types and tensors of a few bytes.
#[test]
fn any_tensor_can_be_sampled_and_judged() {
    let bytes = tensor(1, 0, 5);
    for dtype in Dtype::all() {
        let books = TensorBooks::new(CodebookSet::builtin());
        let mut samples = Vec::new();
        for place in [0, 1 << 63, u64::MAX] {
            for units in [0, 1, 63, 1000, 9000] {
                let Some(bytes) = bytes.get(..units * dtype.unit_bytes()) else { continue };
                let message = Tensor::new(dtype, bytes);
                let sample = TensorBooks::sample(&message, place);
                assert_eq!(sample.is_none(), units == 0, "{dtype}");
                samples.extend(sample);
            }
        }
        let regret = books.regret(&samples).unwrap();
        assert!(regret.spent_bits > 0, "{dtype}");
    }
    let books = TensorBooks::new(CodebookSet::builtin());
    assert_eq!(books.regret(&[]).unwrap().share(), 0.0);
    assert_eq!(books.refit(&[]).unwrap().set().id(), CodebookSet::builtin().id());
}
