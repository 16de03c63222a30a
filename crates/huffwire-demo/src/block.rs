//! One decoder layer: attention and a gated feed-forward network, each behind a norm and each
//! added to the residual stream.

use crate::attention::{Probabilities, Turn, attend, attend_backward, rotate};
use crate::ops::{geglu, geglu_backward, linear, linear_backward, rms_norm, rms_norm_backward};
use crate::weights::{BlockWeights, Sizes};
use ndarray::Array2;

/// What the forward pass leaves behind for the backward pass and for the dump.
/// Every tensor has one row for each token.
pub(crate) struct BlockTrace {
    input: Array2<f32>,
    attention_input: Array2<f32>,
    queries: Array2<f32>,
    keys: Array2<f32>,
    values: Array2<f32>,
    probabilities: Probabilities,
    mixed: Array2<f32>,
    middle: Array2<f32>,
    mlp_input: Array2<f32>,
    gate: Array2<f32>,
    up: Array2<f32>,
    hidden: Array2<f32>,
    attention_output: Array2<f32>,
    mlp_output: Array2<f32>,
}

/// An activation of interest: its name, and how to find it in a trace.
pub(crate) type Activation = (&'static str, fn(&BlockTrace) -> &Array2<f32>);

/// The activations worth a look, under the names that Hugging Face gives to the projections that
/// they enter or leave. Each is `[tokens, d_model]` but `down_proj.in`, which is `[tokens, d_ff]`.
pub(crate) const ACTIVATIONS: [Activation; 3] = [
    ("self_attn.o_proj.out", |trace| &trace.attention_output),
    ("mlp.down_proj.in", |trace| &trace.hidden),
    ("mlp.down_proj.out", |trace| &trace.mlp_output),
];

/// Takes the residual stream, `[tokens, d_model]`, through the layer.
pub(crate) fn forward(
    sizes: &Sizes,
    weights: &BlockWeights,
    input: Array2<f32>,
) -> (Array2<f32>, BlockTrace) {
    let attention_input = rms_norm(&input, &weights.attention_norm);
    let mut queries = linear(&attention_input, &weights.query);
    let mut keys = linear(&attention_input, &weights.key);
    let values = linear(&attention_input, &weights.value);
    rotate(sizes, &mut queries, Turn::Forward);
    rotate(sizes, &mut keys, Turn::Forward);
    let (mixed, probabilities) = attend(sizes, &queries, &keys, &values);
    let attention_output = linear(&mixed, &weights.output);
    let middle = &input + &attention_output;

    let mlp_input = rms_norm(&middle, &weights.mlp_norm);
    let gate = linear(&mlp_input, &weights.gate);
    let up = linear(&mlp_input, &weights.up);
    let hidden = geglu(&gate, &up);
    let mlp_output = linear(&hidden, &weights.down);
    let output = &middle + &mlp_output;

    let trace = BlockTrace {
        input,
        attention_input,
        queries,
        keys,
        values,
        probabilities,
        mixed,
        middle,
        mlp_input,
        gate,
        up,
        hidden,
        attention_output,
        mlp_output,
    };
    (output, trace)
}

/// Takes the gradient of the residual stream back through the layer; also returns the gradients
/// of its weights.
pub(crate) fn backward(
    sizes: &Sizes,
    weights: &BlockWeights,
    trace: &BlockTrace,
    d_output: Array2<f32>,
) -> (Array2<f32>, BlockWeights) {
    let (d_hidden, down) = linear_backward(&trace.hidden, &weights.down, &d_output);
    let (d_gate, d_up) = geglu_backward(&trace.gate, &trace.up, d_hidden);
    let (through_gate, gate) = linear_backward(&trace.mlp_input, &weights.gate, &d_gate);
    let (through_up, up) = linear_backward(&trace.mlp_input, &weights.up, &d_up);
    let d_mlp_input = through_gate + through_up;
    let (through_mlp, mlp_norm) = rms_norm_backward(&trace.middle, &weights.mlp_norm, &d_mlp_input);
    let d_middle = d_output + through_mlp;

    let (d_mixed, output) = linear_backward(&trace.mixed, &weights.output, &d_middle);
    let mut d = attend_backward(
        sizes,
        &trace.queries,
        &trace.keys,
        &trace.values,
        &trace.probabilities,
        &d_mixed,
    );
    rotate(sizes, &mut d.queries, Turn::Backward);
    rotate(sizes, &mut d.keys, Turn::Backward);
    let attention_input = &trace.attention_input;
    let (through_query, query) = linear_backward(attention_input, &weights.query, &d.queries);
    let (through_key, key) = linear_backward(attention_input, &weights.key, &d.keys);
    let (through_value, value) = linear_backward(attention_input, &weights.value, &d.values);
    let d_attention_input = through_query + through_key + through_value;
    let (through_attention, attention_norm) =
        rms_norm_backward(&trace.input, &weights.attention_norm, &d_attention_input);

    let gradients =
        BlockWeights { attention_norm, query, key, value, output, mlp_norm, gate, up, down };
    (d_middle + through_attention, gradients)
}
