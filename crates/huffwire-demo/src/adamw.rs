//! The AdamW optimiser (Loshchilov and Hutter, 2019) with a linear warm-up.

use crate::weights::Weights;
use ndarray::Zip;

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.95;
const EPSILON: f32 = 1e-8;
const WEIGHT_DECAY: f32 = 0.1;
const WARM_UP_STEPS: f32 = 10.0;
const MAX_GRADIENT_LENGTH: f32 = 1.0;

/// The running moments of the gradient, and how far training has come.
pub(crate) struct AdamW {
    learning_rate: f32,
    step: i32,
    first: Weights,
    second: Weights,
}

impl AdamW {
    /// A fresh optimiser for weights of the layout of `weights`.
    pub(crate) fn new(weights: &Weights, learning_rate: f32) -> Self {
        let zeros = weights.map(|_| 0.0);
        Self { learning_rate, step: 0, first: zeros.clone(), second: zeros }
    }

    /// Moves `weights` one step against `gradients`, which are clipped to a global norm of 1.
    pub(crate) fn update(&mut self, weights: &mut Weights, gradients: &Weights) {
        self.step += 1;
        let clip = (MAX_GRADIENT_LENGTH / gradients.length()).min(1.0);
        let rate = self.learning_rate * (self.step as f32 / WARM_UP_STEPS).min(1.0);
        let unbias_1 = (1.0 - BETA_1.powi(self.step)).recip();
        let unbias_2 = (1.0 - BETA_2.powi(self.step)).recip();

        let moments = self.first.tensors_mut().zip(self.second.tensors_mut());
        let tensors = weights.tensors_mut().zip(gradients.tensors());
        for ((weight, gradient), (first, second)) in tensors.zip(moments) {
            Zip::from(weight).and(gradient).and(first).and(second).for_each(
                |weight, &gradient, first, second| {
                    let gradient = clip * gradient;
                    *first += (1.0 - BETA_1) * (gradient - *first);
                    *second += (1.0 - BETA_2) * (gradient * gradient - *second);
                    let direction = *first * unbias_1 / ((*second * unbias_2).sqrt() + EPSILON);
                    *weight -= rate * (direction + WEIGHT_DECAY * *weight);
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SplitMix64;
    use crate::weights::{Sizes, Weights};

    #[test]
    fn the_first_step_has_the_length_of_the_learning_rate_in_every_value() {
        let sizes = Sizes { context: 4, d_model: 4, d_ff: 4, heads: 1, layers: 1 };
        let before = Weights::random(&sizes, &mut SplitMix64::new(5)).map(|_| 0.0);
        let gradients = Weights::random(&sizes, &mut SplitMix64::new(6)).map(|x| x + 0.01);
        let mut after = before.clone();
        AdamW::new(&before, 0.5).update(&mut after, &gradients);
        for (tensor, gradient) in after.tensors().zip(gradients.tensors()) {
            for (moved, gradient) in tensor.iter().zip(gradient) {
                let expected = -gradient.signum() * 0.5 / WARM_UP_STEPS;
                assert!((moved - expected).abs() < 1e-3, "{moved} {expected}");
            }
        }
    }
}
