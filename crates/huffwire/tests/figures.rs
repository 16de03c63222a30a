//! The figures that huffwire promises, measured on real tensors.
//!
//! They need the folder of sample tensors that the project's own machines have beside the checkout
//! (`../shared/tensors`), or one like it named by `HUFFWIRE_TENSORS`. Where that folder is missing, or
//! with `HUFFWIRE_TENSORS=none`, the same code runs on generated tensors and says so; their figures are
//! weaker promises. A folder that lacks one of the files is an error. To see the table:
//!
//! ```text
//! cargo test --release -p huffwire --test figures -- --nocapture --test-threads 1
//! ```

#![allow(clippy::unwrap_used, clippy::panic)] // A test says with a panic what does not hold.

mod tensors;

use std::sync::Arc;

use huffwire::calibrate::{Collector, Options, Profile, kind_of};
use huffwire::codebook::CodeLimit;
use huffwire::codebook::fit::{Effort, plain};
use huffwire::file::{self, NewItem, TensorInfo, Writer};
use huffwire::huffman::limited_lengths;
use huffwire::{
    Choice, CodebookSet, Decoder, Dtype, EncodeOptions, Encoder, Kind, Layout, SymbolRule, delta,
};
use tensors::{Batch, Tensor, to_e4m3, zero_at_random};

/// Sizes of several tensors together, in bytes.
#[derive(Default, Clone, Copy)]
struct Sizes {
    raw: f64,
    coded: f64,
    shannon: f64,
    huffman: f64,
}

impl Sizes {
    fn saving(&self) -> f64 {
        100.0 * (1.0 - self.coded / self.raw)
    }

    fn huffman_saving(&self) -> f64 {
        100.0 * (1.0 - self.huffman / self.raw)
    }

    /// Coded size over Huffman size, in percent.
    fn over_huffman(&self) -> f64 {
        100.0 * (self.coded / self.huffman - 1.0)
    }

    fn over_shannon(&self) -> f64 {
        100.0 * (self.coded / self.shannon - 1.0)
    }
}

/// Codes tensors as messages would be (blocks with checksums, and the 16 bytes of a message header
/// each), checks that they come back, and compares with the ideals.
fn measure(set: &Arc<CodebookSet>, options: EncodeOptions, tensors: &[Tensor]) -> Sizes {
    let mut sizes = Sizes::default();
    let mut encoder = Encoder::new(Arc::clone(set), options).unwrap();
    let mut decoder = Decoder::new(Arc::clone(set));
    for tensor in tensors {
        let named = huffwire::Tensor::new(tensor.dtype, &tensor.bytes).named(&tensor.name);
        let message = encoder.encode_tensor_to_vec(&named).unwrap();
        let (_, restored) = decoder.decode_to_vec(&message).unwrap();
        assert!(restored == tensor.bytes, "{} does not come back", tensor.name);
        let ideal = profile(tensor, options.rule).ideal();
        sizes.raw += tensor.bytes.len() as f64;
        sizes.coded += message.len() as f64;
        sizes.shannon += ideal.shannon_bytes;
        sizes.huffman += ideal.huffman_bytes;
    }
    sizes
}

fn profile(tensor: &Tensor, rule: SymbolRule) -> Profile {
    let mut profile = Profile::new(tensor.dtype, rule);
    profile.add(&tensor.bytes).unwrap();
    profile
}

fn calibrated(tensors: &[Tensor], rule: SymbolRule, options: &Options) -> Arc<CodebookSet> {
    let mut collector = Collector::new(rule);
    for tensor in tensors {
        collector.push(&kind_of(&tensor.name), profile(tensor, rule)).unwrap();
    }
    Arc::new(collector.build(options).unwrap().set)
}

#[test]
fn builtin_books_without_calibration() {
    let set = CodebookSet::builtin();
    for (batch, dense, half, tenth) in [
        (Batch::weights(200), 33.3, 59.0, 86.0),
        (Batch::gradients(200), 32.3, 59.0, 86.0),
        (Batch::activations(200), 30.2, 57.0, 85.0),
    ] {
        for (percent, promise) in [(0, dense), (50, half), (90, tenth)] {
            let tensors: Vec<Tensor> =
                batch.tensors.iter().map(|t| zero_at_random(t, percent)).collect();
            let sizes = measure(&set, EncodeOptions::default(), &tensors);
            println!(
                "built-in, {} with {percent} % zeros: {:.2} % saved (Huffman per tensor {:.2}, Shannon {:.2})",
                batch.name,
                sizes.saving(),
                sizes.huffman_saving(),
                100.0 * (1.0 - sizes.shannon / sizes.raw)
            );
            assert!(sizes.saving() >= promise, "{}: {:.3}", batch.name, sizes.saving());
        }
    }
}

#[test]
fn books_calibrated_on_the_earlier_batch() {
    let mut all = Sizes::default();
    // Exponents of normal values look different for each place of their scale between two powers of
    // two, and generated weights have nothing else: eight scales over 0.7 of an octave, with one book
    // for all of them (0.32 points; with one scale for all, 0.20). The scales mixed in a tensor of any
    // other batch, or of a trained network, blur this.
    for (before, after, real, generated) in [
        (Batch::weights(100), Batch::weights(200), 0.3, 0.35),
        (Batch::gradients(100), Batch::gradients(200), 0.3, 0.3),
        (Batch::activations(100), Batch::activations(200), 0.35, 0.35),
    ] {
        let points = if after.real { real } else { generated };
        let options = Options { builtin: false, ..Options::default() };
        let set = calibrated(&before.tensors, SymbolRule::Auto, &options);
        let options = EncodeOptions::default().choice(Choice::Named);
        let sizes = measure(&set, options, &after.tensors);
        let behind = sizes.huffman_saving() - sizes.saving();
        println!(
            "calibrated, {}: {:.2} % saved, {behind:.3} points behind Huffman per tensor, {:.2} % over Shannon",
            after.name,
            sizes.saving(),
            sizes.over_shannon()
        );
        // Generated tensors all drift the same way between the batches, further than real ones.
        let points = if after.real { points } else { points + 0.05 };
        assert!(behind <= points, "{}: {behind:.3}", after.name);
        all.coded += sizes.coded;
        all.shannon += sizes.shannon;
    }
    println!("calibrated, overall: {:.2} % over Shannon", all.over_shannon());
    assert!(all.over_shannon() <= 1.0);
}

#[test]
fn bytes_as_symbols_as_in_the_paper() {
    for (before, after, promise) in [
        (Batch::weights(100), Batch::weights(200), Some(0.5)),
        (Batch::activations(100), Batch::activations(200), Some(0.5)),
        (Batch::gradients(100), Batch::gradients(200), None),
    ] {
        let options = Options { builtin: false, ..Options::default() };
        let set = calibrated(&before.tensors, SymbolRule::Bytes, &options);
        let rule = SymbolRule::Bytes;
        let options = EncodeOptions::default().rule(rule).choice(Choice::Named);
        let sizes = measure(&set, options, &after.tensors);
        println!(
            "bytes, {}: {:.2} % saved, {:.3} % over Huffman per shard",
            after.name,
            sizes.saving(),
            sizes.over_huffman()
        );
        if let Some(promise) = promise {
            assert!(sizes.over_huffman() <= promise, "{}", after.name);
        }
    }
}

#[test]
fn e4m3_with_short_and_long_codes() {
    for (before, after, long, short, builtin) in [
        (Batch::weights(100), Batch::weights(200), 0.5, 1.5, Some(15.0)),
        (Batch::gradients(100), Batch::gradients(200), 1.5, 2.5, Some(15.0)),
        (Batch::activations(100), Batch::activations(200), 0.5, 1.5, None),
    ] {
        let e4m3 = |batch: &Batch| batch.tensors.iter().map(to_e4m3).collect::<Vec<_>>();
        let (earlier, later) = (e4m3(&before), e4m3(&after));
        let one = Options {
            codes: Some(CodeLimit::Bits12),
            books_per_kind: Some(1),
            ..Options::default()
        };
        let set = calibrated(&earlier, SymbolRule::Auto, &one);
        let sizes = measure(&set, EncodeOptions::default(), &later);
        let over = sizes.over_huffman();
        println!("e4m3 Long, one book per kind, {}: {over:.3} % over Huffman", after.name);
        for (limit, promise) in [(CodeLimit::Bits12, long), (CodeLimit::Bits8, short)] {
            let options = Options { codes: Some(limit), ..Options::default() };
            let set = calibrated(&earlier, SymbolRule::Auto, &options);
            let sizes = measure(&set, EncodeOptions::default(), &later);
            println!(
                "e4m3 {limit:?}, {}: {:.2} % saved, {:.3} % over Huffman per tensor",
                after.name,
                sizes.saving(),
                sizes.over_huffman()
            );
            assert!(sizes.over_huffman() <= promise, "{}", after.name);
        }
        let sizes = measure(&CodebookSet::builtin(), EncodeOptions::default(), &later);
        println!("e4m3 built-in, {}: {:.2} % saved", after.name, sizes.saving());
        if let Some(promise) = builtin {
            // Generated tensors have heavier tails than these books were made for.
            let promise = if after.real { promise } else { promise - 0.5 };
            assert!(sizes.saving() >= promise, "{}", after.name);
        }
    }
}

#[test]
fn limits_cost_little_with_an_escape() {
    for batch in [Batch::weights(200), Batch::gradients(200), Batch::activations(200)] {
        let mut bits = [0.0; 7];
        for tensor in batch.tensors.iter().map(to_e4m3) {
            let pmf = profile(&tensor, SymbolRule::Auto).pmf(Layout::Magnitude, 0).unwrap();
            // Every symbol codable, as a book that is kept must be.
            let all = pmf.smoothed(1e-6);
            let limited = |limit| {
                let lengths = limited_lengths(all.probabilities(), limit).unwrap();
                all.probabilities().iter().zip(lengths).map(|(p, l)| p * f64::from(l)).sum::<f64>()
            };
            let escaped = |limit| plain(&all, 7, limit, Effort::Exhaustive).unwrap().bits;
            let costs = [
                pmf.huffman_bits(),
                limited(8),
                limited(10),
                limited(11),
                limited(12),
                escaped(CodeLimit::Bits8),
                escaped(CodeLimit::Bits12),
            ];
            for (sum, cost) in bits.iter_mut().zip(costs) {
                *sum += cost * tensor.bytes.len() as f64;
            }
        }
        let over = bits.map(|sum| 100.0 * (sum / bits[0] - 1.0));
        let [_, eight, ten, eleven, twelve, short, long] = over;
        println!(
            "e4m3 magnitudes, {}, % over Huffman: limit 8 {eight:.2}, 10 {ten:.2}, 11 {eleven:.2}, \
             12 {twelve:.2}; with an escape 8 {short:.2}, 12 {long:.2}",
            batch.name
        );
        assert!(short < eight / 3.0 && short < 1.5 && long < 0.1, "{over:?}");
    }
}

#[test]
fn growth_is_bounded_on_noise() {
    let noise = huffwire_testing::noise(3 << 20, 42);
    for dtype in Dtype::all() {
        let bytes = &noise[..noise.len() / 24 * 24];
        let message = Encoder::builtin().encode_to_vec(dtype, bytes).unwrap();
        let units = bytes.len() / dtype.unit_bytes();
        assert!(message.len() <= huffwire::message::bound(dtype, units, 17), "{dtype}");
    }
}

/// Deltas of weights one and two steps apart, as files, directory included.
#[test]
fn a_step_of_an_optimizer_is_a_small_file() {
    for (from, to, real, generated) in [(0, 1, 252, 210), (1, 2, 222, 208), (0, 2, 150, 160)] {
        let (base, new) = (tensors::sync(from), tensors::sync(to));
        let mut writer = Writer::new(true, 17).unwrap();
        let set = writer.add_set(&CodebookSet::builtin(), false);
        let mut file = writer.header().to_vec();
        writer.begin_original("model.safetensors").unwrap();
        let mut encoder = Encoder::builtin();
        let mut raw = 0;
        for (base, new) in base.tensors.iter().zip(&new.tensors) {
            let (name, dtype) = (new.name.clone(), new.dtype);
            let shape = vec![(new.bytes.len() / dtype.unit_bytes()) as u64];
            let tensor = Some(TensorInfo { name, dtype: "BF16".into(), shape });
            writer.begin_item(NewItem { tensor, kind: Kind::Delta, dtype, set }).unwrap();
            let check = file::checksum(&delta::KIND_HEADER);
            writer.push_kind_header(delta::KIND_HEADER.len(), Some(check)).unwrap();
            file.extend_from_slice(&delta::KIND_HEADER);
            let size = delta::block_bytes(dtype);
            for (base, new) in base.bytes.chunks(size).zip(new.bytes.chunks(size)) {
                let tensor = huffwire::Tensor::new(dtype, new);
                let coded = encoder.encode_delta_block(base, &tensor, &mut file).unwrap();
                writer.push_block(new.len(), coded.bytes, coded.checksum).unwrap();
            }
            raw += new.bytes.len();
        }
        file.extend_from_slice(&writer.finish().unwrap());
        let ratio = raw as f64 / file.len() as f64;
        println!("{from} -> {to}: a file {ratio:.1} times smaller");
        let least = if new.real { real } else { generated };
        assert!(ratio >= f64::from(least), "{from} -> {to}: {ratio}");
    }
}

/// Deltas of weights one and two steps apart, as messages: every byte is counted.
#[test]
fn a_step_of_an_optimizer_takes_few_bits_a_change() {
    for (from, to, real, generated) in [(0, 1, 270, 215), (1, 2, 238, 213), (0, 2, 160, 166)] {
        let (base, new) = (tensors::sync(from), tensors::sync(to));
        let (mut raw, mut coded, mut changes) = (0, 0, 0);
        for (base, new) in base.tensors.iter().zip(&new.tensors) {
            let mut encoder = Encoder::builtin();
            let message = encoder.encode_delta_to_vec(new.dtype, &base.bytes, &new.bytes).unwrap();
            let (_, decoded) =
                Decoder::builtin().decode_delta_to_vec(&base.bytes, &message).unwrap();
            assert!(decoded == new.bytes, "{}", new.name);
            let info = delta::Info::read(&message, None).unwrap();
            (raw, coded) = (raw + new.bytes.len(), coded + message.len());
            changes += info.changes();
        }
        let ratio = raw as f64 / coded as f64;
        let share = 200.0 * changes as f64 / raw as f64;
        let bits = 8.0 * coded as f64 / changes as f64;
        println!(
            "{from} -> {to}: {ratio:.1} times smaller, {share:.3} % changed, {bits:.2} bits a change"
        );
        assert!(
            ratio >= f64::from(if new.real { real } else { generated }),
            "{from} -> {to}: {ratio}"
        );
    }
}
