//! The trainable tensors of the network. Gradients and the state of the optimiser have the same
//! layout, and so share the type.

use crate::rng::SplitMix64;
use ndarray::Array2;

/// Every byte is a token.
pub(crate) const VOCABULARY: usize = 256;

/// The sizes of the network.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Tokens in a window.
    pub context: usize,
    /// Width of the residual stream; a multiple of `2 * heads`.
    pub d_model: usize,
    /// Width of the feed-forward network.
    pub d_ff: usize,
    /// Attention heads in a layer.
    pub heads: usize,
    /// Decoder layers.
    pub layers: usize,
}

impl Sizes {
    /// Columns of one attention head.
    pub(crate) fn head_width(&self) -> usize {
        self.d_model / self.heads
    }
}

/// All weights of the network. The weights of the norms are matrices of one row, which lets every
/// tensor have one type.
#[derive(Clone)]
pub(crate) struct Weights {
    /// Token embedding, `[vocabulary, d_model]`; also the output projection.
    pub(crate) embedding: Array2<f32>,
    /// The decoder layers, first to last.
    pub(crate) blocks: Vec<BlockWeights>,
    /// Norm before the output projection, `[1, d_model]`.
    pub(crate) norm: Array2<f32>,
}

/// The weights of one decoder layer. Projections are `[out, in]`.
#[derive(Clone)]
pub(crate) struct BlockWeights {
    /// Norm before the attention, `[1, d_model]`.
    pub(crate) attention_norm: Array2<f32>,
    /// Query projection, `[d_model, d_model]`.
    pub(crate) query: Array2<f32>,
    /// Key projection, `[d_model, d_model]`.
    pub(crate) key: Array2<f32>,
    /// Value projection, `[d_model, d_model]`.
    pub(crate) value: Array2<f32>,
    /// Output projection of the attention, `[d_model, d_model]`.
    pub(crate) output: Array2<f32>,
    /// Norm before the feed-forward network, `[1, d_model]`.
    pub(crate) mlp_norm: Array2<f32>,
    /// Gate projection, `[d_ff, d_model]`.
    pub(crate) gate: Array2<f32>,
    /// Up projection, `[d_ff, d_model]`.
    pub(crate) up: Array2<f32>,
    /// Down projection, `[d_model, d_ff]`.
    pub(crate) down: Array2<f32>,
}

impl Weights {
    /// Normal weights with Gemma's initial deviation.
    ///
    /// It is small on purpose. A start at the scale of the inverse root of the width learns a
    /// little faster, but so short a training would leave most of such weights about where they
    /// were drawn. From here most matrices move further than the length that they began with.
    pub(crate) fn random(sizes: &Sizes, rng: &mut SplitMix64) -> Self {
        const DEVIATION: f32 = 0.02;
        let &Sizes { d_model, d_ff, layers, .. } = sizes;
        // Each layer adds two branches to the residual stream, whose sum should not grow with depth.
        let branch = DEVIATION / (2.0 * layers as f32).sqrt();
        let mut normal = |rows: usize, columns: usize, deviation: f32| {
            Array2::from_shape_simple_fn((rows, columns), || deviation * rng.normal())
        };
        Self {
            embedding: normal(VOCABULARY, d_model, DEVIATION),
            blocks: (0..layers)
                .map(|_| BlockWeights {
                    attention_norm: Array2::zeros((1, d_model)),
                    query: normal(d_model, d_model, DEVIATION),
                    key: normal(d_model, d_model, DEVIATION),
                    value: normal(d_model, d_model, DEVIATION),
                    output: normal(d_model, d_model, branch),
                    mlp_norm: Array2::zeros((1, d_model)),
                    gate: normal(d_ff, d_model, DEVIATION),
                    up: normal(d_ff, d_model, DEVIATION),
                    down: normal(d_model, d_ff, branch),
                })
                .collect(),
            norm: Array2::zeros((1, d_model)),
        }
    }

    /// Every tensor with `f` applied to each of its values.
    pub(crate) fn map(&self, f: impl Fn(f32) -> f32) -> Self {
        let mut result = self.clone();
        for tensor in result.tensors_mut() {
            tensor.mapv_inplace(&f);
        }
        result
    }

    /// Adds the values of `other`, tensor by tensor.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, term) in self.tensors_mut().zip(other.tensors()) {
            *sum += term;
        }
    }

    /// Multiplies every value by `factor`.
    pub(crate) fn scale(&mut self, factor: f32) {
        for tensor in self.tensors_mut() {
            *tensor *= factor;
        }
    }

    /// The Euclidean norm of all values together.
    pub(crate) fn length(&self) -> f32 {
        let squares = self.tensors().map(|t| t.fold(0.0, |sum, x| sum + x * x));
        squares.sum::<f32>().sqrt()
    }

    /// Every tensor, in an order that never changes.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Array2<f32>> {
        [&self.embedding, &self.norm]
            .into_iter()
            .chain(self.blocks.iter().flat_map(BlockWeights::tensors))
    }

    /// Every tensor, in the order of [`Weights::tensors`].
    pub(crate) fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Array2<f32>> {
        [&mut self.embedding, &mut self.norm]
            .into_iter()
            .chain(self.blocks.iter_mut().flat_map(BlockWeights::tensors_mut))
    }
}

impl BlockWeights {
    /// The projections, under the names that Hugging Face gives them.
    pub(crate) fn projections(&self) -> [(&'static str, &Array2<f32>); 7] {
        [
            ("self_attn.q_proj", &self.query),
            ("self_attn.k_proj", &self.key),
            ("self_attn.v_proj", &self.value),
            ("self_attn.o_proj", &self.output),
            ("mlp.gate_proj", &self.gate),
            ("mlp.up_proj", &self.up),
            ("mlp.down_proj", &self.down),
        ]
    }

    fn tensors(&self) -> [&Array2<f32>; 9] {
        [
            &self.attention_norm,
            &self.query,
            &self.key,
            &self.value,
            &self.output,
            &self.mlp_norm,
            &self.gate,
            &self.up,
            &self.down,
        ]
    }

    fn tensors_mut(&mut self) -> [&mut Array2<f32>; 9] {
        [
            &mut self.attention_norm,
            &mut self.query,
            &mut self.key,
            &mut self.value,
            &mut self.output,
            &mut self.mlp_norm,
            &mut self.gate,
            &mut self.up,
            &mut self.down,
        ]
    }
}
