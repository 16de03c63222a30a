//! Quantized gradients: what the authors of quantizers promise, and that encoders lose nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic says what does not hold.

mod books;
mod encoders;
mod fixed;
#[path = "../forge/mod.rs"]
mod forge;
mod hostile;
mod messages;
mod quantizers;
mod sizes;
mod values;
