//! Messages and files that this library makes now, read by the reference decoder. The other direction, blocks of an
//! encoder that has nothing in common with this library's, is what the vectors are for.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use huffwire::file::{NewItem, TensorInfo, Writer};
use huffwire::{
    Choice, CodebookSet, Dtype, EncodeOptions, Encoder, Kind, Level, SymbolRule, Tensor,
};
use huffwire_testing::Random;
use serde_json::{Value, json};

use crate::read;

const RULES: [SymbolRule; 3] = [SymbolRule::Auto, SymbolRule::Bytes, SymbolRule::BytePlanes];
const LEVELS: [Level; 2] = [Level::Fast, Level::Max];
const CHOICES: [Choice; 3] = [Choice::Sample, Choice::Cheapest, Choice::Named];

/// A Python that the reference decoder runs on, if this machine has one. A machine that tests what others will use
/// (`CI` is `true` there) must have one.
fn python() -> Option<&'static str> {
    let probe = "import sys; sys.exit(sys.version_info < (3, 11))";
    let works =
        |name: &&str| Command::new(name).args(["-c", probe]).status().is_ok_and(|s| s.success());
    let found = ["python3", "python"].into_iter().find(works);
    if found.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "Python 3.11 or newer is needed");
        println!("NOT CHECKED: the reference decoder needs Python 3.11 or newer");
    }
    found
}

/// A folder of vectors in the form of `test_vectors/`, which the reference decoder checks.
struct Exchange {
    folder: PathBuf,
    sets: Vec<(String, Arc<CodebookSet>)>,
    vectors: Vec<Value>,
}

impl Exchange {
    fn new(name: &str, sets: &[Arc<CodebookSet>]) -> Self {
        let folder = std::env::temp_dir().join(format!("huffwire-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let exchange = Self { folder, sets: Vec::new(), vectors: Vec::new() };
        let sets = sets.iter().map(|set| {
            let path = format!("{}.codebooks", set.id());
            exchange.write(&path, &set.to_bytes());
            (path, Arc::clone(set))
        });
        let sets = sets.collect();
        Self { sets, ..exchange }
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        std::fs::write(self.folder.join(path), bytes).unwrap();
    }

    fn sets(&self) -> Vec<Arc<CodebookSet>> {
        self.sets.iter().map(|(_, set)| Arc::clone(set)).collect()
    }

    fn add(&mut self, name: &str, kind: &str, bytes: &[u8], context: Option<u64>) -> &mut Value {
        let file = format!("{}.{kind}", self.vectors.len());
        self.write(&file, bytes);
        let sets: Vec<_> = self.sets.iter().map(|(path, _)| path).collect();
        let vector =
            json!({"name": name, "kind": kind, "file": file, "sets": sets, "context": context});
        self.vectors.push(vector);
        self.vectors.last_mut().unwrap()
    }

    /// A message, and what it must be decoded to; `None` where it must be refused, with whatever error.
    fn message(&mut self, name: &str, message: &[u8], context: Option<u64>, tensor: Option<&[u8]>) {
        let output = format!("{}.bytes", self.vectors.len());
        if let Some(tensor) = tensor {
            self.write(&output, tensor);
        }
        let vector = self.add(name, "message", message, context);
        match tensor {
            Some(_) => vector["output"] = output.into(),
            None => vector["error"] = "any".into(),
        }
    }

    fn file(&mut self, name: &str, file: &[u8], originals: &[(String, Vec<u8>)]) {
        let number = self.vectors.len();
        let path = |place| format!("{number}.original-{place}");
        for (place, (_, content)) in originals.iter().enumerate() {
            self.write(&path(place), content);
        }
        let originals = originals.iter().enumerate();
        let originals = originals.map(|(place, (name, _))| (name.clone(), path(place).into()));
        let originals = Value::Object(originals.collect());
        self.add(name, "file", file, None)["originals"] = originals;
    }

    /// Lets the reference decoder check all of it. The folder stays there if something differs.
    fn check(self) {
        let Some(python) = python() else { return };
        self.write("manifest.json", json!({"vectors": self.vectors}).to_string().as_bytes());
        let program = read::folder("reference").join("check_vectors.py");
        let manifest = self.folder.join("manifest.json");
        let output = Command::new(python).arg("-B").arg(program).arg(&manifest).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}:\n{said}{errors}", self.folder.display());
        let all = format!("{} vectors, 0 failures\n", self.vectors.len());
        assert_eq!(said, all);
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// Elements around a scale, zeros, equal ones, small numbers, or noise.
fn elements(random: &mut Random, dtype: Dtype, units: usize) -> Vec<u8> {
    let style = random.below(6);
    let constant = random.bits();
    let zeros = [0, 2, 30][random.below(3)];
    let mut bytes = Vec::new();
    for _ in 0..units {
        let noise = random.bits();
        let float = (random.normal() * 1e-3) as f32;
        let unit: [u8; 8] = match (style, dtype.unit_bytes()) {
            (0, _) => constant.to_le_bytes(),
            (1, _) => noise.to_le_bytes(),
            (2, _) => u64::from(noise.trailing_zeros()).to_le_bytes(),
            (_, _) if zeros > 0 && random.below(32) < zeros => [0; 8],
            (_, 1) => [(16 + noise.trailing_zeros() as u8 * 4 + (noise >> 62) as u8) & 0x3f; 8],
            (_, 2 | 3) => u64::from(float.to_bits() >> 16).to_le_bytes(),
            (_, 4) => u64::from(float.to_bits()).to_le_bytes(),
            (_, _) => f64::from(float).to_le_bytes(),
        };
        bytes.extend_from_slice(&unit[..dtype.unit_bytes()]);
    }
    bytes
}

/// An even number of units, which complex types need.
fn even(random: &mut Random, below: usize) -> usize {
    2 * random.below(below / 2)
}

fn options(random: &mut Random, rule: SymbolRule, level: Level) -> EncodeOptions {
    EncodeOptions::default()
        .rule(rule)
        .level(level)
        .choice(CHOICES[random.below(CHOICES.len())])
        .checksums(random.below(2) == 0)
        .block_log2(10 + random.below(11) as u8)
}

#[test]
fn messages_of_all_types_rules_and_levels() {
    let mut random = Random::new(1);
    let set = CodebookSet::builtin();
    let mut exchange = Exchange::new("messages", &[Arc::clone(&set)]);
    for dtype in Dtype::all() {
        for rule in RULES {
            for level in LEVELS {
                let options = options(&mut random, rule, level);
                let units = even(&mut random, 4000) / dtype.unit_bytes() / 2 * 2;
                let bytes = elements(&mut random, dtype, units);
                let context = (random.below(3) == 0).then(|| random.bits());
                let mut tensor = Tensor::new(dtype, &bytes).named("a.weight");
                if let Some(context) = context {
                    tensor = tensor.in_context(context);
                }
                let mut encoder = Encoder::new(Arc::clone(&set), options).unwrap();
                let message = encoder.encode_tensor_to_vec(&tensor).unwrap();
                let name = format!("{units} units of {dtype}, {options:?}, context {context:?}");
                exchange.message(&name, &message, context, Some(&bytes));
            }
        }
    }
    exchange.check();
}

/// Quantized values by every encoder, of quantizers with few levels and with many.
#[cfg(feature = "gradient")]
#[test]
fn messages_of_quantized_values() {
    use huffwire::gradient::encode::{BitmapBooks, EncoderKind};
    use huffwire::gradient::message::{self, Options, Origin};
    use huffwire::gradient::quantize::{Linear, Norm, Qsgd, Quantizer, Sign, TernGrad};

    let mut random = Random::new(5);
    let qsgd = |levels| Quantizer::Qsgd(Qsgd { levels, bucket: 64, norm: Norm::Max });
    let quantizers = [
        Quantizer::TernGrad(TernGrad::default()),
        Quantizer::Sign(Sign::default()),
        qsgd(2),
        qsgd(4),
        qsgd(1000),
        Quantizer::Linear(Linear::default()),
    ];
    let floats = |random: &mut Random, zeros: usize| -> Vec<f32> {
        let float = |random: &mut Random| match random.below(100) < zeros {
            true => 0.0,
            false => random.normal() as f32,
        };
        (0..3000).map(|_| float(random)).collect()
    };
    let train = |quantizer: Quantizer, floats: &[f32]| {
        let earlier = quantizer.quantize(floats, 1).unwrap();
        Arc::new(BitmapBooks::train([earlier.values.view()]).unwrap())
    };
    // Books for few zeros and for many, which meet values of other quantizers, too.
    let earlier = [0, 90].map(|zeros| floats(&mut random, zeros));
    let books: Vec<_> = quantizers
        .iter()
        .flat_map(|quantizer| earlier.each_ref().map(|floats| train(*quantizer, floats)))
        .collect();
    let mut sets = vec![CodebookSet::builtin()];
    for books in &books {
        if sets.iter().all(|set| set.id() != books.set().id()) {
            sets.push(Arc::clone(books.set()));
        }
    }
    let mut exchange = Exchange::new("values", &sets);
    let kinds: Vec<_> = EncoderKind::all().collect();
    for quantizer in quantizers {
        for zeros in [0, 60, 97] {
            let quantized = quantizer.quantize(&floats(&mut random, zeros), 2).unwrap();
            let by_kind = kinds.iter().map(|kind| Options::default().encoder(*kind));
            let by_books = books.iter().map(|books| Options::default().books(Arc::clone(books)));
            for options in by_kind.chain(by_books) {
                let mut bytes = Vec::new();
                let origin = Origin { dtype: Dtype::F32, shape: &[30, 100] };
                message::encode(&quantized, origin, &options, &mut bytes).unwrap();
                let floats = quantized.dequantize().unwrap();
                let tensor: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
                let name = format!("{quantizer}, {zeros} % zeros, {}", options.encoder);
                assert_eq!(read::message(&bytes, &exchange.sets(), None).unwrap(), tensor);
                exchange.message(&name, &bytes, None, Some(&tensor));
            }
        }
    }
    exchange.check();
}

/// Deltas of all types: near and far from their base, with and without checksums and contexts.
#[test]
fn deltas() {
    let mut random = Random::new(6);
    let set = CodebookSet::builtin();
    let mut exchange = Exchange::new("deltas", &[Arc::clone(&set)]);
    for dtype in Dtype::all() {
        for every in [1, 2, 5, 60, 700] {
            let units = even(&mut random, 9000) / dtype.unit_bytes() / 2 * 2;
            let base = elements(&mut random, dtype, units);
            let mut new = base.clone();
            let far = random.below(4) == 0;
            for byte in new.chunks_mut(dtype.unit_bytes()) {
                if random.below(every) == 0 {
                    byte[0] = byte[0].wrapping_add(1 + random.below(3) as u8);
                    if far {
                        byte[dtype.unit_bytes() - 1] = random.bits() as u8;
                    }
                }
            }
            let options = options(&mut random, SymbolRule::Auto, Level::Fast);
            let context = (random.below(3) == 0).then(|| random.bits());
            let mut tensor = Tensor::new(dtype, &new);
            if let Some(context) = context {
                tensor = tensor.in_context(context);
            }
            let mut encoder = Encoder::new(Arc::clone(&set), options).unwrap();
            let message = encoder.encode_tensor_delta_to_vec(&base, &tensor).unwrap();
            let name = format!("{units} units of {dtype}, one in {every} changes, far: {far}");
            let path = format!("{}.base", exchange.vectors.len());
            exchange.write(&path, &base);
            exchange.message(&name, &message, context, Some(&new));
            if let Some(vector) = exchange.vectors.last_mut() {
                vector["base"] = path.into();
            }
        }
    }
    exchange.check();
}

#[test]
fn a_block_of_the_largest_size() {
    let mut exchange = Exchange::new("large", &[CodebookSet::builtin()]);
    let values = Random::new(2).tensor(1 << 19, -6.0, 0.5);
    let bytes = huffwire_testing::float::to_bf16_bytes(&values);
    let options = EncodeOptions::default().level(Level::Max).block_log2(20);
    let mut encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
    let message = encoder.encode_to_vec(Dtype::Bf16, &bytes).unwrap();
    exchange.message("1 MiB of bf16 in a block", &message, None, Some(&bytes));
    exchange.check();
}

#[test]
fn files_of_several_originals() {
    let mut random = Random::new(3);
    let set = CodebookSet::builtin();
    let mut exchange = Exchange::new("files", &[Arc::clone(&set)]);
    for number in 0..12 {
        let rule = RULES[random.below(RULES.len())];
        let level = LEVELS[random.below(LEVELS.len())];
        let options = options(&mut random, rule, level).block_log2(10 + random.below(3) as u8);
        let mut encoder = Encoder::new(Arc::clone(&set), options).unwrap();
        let mut writer = Writer::new(options.checksums, options.block_log2).unwrap();
        let place = writer.add_set(&set, random.below(4) == 0);
        let mut file = writer.header().to_vec();
        let mut originals = Vec::new();
        for original in 0..random.below(3) {
            let name = format!("original \u{e4} {original}");
            writer.begin_original(&name).unwrap();
            let mut content = Vec::new();
            for item in 0..random.below(4) {
                let dtypes: Vec<_> = Dtype::all().collect();
                let dtype = dtypes[random.below(dtypes.len())];
                let units = even(&mut random, 1000);
                let bytes = elements(&mut random, dtype, units);
                let info = TensorInfo {
                    name: format!("layer.{item}"),
                    dtype: "F32".into(),
                    shape: vec![units as u64, 1],
                };
                let tensor = (random.below(2) == 0).then_some(info);
                writer
                    .begin_item(NewItem { tensor, kind: Kind::Tensor, dtype, set: place })
                    .unwrap();
                let unit = dtype.unit_bytes();
                for block in bytes.chunks((1 << options.block_log2) / unit * unit) {
                    let block = Tensor::new(dtype, block);
                    let coded = encoder.encode_block(&block, &mut file).unwrap();
                    writer.push_block(block.bytes().len(), coded.bytes, coded.checksum).unwrap();
                }
                content.extend_from_slice(&bytes);
            }
            originals.push((name, content));
        }
        file.extend_from_slice(&writer.finish().unwrap());
        assert_eq!(
            read::file(&file, &exchange.sets(), &read::Bases::new()).as_ref(),
            Ok(&originals)
        );
        exchange.file(&format!("file {number}, {options:?}"), &file, &originals);
    }
    exchange.check();
}

/// Without checksums damage is found or gives other data: in both decoders alike.
#[test]
fn damaged_messages_are_read_alike_or_refused_by_both() {
    let mut random = Random::new(4);
    let set = CodebookSet::builtin();
    let mut exchange = Exchange::new("damaged", &[Arc::clone(&set)]);
    let mut refused = 0;
    let dtypes: Vec<_> = Dtype::all().collect();
    for number in 0..600 {
        let dtype = dtypes[random.below(dtypes.len())];
        let rule = RULES[random.below(RULES.len())];
        let level = LEVELS[random.below(LEVELS.len())];
        let options = EncodeOptions::default().rule(rule).level(level).checksums(false);
        let units = 2 + even(&mut random, 1400) / dtype.unit_bytes() / 2 * 2;
        let bytes = elements(&mut random, dtype, units);
        let mut encoder = Encoder::new(Arc::clone(&set), options.block_log2(10)).unwrap();
        let mut message = encoder.encode_to_vec(dtype, &bytes).unwrap();
        // Most of the interesting bytes are those of the table and the headers of planes.
        let behind = message.len() - 16;
        let place = 16 + random.below(if number % 2 == 0 { behind } else { behind.min(40) });
        let value = [random.bits() as u8, message[place] ^ 1 << random.below(8)];
        message[place] = value[random.below(2)];
        let decoded = read::message(&message, &exchange.sets(), None);
        refused += usize::from(decoded.is_err());
        let name =
            format!("{number}: {dtype}, {options:?}, byte {place}: {:?}", decoded.as_ref().err());
        exchange.message(&name, &message, None, decoded.as_deref().ok());
    }
    assert!((100..=500).contains(&refused), "{refused} of 600 were refused");
    exchange.check();
}
