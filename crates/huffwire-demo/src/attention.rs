//! Causal self-attention over several heads, with rotary positions.
//!
//! Queries, keys and values are `[tokens, d_model]`. Their rows are whole windows of `context`
//! tokens, one after the other, and their columns are whole heads side by side, so that every
//! window and head has a tile of its own, `[context, head_width]`.

use crate::weights::Sizes;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Axis, Ix2, SliceInfo, SliceInfoElem, Zip, s};

type Tile = SliceInfo<[SliceInfoElem; 2], Ix2, Ix2>;

/// One `[context, context]` matrix of attention probabilities for each window and head.
pub(crate) type Probabilities = Vec<Array2<f32>>;

/// The gradients of the loss with respect to queries, keys and values.
pub(crate) struct Gradients {
    pub(crate) queries: Array2<f32>,
    pub(crate) keys: Array2<f32>,
    pub(crate) values: Array2<f32>,
}

/// Mixes the values of each window: every token sees itself and what came before it.
/// The result has the shape of `values`.
pub(crate) fn attend(
    sizes: &Sizes,
    queries: &Array2<f32>,
    keys: &Array2<f32>,
    values: &Array2<f32>,
) -> (Array2<f32>, Probabilities) {
    let mut mixed = Array2::zeros(values.raw_dim());
    let probabilities = tiles(sizes, values.nrows())
        .map(|tile| {
            let mut scores = queries.slice(tile).dot(&keys.slice(tile).t());
            scores *= score_scale(sizes);
            causal_softmax(&mut scores);
            general_mat_mul(1.0, &scores, &values.slice(tile), 0.0, &mut mixed.slice_mut(tile));
            scores
        })
        .collect();
    (mixed, probabilities)
}

/// The backward pass of [`attend`].
pub(crate) fn attend_backward(
    sizes: &Sizes,
    queries: &Array2<f32>,
    keys: &Array2<f32>,
    values: &Array2<f32>,
    probabilities: &Probabilities,
    d_mixed: &Array2<f32>,
) -> Gradients {
    let mut d_queries = Array2::zeros(queries.raw_dim());
    let mut d_keys = Array2::zeros(keys.raw_dim());
    let mut d_values = Array2::zeros(values.raw_dim());
    let scale = score_scale(sizes);
    for (tile, probabilities) in tiles(sizes, values.nrows()).zip(probabilities) {
        let d_mixed = d_mixed.slice(tile);
        let d_scores = softmax_backward(probabilities, d_mixed.dot(&values.slice(tile).t()));
        for (scale, left, right, gradient) in [
            (1.0, probabilities.t(), d_mixed, &mut d_values),
            (scale, d_scores.view(), keys.slice(tile), &mut d_queries),
            (scale, d_scores.t(), queries.slice(tile), &mut d_keys),
        ] {
            general_mat_mul(scale, &left, &right, 0.0, &mut gradient.slice_mut(tile));
        }
    }
    Gradients { queries: d_queries, keys: d_keys, values: d_values }
}

fn score_scale(sizes: &Sizes) -> f32 {
    (sizes.head_width() as f32).sqrt().recip()
}

fn tiles(sizes: &Sizes, tokens: usize) -> impl Iterator<Item = Tile> {
    let &Sizes { context, heads, .. } = sizes;
    let width = sizes.head_width();
    (0..tokens / context).flat_map(move |window| {
        (0..heads).map(move |head| {
            s![window * context..(window + 1) * context, head * width..(head + 1) * width]
        })
    })
}

/// Softmax of each row up to its diagonal; zero beyond, where the future lies.
fn causal_softmax(scores: &mut Array2<f32>) {
    for (position, row) in scores.rows_mut().into_iter().enumerate() {
        let (mut past, mut future) = row.split_at(Axis(0), position + 1);
        let max = past.fold(f32::NEG_INFINITY, |max, &x| max.max(x));
        past.mapv_inplace(|x| (x - max).exp());
        past /= past.sum();
        future.fill(0.0);
    }
}

/// Turns the gradient of the probabilities into that of the scores. The mask needs no care of its
/// own: a probability of zero passes on a gradient of zero.
fn softmax_backward(probabilities: &Array2<f32>, mut d: Array2<f32>) -> Array2<f32> {
    for (mut d, p) in d.rows_mut().into_iter().zip(probabilities.rows()) {
        let mean = d.dot(&p);
        d.zip_mut_with(&p, |d, p| *d = p * (*d - mean));
    }
    d
}

/// Which way [`rotate`] turns.
#[derive(Clone, Copy)]
pub(crate) enum Turn {
    /// By the position, as the forward pass does.
    Forward,
    /// Back again: a rotation is orthogonal, so this is the backward pass too.
    Backward,
}

/// Rotary position embedding: turns pairs of columns of each head by angles that grow with the
/// position of the row within its window. `x` is `[tokens, d_model]`.
pub(crate) fn rotate(sizes: &Sizes, x: &mut Array2<f32>, turn: Turn) {
    let half = sizes.head_width() / 2;
    let direction = match turn {
        Turn::Forward => 1.0,
        Turn::Backward => -1.0,
    };
    let rotations = Array2::from_shape_fn((sizes.context, half), |(position, pair)| {
        const BASE: f32 = 10_000.0;
        let frequency = BASE.powf(-(pair as f32) / half as f32);
        (direction * position as f32 * frequency).sin_cos()
    });
    for tile in tiles(sizes, x.nrows()) {
        let mut tile = x.slice_mut(tile);
        let (left, right) = tile.multi_slice_mut((s![.., ..half], s![.., half..2 * half]));
        Zip::from(left).and(right).and(&rotations).for_each(|left, right, &(sin, cos)| {
            (*left, *right) = (*left * cos - *right * sin, *left * sin + *right * cos);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SplitMix64;

    const SIZES: Sizes = Sizes { context: 5, d_model: 8, d_ff: 4, heads: 2, layers: 1 };

    fn random(rng: &mut SplitMix64) -> Array2<f32> {
        Array2::from_shape_simple_fn((2 * SIZES.context, SIZES.d_model), || rng.normal())
    }

    #[test]
    fn probabilities_are_causal_and_sum_to_one() {
        let mut rng = SplitMix64::new(3);
        let [q, k, v] = std::array::from_fn(|_| random(&mut rng));
        let (_, probabilities) = attend(&SIZES, &q, &k, &v);
        assert_eq!(probabilities.len(), 2 * SIZES.heads);
        for ((row, column), &p) in probabilities.iter().flat_map(|m| m.indexed_iter()) {
            assert_eq!(p == 0.0, column > row);
        }
        for sum in probabilities.iter().flat_map(|m| m.sum_axis(Axis(1))) {
            assert!((sum - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn windows_do_not_see_each_other() {
        let mut rng = SplitMix64::new(3);
        let [q, mut k, mut v] = std::array::from_fn(|_| random(&mut rng));
        let (before, _) = attend(&SIZES, &q, &k, &v);
        k.slice_mut(s![SIZES.context.., ..]).fill(9.0);
        v.slice_mut(s![SIZES.context.., ..]).fill(9.0);
        let (after, _) = attend(&SIZES, &q, &k, &v);
        let first = s![..SIZES.context, ..];
        assert_eq!(before.slice(first), after.slice(first));
        assert_ne!(before, after);
    }

    #[test]
    fn turning_back_undoes_the_turn() {
        let x = random(&mut SplitMix64::new(3));
        let mut turned = x.clone();
        rotate(&SIZES, &mut turned, Turn::Forward);
        assert!((&turned - &x).iter().any(|d| d.abs() > 0.1));
        rotate(&SIZES, &mut turned, Turn::Backward);
        assert!((&turned - &x).iter().all(|d| d.abs() < 1e-5));
    }
}
