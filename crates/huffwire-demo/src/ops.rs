//! The layers without state, each with its backward pass.
//!
//! A backward pass takes the gradient of the loss with respect to the output of its layer and
//! returns the gradients with respect to its inputs. Rows are tokens throughout.

use ndarray::{Array2, ArrayView1, Zip};

/// `y = x Wᵀ`: `x` is `[tokens, in]`, `weight` is `[out, in]`, the result is `[tokens, out]`.
pub(crate) fn linear(x: &Array2<f32>, weight: &Array2<f32>) -> Array2<f32> {
    x.dot(&weight.t())
}

/// The gradients of [`linear`] with respect to `x` and `weight`.
pub(crate) fn linear_backward(
    x: &Array2<f32>,
    weight: &Array2<f32>,
    d_y: &Array2<f32>,
) -> (Array2<f32>, Array2<f32>) {
    (d_y.dot(weight), d_y.t().dot(x))
}

/// Root-mean-square normalisation of each row of `x`, `[tokens, width]`, scaled by `1 + weight`,
/// `[1, width]`. As in Gemma, a weight of zero is the identity, and so is what weight decay pulls
/// towards.
pub(crate) fn rms_norm(x: &Array2<f32>, weight: &Array2<f32>) -> Array2<f32> {
    let mut y = x.clone();
    for mut row in y.rows_mut() {
        row *= inverse_rms(row.view());
    }
    y * &(weight + 1.0)
}

/// The gradients of [`rms_norm`] with respect to `x` and `weight`.
pub(crate) fn rms_norm_backward(
    x: &Array2<f32>,
    weight: &Array2<f32>,
    d_y: &Array2<f32>,
) -> (Array2<f32>, Array2<f32>) {
    let scale = weight + 1.0;
    let mut d_x = d_y * &scale;
    let mut d_weight = Array2::zeros(weight.raw_dim());
    for ((mut d_x, x), d_y) in d_x.rows_mut().into_iter().zip(x.rows()).zip(d_y.rows()) {
        let inverse = inverse_rms(x);
        Zip::from(d_weight.row_mut(0))
            .and(x)
            .and(d_y)
            .for_each(|d_weight, x, d_y| *d_weight += d_y * x * inverse);
        // The norm of the row is fixed, so the part of the gradient along the row is lost.
        let along = dot(d_x.view(), x) * inverse * inverse / x.len() as f32;
        d_x.zip_mut_with(&x, |d_x, x| *d_x = inverse * (*d_x - x * along));
    }
    (d_x, d_weight)
}

fn inverse_rms(row: ArrayView1<f32>) -> f32 {
    const EPSILON: f32 = 1e-6;
    (dot(row, row) / row.len() as f32 + EPSILON).sqrt().recip()
}

fn dot(a: ArrayView1<f32>, b: ArrayView1<f32>) -> f32 {
    a.dot(&b)
}

/// The gated activation `gelu(gate) * up`; all shapes are `[tokens, d_ff]`.
pub(crate) fn geglu(gate: &Array2<f32>, up: &Array2<f32>) -> Array2<f32> {
    Zip::from(gate).and(up).map_collect(|&gate, &up| gelu(gate) * up)
}

/// The gradients of [`geglu`] with respect to `gate` and `up`.
pub(crate) fn geglu_backward(
    gate: &Array2<f32>,
    up: &Array2<f32>,
    d_y: Array2<f32>,
) -> (Array2<f32>, Array2<f32>) {
    let mut d_gate = d_y.clone();
    let mut d_up = d_y;
    Zip::from(&mut d_gate).and(&mut d_up).and(gate).and(up).for_each(|d_gate, d_up, &gate, &up| {
        *d_gate *= gelu_slope(gate) * up;
        *d_up *= gelu(gate);
    });
    (d_gate, d_up)
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

/// GELU in its usual approximation, `x / 2 (1 + tanh(u))`, with the hyperbolic tangent written as
/// a logistic function, since `exp` is much cheaper than `tanh`.
fn gelu(x: f32) -> f32 {
    x * gelu_gate(x)
}

fn gelu_gate(x: f32) -> f32 {
    let u = SQRT_2_OVER_PI * x * (1.0 + CUBIC * x * x);
    (1.0 + (-2.0 * u).exp()).recip()
}

fn gelu_slope(x: f32) -> f32 {
    let gate = gelu_gate(x);
    let u_slope = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
    gate + x * gate * (1.0 - gate) * 2.0 * u_slope
}

/// The cross-entropy between the softmax of each row of `logits`, `[tokens, vocabulary]`, and the
/// target token of that row, summed over the rows; also its gradient with respect to `logits`.
pub(crate) fn cross_entropy(mut logits: Array2<f32>, targets: &[u8]) -> (f32, Array2<f32>) {
    let mut loss = 0.0;
    for (mut row, &target) in logits.rows_mut().into_iter().zip(targets) {
        let target = usize::from(target);
        row -= row.fold(f32::NEG_INFINITY, |max, &x| max.max(x));
        let target_logit = row[target];
        row.mapv_inplace(f32::exp);
        let sum = row.sum();
        // From the logit rather than from the probability, which may have underflowed to zero.
        loss += sum.ln() - target_logit;
        row /= sum;
        row[target] -= 1.0;
    }
    (loss, logits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn rms_norm_gives_rows_of_unit_mean_square() {
        let y = rms_norm(&array![[3.0, -4.0], [0.1, 0.1]], &array![[0.0, 0.0]]);
        for row in y.rows() {
            assert!((dot(row, row) / 2.0 - 1.0).abs() < 1e-3);
        }
    }

    #[test]
    fn gelu_agrees_with_the_tanh_form() {
        for x in [-6.0_f32, -1.0, -0.1, 0.0, 0.5, 2.0, 6.0] {
            let u = SQRT_2_OVER_PI * (x + CUBIC * x.powi(3));
            assert!((gelu(x) - 0.5 * x * (1.0 + u.tanh())).abs() < 1e-6);
        }
        assert_eq!(gelu(-1e4), 0.0);
        assert_eq!(gelu(1e4), 1e4);
    }

    #[test]
    fn cross_entropy_of_equal_logits_is_the_logarithm_of_their_number() {
        let (loss, d_logits) = cross_entropy(Array2::zeros((1, 4)), &[2]);
        assert!((loss - 4.0_f32.ln()).abs() < 1e-6);
        assert_eq!(d_logits, array![[0.25, 0.25, -0.75, 0.25]]);
    }
}
