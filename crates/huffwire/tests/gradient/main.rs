//! Quantized gradients: what the papers promise of quantizers, and that encoders lose nothing.

#![cfg(feature = "gradient")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic says what does not hold.

mod books;
mod encoders;
mod fixed;
mod hostile;
mod messages;
mod quantizers;
mod sizes;
mod states;
