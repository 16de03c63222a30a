//! Quantized gradients: quantizers, encoders of quantized values, messages, and codebooks for them.
//!
//! Quantizers come from Python as tuples of their name and parameters, which `huffwire/gradient/_quantizers.py` makes of its
//! classes. Values are memory of one byte or, where `wide`, of four bytes each.
mod books;
mod exchange;
mod feedback;
mod floats;
mod message;
mod quantized;
mod quantizer;
mod values;

pub(crate) use books::{BitmapBooks, Drift, FixedBook, RefreshPolicy};
pub(crate) use exchange::ExchangeCodec;
pub(crate) use feedback::ErrorFeedback;
pub(crate) use message::{ValueHeader, decode_message, decode_message_into, read_message_header};
pub(crate) use quantized::Quantized;
pub(crate) use quantizer::quantizer_text;
pub(crate) use values::{
    all_encoders, chosen_encoder, count_values, decode_values, encode_values, estimates, shannon,
};
