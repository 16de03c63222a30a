//! Tensors for tests: the real ones where they are, generated ones elsewhere.

use std::path::PathBuf;

use huffwire::ElementType;
use huffwire_testing::{Random, float};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

/// A tensor in memory.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) element: ElementType,
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
        let folder = std::env::var_os("HUFFWIRE_TENSORS").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/tensors"),
            PathBuf::from,
        );
        let path = folder.join(&name).with_extension("safetensors");
        let Ok(file) = std::fs::read(&path) else {
            println!("no {}: {name} is generated", path.display());
            let tensors = generated(kind, step, spread);
            return Self { name, tensors, real: false };
        };
        let tensor = |(name, view): (&str, TensorView<'_>)| Tensor {
            name: name.to_owned(),
            element: ElementType::Bf16,
            bytes: view.data().to_vec(),
        };
        let tensors = SafeTensors::deserialize(&file).unwrap().iter().map(tensor).collect();
        Self { name, tensors, real: true }
    }
}

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
                element: ElementType::Bf16,
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
    Tensor { name: tensor.name.clone(), element: ElementType::E4m3, bytes }
}
