//! Trains a small language model on the spot, so that `huffwire demo` has tensors of a real training.
//!
//! The trainer knows nothing of compression or files: it returns weights, gradients and activations in
//! bf16.
//!
//! ```
//! use huffwire_demo::{Config, Sizes, train};
//!
//! let sizes = Sizes { context: 16, d_model: 16, d_ff: 32, heads: 2, layers: 1 };
//! let config = Config { sizes, windows: 2, dump_steps: vec![2], ..Config::default() };
//! let batches = train(&config, |step, total, loss| println!("step {step} of {total}: loss {loss}"));
//! assert_eq!(batches[0].step, 2);
//! assert_eq!(batches[0].dumps[0].name, "model.layers.0.self_attn.q_proj.weight");
//! ```
//!
//! The network is a Gemma-style decoder over bytes: tied embedding, root-mean-square norms, causal
//! attention with rotary positions, and a GeGLU feed-forward network. Training is mixed precision
//! in the usual sense: the optimiser keeps `f32` master weights, the passes use them rounded to
//! bf16. Matrices are multiplied in `f32`.

mod adamw;
mod attention;
mod block;
mod model;
mod ops;
mod rng;
mod text;
mod weights;

use adamw::AdamW;
use half::bf16;
use model::Pass;
use ndarray::Array2;
use rayon::prelude::*;
use rng::SplitMix64;
use text::Corpus;
pub use weights::Sizes;
use weights::Weights;

/// What a dumped tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A weight matrix, `[out, in]`.
    Weight,
    /// What enters or leaves a weight matrix, `[tokens, width]`.
    Activation,
    /// The gradient of the mean loss with respect to a weight matrix, `[out, in]`.
    Gradient,
}

/// One tensor at one step of the training.
#[derive(Clone, Debug, PartialEq)]
pub struct Dump {
    /// The name that Hugging Face would give it, such as `model.layers.3.mlp.down_proj.weight`. A
    /// gradient has the name of its weight; an activation ends in `.in` or `.out`.
    pub name: String,
    /// What the tensor is.
    pub role: Role,
    /// The decoder layer that it belongs to, from 0.
    pub layer: usize,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// The bf16 bit patterns, row by row.
    pub values: Vec<u16>,
}

/// Every tensor dumped at one step of the training: the weights that the step began with, and the
/// activations and gradients that they gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The step, counted from 1.
    pub step: usize,
    /// Mean cross-entropy of the step, in nats per byte.
    pub loss: f32,
    /// The tensors: weights, then gradients, then activations, each from the first layer to the
    /// last.
    pub dumps: Vec<Dump>,
}

/// What to train and when to look.
#[derive(Clone, Debug)]
pub struct Config {
    /// The sizes of the network.
    pub sizes: Sizes,
    /// Windows of text in one step.
    pub windows: usize,
    /// Peak learning rate.
    pub learning_rate: f32,
    /// The steps, counted from 1, at which tensors are dumped; training ends with the last.
    pub dump_steps: Vec<usize>,
    /// Sets the initial weights and the order of the text.
    pub seed: u64,
}

impl Default for Config {
    /// A million parameters, which take a few seconds to train.
    fn default() -> Self {
        Self {
            sizes: Sizes { context: 64, d_model: 128, d_ff: 512, heads: 4, layers: 4 },
            windows: 8,
            learning_rate: 3e-3,
            dump_steps: vec![60, 120],
            seed: 1952,
        }
    }
}

/// Trains a network and returns the batches at the dump steps, in the order of the steps.
/// `progress(step, total, loss)` is called after every step.
///
/// The same configuration gives the same batches on the same machine, whatever the number of
/// threads.
pub fn train(config: &Config, mut progress: impl FnMut(usize, usize, f32)) -> Vec<Batch> {
    let mut rng = SplitMix64::new(config.seed);
    let corpus = Corpus::built_in();
    let mut master = Weights::random(&config.sizes, &mut rng);
    let mut optimiser = AdamW::new(&master, config.learning_rate);
    let total = config.dump_steps.iter().copied().max().unwrap_or(0);
    let mut batches = Vec::with_capacity(config.dump_steps.len());
    for step in 1..=total {
        let windows = corpus.sample(&mut rng, config.windows, config.sizes.context);
        let weights = master.map(|weight| bf16::from_f32(weight).to_f32());
        let passes = run_shards(&config.sizes, &weights, &windows);

        let per_token = ((windows.len() * config.sizes.context) as f32).recip();
        let loss = passes.iter().map(|pass| pass.loss).sum::<f32>() * per_token;
        let mut gradients = sum_gradients(&passes, &weights);
        gradients.scale(per_token);

        if config.dump_steps.contains(&step) {
            let dumps = dump(&weights, &gradients, &passes);
            batches.push(Batch { step, loss, dumps });
        }
        optimiser.update(&mut master, &gradients);
        progress(step, total, loss);
    }
    batches
}

/// Runs the windows through the network on all cores. How they are split does not depend on the
/// number of cores, and so neither do the rounding errors of the sums.
fn run_shards(sizes: &Sizes, weights: &Weights, windows: &[&[u8]]) -> Vec<Pass> {
    const WINDOWS_PER_SHARD: usize = 2;
    windows
        .par_chunks(WINDOWS_PER_SHARD)
        .map(|shard| model::forward_backward(sizes, weights, shard))
        .collect()
}

fn sum_gradients(passes: &[Pass], like: &Weights) -> Weights {
    let mut sum = like.map(|_| 0.0);
    for pass in passes {
        sum.add(&pass.gradients);
    }
    sum
}

fn dump(weights: &Weights, gradients: &Weights, passes: &[Pass]) -> Vec<Dump> {
    let mut dumps = Vec::new();
    for (role, tensors) in [(Role::Weight, weights), (Role::Gradient, gradients)] {
        for (layer, block) in tensors.blocks.iter().enumerate() {
            for (name, tensor) in block.projections() {
                dumps.push(dump_rows(role, layer, &format!("{name}.weight"), &[tensor]));
            }
        }
    }
    for layer in 0..weights.blocks.len() {
        for (name, activation) in block::ACTIVATIONS {
            let traces = passes.iter().filter_map(|pass| pass.traces.get(layer));
            let shards: Vec<_> = traces.map(activation).collect();
            dumps.push(dump_rows(Role::Activation, layer, name, &shards));
        }
    }
    dumps
}

/// Puts the rows of `parts` under one another and rounds them to bf16.
fn dump_rows(role: Role, layer: usize, name: &str, parts: &[&Array2<f32>]) -> Dump {
    let rows = parts.iter().map(|part| part.nrows()).sum();
    let columns = parts.first().map_or(0, |part| part.ncols());
    let values = parts.iter().copied().flatten();
    Dump {
        name: format!("model.layers.{layer}.{name}"),
        role,
        layer,
        shape: [rows, columns],
        values: values.map(|value| bf16::from_f32(*value).to_bits()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Config {
        Config {
            sizes: Sizes { context: 16, d_model: 16, d_ff: 32, heads: 2, layers: 2 },
            windows: 5,
            learning_rate: 1e-2,
            dump_steps: vec![1, 60],
            seed: 1,
        }
    }

    #[test]
    fn the_loss_falls() {
        let batches = train(&tiny(), |_, _, _| ());
        let [first, last] = batches.as_slice() else {
            panic!("these are not two batches");
        };
        assert!(first.loss > 5.0, "loss {} at the start", first.loss);
        assert!(last.loss < first.loss - 1.0, "loss {} at last", last.loss);
    }

    #[test]
    fn the_same_seed_gives_the_same_batches() {
        let mut config = tiny();
        config.dump_steps = vec![3];
        let batches = train(&config, |_, _, _| ());
        assert_eq!(batches, train(&config, |_, _, _| ()));
        config.seed += 1;
        assert_ne!(batches, train(&config, |_, _, _| ()));
    }

    #[test]
    fn progress_is_told_of_every_step() {
        let mut steps = Vec::new();
        let mut config = tiny();
        config.dump_steps = vec![4, 2];
        let batches = train(&config, |step, total, _| steps.push((step, total)));
        assert_eq!(steps, [(1, 4), (2, 4), (3, 4), (4, 4)]);
        assert_eq!(batches.iter().map(|b| b.step).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn dumps_have_the_names_and_shapes_of_the_network() {
        let mut config = tiny();
        config.dump_steps = vec![1];
        let [Batch { dumps, .. }] = &train(&config, |_, _, _| ())[..] else {
            panic!("this is not one batch");
        };
        assert_eq!(dumps.len(), config.sizes.layers * (7 + 7 + 3));
        assert!(dumps.iter().all(|d| d.values.len() == d.shape[0] * d.shape[1]));
        let shape = |name: &str, role: Role| {
            let found = dumps.iter().find(|d| d.name == name && d.role == role);
            found.map(|d| (d.layer, d.shape))
        };
        let down = "model.layers.1.mlp.down_proj.weight";
        assert_eq!(shape(down, Role::Weight), Some((1, [16, 32])));
        assert_eq!(shape(down, Role::Gradient), Some((1, [16, 32])));
        let tokens = config.windows * config.sizes.context;
        for (name, width) in [
            ("model.layers.0.self_attn.o_proj.out", 16),
            ("model.layers.0.mlp.down_proj.in", 32),
            ("model.layers.0.mlp.down_proj.out", 16),
        ] {
            assert_eq!(shape(name, Role::Activation), Some((0, [tokens, width])));
        }
    }
}
