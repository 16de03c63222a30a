//! Tensors for tests: the real ones where they are, generated ones elsewhere.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use huffwire::Dtype;
use huffwire_testing::{Random, float};
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

/// The bf16 weights of a training at three steps in a row, at a small learning rate. Generated ones have weights of
/// higher precision beside them, to which each step adds a little, as AdamW does.
pub(crate) fn sync(step: u32) -> Batch {
    if FOLDER.is_some() {
        let mut batch = Batch::load("sync", step, 0.0);
        batch.tensors.sort_by(|a, b| a.name.cmp(&b.name));
        return batch;
    }
    let mut tensors = Vec::new();
    for layer in 0..4 {
        let mut random = Random::new(99 + layer);
        let mut weights: Vec<f64> = (0..600_000).map(|_| 0.02 * random.normal()).collect();
        for _ in 0..step {
            for weight in &mut weights {
                *weight += 0.25e-6 * random.normal();
            }
        }
        let rounded: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
        let (name, bytes) = (format!("layers.{layer}"), float::to_bf16_bytes(&rounded));
        tensors.push(Tensor { name, dtype: Dtype::Bf16, bytes });
    }
    Batch { name: format!("sync-{step}"), tensors, real: false }
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
    let mut random = Random::new(u64::from(step) << 8 | kind.len() as u64);
    (0..8)
        .map(|layer| {
            let octave = -6.0 + 0.1 * f64::from(layer) + f64::from(step) / 500.0;
            let values = random.tensor(384 * 512, octave, spread);
            Tensor {
                name: format!("layers.{layer}.{kind}"),
                dtype: Dtype::Bf16,
                bytes: float::to_bf16_bytes(&values),
            }
        })
        .collect()
}

/// The tensor with `percent` of its values set to +0.0, by a random mask.
pub(crate) fn zero_at_random(tensor: &Tensor, percent: u64) -> Tensor {
    let mut random = Random::new(percent);
    let mut masked = tensor.clone();
    for value in masked.bytes.as_chunks_mut::<2>().0 {
        if random.bits() % 100 < percent {
            *value = [0; 2];
        }
    }
    masked
}

/// The tensor in e4m3, scaled so that its largest magnitude becomes 448, rounded to nearest even.
pub(crate) fn to_e4m3(tensor: &Tensor) -> Tensor {
    let values = tensor.bytes.as_chunks::<2>().0.iter();
    let values: Vec<f32> =
        values.map(|&bytes| float::from_bf16(u16::from_le_bytes(bytes))).collect();
    let bytes = float::to_scaled_e4m3_bytes(&values);
    Tensor { name: tensor.name.clone(), dtype: Dtype::E4m3, bytes }
}
