//! The whole network: embedding, decoder layers and the prediction of the next byte.

use crate::block::{self, BlockTrace};
use crate::ops::{cross_entropy, linear, linear_backward, rms_norm, rms_norm_backward};
use crate::weights::{Sizes, Weights};
use ndarray::{Array2, Axis};

/// What one forward and backward pass yields.
pub(crate) struct Pass {
    /// Cross-entropy in nats, summed over the tokens.
    pub(crate) loss: f32,
    /// The gradient of that sum.
    pub(crate) gradients: Weights,
    /// What went on in each layer, first to last.
    pub(crate) traces: Vec<BlockTrace>,
}

/// Runs the windows, each of `context + 1` bytes, through the network and back.
pub(crate) fn forward_backward(sizes: &Sizes, weights: &Weights, windows: &[&[u8]]) -> Pass {
    let inputs: Vec<u8> =
        windows.iter().flat_map(|window| &window[..sizes.context]).copied().collect();
    let targets: Vec<u8> = windows.iter().flat_map(|window| &window[1..]).copied().collect();

    let mut stream = embed(&weights.embedding, &inputs);
    let mut traces = Vec::with_capacity(sizes.layers);
    for block in &weights.blocks {
        let (output, trace) = block::forward(sizes, block, stream);
        stream = output;
        traces.push(trace);
    }
    let normed = rms_norm(&stream, &weights.norm);
    let (loss, d_logits) = cross_entropy(linear(&normed, &weights.embedding), &targets);

    let (d_normed, mut embedding) = linear_backward(&normed, &weights.embedding, &d_logits);
    let (mut d_stream, norm) = rms_norm_backward(&stream, &weights.norm, &d_normed);
    let mut blocks = Vec::with_capacity(sizes.layers);
    for (block, trace) in weights.blocks.iter().zip(&traces).rev() {
        let (d_input, gradients) = block::backward(sizes, block, trace, d_stream);
        d_stream = d_input;
        blocks.push(gradients);
    }
    blocks.reverse();
    embed_backward(&mut embedding, &inputs, &d_stream);

    Pass { loss, gradients: Weights { embedding, blocks, norm }, traces }
}

/// Looks up each token, `[tokens, d_model]`. As in Gemma the rows are scaled up, since the table
/// that they come from is also the output projection, which wants smaller ones.
fn embed(embedding: &Array2<f32>, tokens: &[u8]) -> Array2<f32> {
    let rows: Vec<usize> = tokens.iter().copied().map(usize::from).collect();
    embedding.select(Axis(0), &rows) * embed_scale(embedding)
}

/// Adds the gradient of [`embed`] to `d_embedding`.
fn embed_backward(d_embedding: &mut Array2<f32>, tokens: &[u8], d_rows: &Array2<f32>) {
    let scale = embed_scale(d_embedding);
    for (&token, d_row) in tokens.iter().zip(d_rows.rows()) {
        d_embedding.row_mut(usize::from(token)).scaled_add(scale, &d_row);
    }
}

fn embed_scale(embedding: &Array2<f32>) -> f32 {
    (embedding.ncols() as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SplitMix64;

    const SIZES: Sizes = Sizes { context: 6, d_model: 8, d_ff: 12, heads: 2, layers: 2 };
    const WINDOWS: [&[u8]; 2] = [b"huffman", b"entropy"];

    /// Weights away from the start, where the norms are all zero and would hide a mistake.
    fn weights(rng: &mut SplitMix64) -> Weights {
        let mut weights = Weights::random(&SIZES, rng);
        for tensor in weights.tensors_mut() {
            tensor.mapv_inplace(|x| x + 0.1 * rng.normal());
        }
        weights
    }

    /// For every tensor, the slope of the loss along some directions by central differences must
    /// be what the gradient says that it is.
    #[test]
    fn gradients_agree_with_finite_differences() {
        const STEP: f32 = 1e-2;
        let mut rng = SplitMix64::new(11);
        let weights = weights(&mut rng);
        let gradients = forward_backward(&SIZES, &weights, &WINDOWS).gradients;

        for (index, gradient) in gradients.tensors().enumerate() {
            let length = gradient.fold(0.0_f32, |sum, x| sum + x * x).sqrt();
            assert!(length > 1e-3, "tensor {index} has no gradient");
            let loss_at = |direction: &Array2<f32>, step: f32| {
                let mut moved = weights.clone();
                if let Some(tensor) = moved.tensors_mut().nth(index) {
                    tensor.scaled_add(step, direction);
                }
                forward_backward(&SIZES, &moved, &WINDOWS).loss
            };
            let mut directions = vec![gradient / length];
            for _ in 0..4 {
                let random = gradient.mapv(|_| rng.normal());
                let length = random.fold(0.0_f32, |sum, x| sum + x * x).sqrt();
                directions.push(random / length);
            }
            for direction in directions {
                let rise = loss_at(&direction, STEP) - loss_at(&direction, -STEP);
                let measured = rise / (2.0 * STEP);
                let claimed = (gradient * &direction).sum();
                assert!(
                    (measured - claimed).abs() < 2e-3 * length + 2e-3,
                    "tensor {index}: measured {measured}, claimed {claimed}, length {length}"
                );
            }
        }
    }

    #[test]
    fn a_later_byte_does_not_change_what_came_before() {
        let weights = weights(&mut SplitMix64::new(11));
        let [one, other] = [b"huffman", b"huffmax"].map(|window| {
            // The last byte is a target only; one more makes it an input too.
            let sizes = Sizes { context: 7, ..SIZES };
            let window = [window.as_slice(), b"."].concat();
            let pass = forward_backward(&sizes, &weights, &[&window]);
            let [.., (_, activation)] = block::ACTIVATIONS;
            activation(&pass.traces[1]).clone()
        });
        for (position, (one, other)) in one.rows().into_iter().zip(other.rows()).enumerate() {
            assert_eq!(one == other, position < 6);
        }
    }
}
