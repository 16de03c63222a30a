//! Quantized gradients: what the papers promise of quantizers.

#![cfg(feature = "gradient")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic says what does not hold.

mod quantizers;
mod states;
