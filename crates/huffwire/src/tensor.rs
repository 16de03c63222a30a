//! `Tensor`, which an encoder takes, and `Expected`, which tells a decoder what to accept.

use std::borrow::Cow;

use crate::dtype::Dtype;
use crate::element::{Element, to_bytes};
use crate::error::{Error, Result};
use crate::message::Header;

/// Tensor to be encoded: its elements, and optionally its name and its context.
///
/// ```
/// use huffwire::{Dtype, Tensor};
///
/// let tensor = Tensor::new(Dtype::Bf16, &[0x80, 0x3f]).named("lm_head.weight").in_context(7);
/// assert_eq!(tensor.bytes().len(), 2);
/// ```
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    dtype: Dtype,
    bytes: Cow<'a, [u8]>,
    name: &'a str,
    context: Option<u64>,
}

impl<'a> Tensor<'a> {
    /// A tensor of whole elements, as little-endian bytes.
    #[must_use]
    pub const fn new(dtype: Dtype, bytes: &'a [u8]) -> Self {
        Self { dtype, bytes: Cow::Borrowed(bytes), name: "", context: None }
    }

    /// A tensor of typed elements.
    #[must_use]
    pub fn of<T: Element>(elements: &'a [T]) -> Self {
        Self { dtype: T::DTYPE, bytes: to_bytes(elements), name: "", context: None }
    }

    /// The same with a name, for [`Choice::Named`](crate::Choice::Named): bindings of the set choose by it.
    #[must_use]
    pub const fn named(mut self, name: &'a str) -> Self {
        self.name = name;
        self
    }

    /// The same in a context: a number that both ends know and that is not sent (a step, a chunk's number). A
    /// decoder that is told another number, or none, refuses the message.
    #[must_use]
    pub const fn in_context(mut self, context: u64) -> Self {
        self.context = Some(context);
        self
    }

    /// The element type.
    #[must_use]
    pub const fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The elements, as little-endian bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The name; empty if there is none.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// The context, if there is one.
    #[must_use]
    pub const fn context(&self) -> Option<u64> {
        self.context
    }
}

/// What the receiver of a message knows beforehand. A message that differs is an error.
///
/// ```
/// use huffwire::{Decoder, Dtype, Encoder, Expected, Tensor};
///
/// let tensor = Tensor::new(Dtype::F32, &[0; 400]).in_context(3);
/// let message = Encoder::builtin().encode_tensor_to_vec(&tensor)?;
///
/// let mut decoder = Decoder::builtin();
/// let expected = Expected::anything().dtype(Dtype::F32).context(3).max_bytes(1 << 20);
/// assert!(decoder.decode_expected_to_vec(&message, &expected).is_ok());
/// assert!(decoder.decode_expected_to_vec(&message, &expected.context(4)).is_err());
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Expected {
    /// The number that both ends agreed on for this message, if they did. Default: none.
    pub context: Option<u64>,
    /// The element type. Default: any.
    pub dtype: Option<Dtype>,
    /// The most bytes of elements. Default: as many as the machine can hold.
    pub max_bytes: Option<usize>,
}

impl Expected {
    /// A message of any type and size, without a context.
    #[must_use]
    pub const fn anything() -> Self {
        Self { context: None, dtype: None, max_bytes: None }
    }

    /// The same with a context.
    #[must_use]
    pub const fn context(mut self, context: u64) -> Self {
        self.context = Some(context);
        self
    }

    /// The same with an element type.
    #[must_use]
    pub const fn dtype(mut self, dtype: Dtype) -> Self {
        self.dtype = Some(dtype);
        self
    }

    /// The same with a limit on the bytes of elements, for messages from strangers.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Compares with the header of a message that came.
    pub(crate) fn check(&self, header: &Header) -> Result<()> {
        if let Some(dtype) = self.dtype
            && dtype != header.dtype
        {
            let (expected, found) = (dtype.to_string(), header.dtype.to_string());
            return Err(Error::Unexpected {
                what: "the element type of a message",
                expected,
                found,
            });
        }
        let found = header.raw_bytes()?;
        match self.max_bytes {
            Some(limit) if found > limit => {
                let (found, limit) = (found as u64, limit as u64);
                let remedy = "allow more if the sender can be trusted";
                Err(Error::TooLarge { what: "the tensor of a message", found, limit, remedy })
            }
            _ => Ok(()),
        }
    }
}
