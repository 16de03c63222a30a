//! Tensors for tests: the real ones where they are, generated ones elsewhere.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use huffwire::Dtype;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

/// A tensor in memory.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) bytes: Vec<u8>,
}

/// All tensors of one kind at one training step.
pub(crate) struct Batch {
    pub(crate) name: String,
    pub(crate) tensors: Vec<Tensor>,
    /// Whether these come from training.
    pub(crate) real: bool,
}

impl Batch {
    pub(crate) fn weights(step: u32) -> Self {
        Self::load("weights", step, 0.0)
    }

    pub(crate) fn gradients(step: u32) -> Self {
        Self::load("gradients", step, 0.7)
    }

    pub(crate) fn activations(step: u32) -> Self {
        Self::load("activations", step, 1.1)
    }

    fn load(kind: &str, step: u32, spread: f64) -> Self {
        let name = format!("{kind}-{step}");
        let Some(folder) = FOLDER.as_deref() else {
            let tensors = generated(kind, step, spread);
            return Self { name, tensors, real: false };
        };
        let path = folder.join(&name).with_extension("safetensors");
        let file = std::fs::read(&path).unwrap_or_else(|error| {
            panic!(
                "{}: {error}. A folder of sample tensors must have all of them; \
                 HUFFWIRE_TENSORS=none does without",
                path.display()
            )
        });
        let tensor = |(name, view): (&str, TensorView<'_>)| Tensor {
            name: name.to_owned(),
            dtype: Dtype::Bf16,
            bytes: view.data().to_vec(),
        };
        let tensors = SafeTensors::deserialize(&file).unwrap().iter().map(tensor).collect();
        Self { name, tensors, real: true }
    }
}

/// The folder of the real tensors, if there is one: what `HUFFWIRE_TENSORS` names, or else
/// `../shared/tensors` beside the checkout. `HUFFWIRE_TENSORS=none` hides them.
static FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let named = std::env::var_os("HUFFWIRE_TENSORS");
    let folder = if named.as_deref() == Some("none".as_ref()) {
        Err("HUFFWIRE_TENSORS hides the sample tensors".to_owned())
    } else {
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/tensors");
        let folder = std::path::absolute(named.map_or_else(beside, PathBuf::from)).unwrap();
        if folder.is_dir() {
            Ok(folder)
        } else {
            Err(format!("there is no folder {} of sample tensors", folder.display()))
        }
    };
    // Not by `println!`, which is shown only when a test fails.
    let mut stderr = std::io::stderr();
    let said = match &folder {
        Ok(folder) => writeln!(stderr, "sample tensors: those in {}", folder.display()),
        Err(why) => writeln!(
            stderr,
            "NOT CHECKED on real tensors: {why}. Generated ones take their place, whose figures \
             are weaker promises."
        ),
    };
    said.unwrap();
    folder.ok()
});

/// Eight tensors of 384 x 512 values that are normal with a scale mixed over `spread` octaves; the
/// scale itself drifts from step to step.
fn generated(kind: &str, step: u32, spread: f64) -> Vec<Tensor> {
    let mut random = Random(u64::from(step) << 8 | kind.len() as u64);
    (0..8)
        .map(|layer| {
            let scale = -6.0 + 0.1 * f64::from(layer) + f64::from(step) / 500.0;
            let values = (0..384 * 512).map(|_| {
                let octave = scale + spread * random.normal();
                to_bf16((random.normal() * octave.exp2()) as f32)
            });
            Tensor {
                name: format!("layers.{layer}.{kind}"),
                dtype: Dtype::Bf16,
                bytes: values.flat_map(u16::to_le_bytes).collect(),
            }
        })
        .collect()
}

/// A small generator of random numbers (xorshift64*), the same on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 |= 1;
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn uniform(&mut self) -> f64 {
        (self.next() % (1 << 40)) as f64 / (1u64 << 40) as f64
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut random = Random(42);
    (0..bytes).map(|_| random.next() as u8).collect()
}

fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

fn bf16_values(tensor: &Tensor) -> impl Iterator<Item = f32> + '_ {
    let values = tensor.bytes.as_chunks::<2>().0.iter();
    values.map(|&bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))
}

/// The tensor with `percent` of its values set to +0.0, by a random mask.
pub(crate) fn zero_at_random(tensor: &Tensor, percent: u64) -> Tensor {
    let mut random = Random(percent);
    let mut masked = tensor.clone();
    for value in masked.bytes.as_chunks_mut::<2>().0 {
        if random.next() % 100 < percent {
            *value = [0; 2];
        }
    }
    masked
}

/// The tensor in e4m3, scaled so that its largest magnitude becomes 448, rounded to nearest even.
pub(crate) fn to_e4m3(tensor: &Tensor) -> Tensor {
    let largest = bf16_values(tensor).fold(0.0f32, |largest, v| largest.max(v.abs()));
    let scale = 448.0 / largest;
    let bytes = bf16_values(tensor).map(|value| round_to_e4m3(value * scale)).collect();
    Tensor { name: tensor.name.clone(), dtype: Dtype::E4m3, bytes }
}

fn round_to_e4m3(value: f32) -> u8 {
    let magnitude = value.abs();
    // Spacing of e4m3 numbers around the magnitude: 3 mantissa bits, exponents from -6.
    let exponent = (magnitude.log2().floor() as i32).clamp(-6, 8);
    let steps = (magnitude / f32::exp2((exponent - 3) as f32)).round_ties_even() as i32;
    // 8 to 16 steps of a binade are codes 8 (e + 7 - 1) + steps; 16 is the next binade's first.
    let code = (8 * (exponent + 6) + steps).clamp(0, 126) as u8;
    code | u8::from(value.is_sign_negative()) << 7
}
