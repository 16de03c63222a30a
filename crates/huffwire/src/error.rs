//! Errors. Each one says what is wrong, where, and what to do.

use std::borrow::Cow;

use crate::dtype::Dtype;
use crate::ids::{ContentHash, SetId};

/// Shorthand for a result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be done about a tensor that this machine has no addresses for.
pub(crate) const TOO_FEW_ADDRESSES: &str = "decode it on a machine of 64 bits";

/// Every failure of the library. Hostile input ends here, never in a panic.
///
/// Offsets are bytes from the start of the thing named by `what` (a message, a block, a file
/// directory, a codebook set).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes end before the structure they announce.
    #[error(
        "{what} ends early: {needed} bytes are needed at offset {offset} and {available} are there; \
         the data was cut, fetch or copy it again"
    )]
    Truncated {
        /// The structure being read.
        what: &'static str,
        /// Where the missing bytes should begin.
        offset: usize,
        /// How many bytes the structure needs there.
        needed: usize,
        /// How many bytes are left there.
        available: usize,
    },
    /// A field holds a value that the format does not allow.
    #[error("{what} is malformed at offset {offset}: {detail}")]
    Malformed {
        /// The structure being read.
        what: &'static str,
        /// Where the offending field lies.
        offset: usize,
        /// What is wrong with it.
        detail: Cow<'static, str>,
    },
    /// The data was written by a format version that this library does not know.
    #[error(
        "{what} has format version {found}; this library reads up to version {supported}, \
         a newer huffwire is needed"
    )]
    UnknownVersion {
        /// The structure being read.
        what: &'static str,
        /// The version found.
        found: u32,
        /// The newest version this library reads.
        supported: u32,
    },
    /// The stored checksum differs from the one computed over the bytes.
    #[error(
        "{what} is damaged: its checksum is {computed:08x} where {stored:08x} was stored; \
         nothing of it was handed out, fetch or copy it again"
    )]
    Checksum {
        /// The structure that failed.
        what: &'static str,
        /// The checksum found in the data.
        stored: u32,
        /// The checksum of the bytes that are there.
        computed: u32,
    },
    /// Sender and receiver hold different codebook sets.
    #[error(
        "the data was coded with codebook set {wanted}, which is not among those at hand ({}); \
         load the sender's set",
        list(held)
    )]
    SetMismatch {
        /// The set named by the data, or its first 32 bits where the data holds no more.
        wanted: String,
        /// The sets that the receiver has.
        held: Vec<SetId>,
    },
    /// Two different sets whose ids begin with the same 32 bits, which is all that a message tells of its set.
    #[error("codebook sets {held} and {added} look alike to a message: give one of them up")]
    AmbiguousSet {
        /// The set that was there.
        held: SetId,
        /// The set that was to be added.
        added: SetId,
    },
    /// A message or an item of a file holds something that this decoder cannot read.
    #[error(
        "the data is of kind {number} ({name}), which this decoder does not read: a newer huffwire, or a \
         build with the feature for that kind, is needed"
    )]
    UnknownKind {
        /// The number of the kind.
        number: u8,
        /// The name of the kind, if it has one.
        name: &'static str,
    },
    /// The message was sent in a context, and the receiver gave none.
    #[error(
        "the message belongs to a context (a step, a chunk's number): tell the decoder which one is expected"
    )]
    MissingContext,
    /// The receiver gave a context, and the message was sent without one.
    #[error(
        "the message has no context and one was expected: it comes from another sender or another protocol"
    )]
    UnexpectedContext,
    /// The data is not what the receiver expects.
    #[error("{what} is {found} where {expected} was expected: sender and receiver are out of step")]
    Unexpected {
        /// What differs.
        what: &'static str,
        /// What the receiver expects.
        expected: String,
        /// What came.
        found: String,
    },
    /// The base is not the tensor that the delta was made for.
    #[error(
        "the base is not the one that the delta was made for: its hash is {found} where {expected} was expected{}; \
         nothing was changed",
        applied_already(.applied)
    )]
    WrongBase {
        /// The hash of the base that the delta was made for.
        expected: ContentHash,
        /// The hash of the base that is there.
        found: ContentHash,
        /// Whether the base that is there is what the delta makes.
        applied: bool,
    },
    /// The base does not have the size of what the delta makes.
    #[error(
        "the base has {found} bytes where the delta was made for one of {expected}: pass the tensor that it was made \
         for; nothing was changed"
    )]
    BaseLength {
        /// Bytes of the result, and of the base that the delta was made for.
        expected: u64,
        /// Bytes of the base that is there.
        found: u64,
    },
    /// What a delta made of its base is not what its sender had.
    #[error(
        "the delta is damaged: its result has the hash {found} where {expected} was expected; fetch \
         or copy the delta again"
    )]
    WrongResult {
        /// The hash of the tensor that the delta was made from.
        expected: ContentHash,
        /// The hash of what came out.
        found: ContentHash,
    },
    /// A block names a codebook number that the set does not have.
    #[error(
        "a block uses codebook number {number}, the set holds {held} codebooks: the data is damaged"
    )]
    UnknownCodebook {
        /// The number in the block.
        number: u8,
        /// How many books the set holds.
        held: usize,
    },
    /// The caller's output buffer is too small.
    #[error("the output buffer holds {available} bytes and {needed} are needed")]
    OutputTooSmall {
        /// Bytes the call needs.
        needed: usize,
        /// Bytes the buffer has.
        available: usize,
    },
    /// The caller's output buffer does not have the size of the data.
    #[error(
        "the data decodes to {needed} bytes and the output buffer holds {available}: pass exactly {needed}"
    )]
    OutputLength {
        /// Bytes the data decodes to.
        needed: usize,
        /// Bytes the buffer has.
        available: usize,
    },
    /// The input is no whole number of elements.
    #[error("{bytes} bytes are no whole number of {dtype} elements of {} bytes", dtype.unit_bytes())]
    PartialElement {
        /// The element type the caller gave.
        dtype: Dtype,
        /// The length of the input in bytes.
        bytes: usize,
    },
    /// Something is larger than it can be, or than the caller allows.
    #[error("{what} of {found} exceeds the limit of {limit}: {remedy}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        found: u64,
        /// The largest size allowed.
        limit: u64,
        /// What can be done about it.
        remedy: &'static str,
    },
    /// There is no memory for what the input holds, or says that it holds.
    #[error("{what} takes {bytes} bytes, and there is no memory for them")]
    OutOfMemory {
        /// What there is no memory for.
        what: &'static str,
        /// How many bytes it takes, as far as is known.
        bytes: u64,
    },
    /// Code lengths, a PMF or a set that cannot be a codebook.
    #[error("no valid codebook: {0}")]
    InvalidCodebook(Cow<'static, str>),
    /// An option that makes no sense.
    #[error("invalid option: {0}")]
    InvalidOption(Cow<'static, str>),
    /// A gradient that a quantizer has no values for.
    #[error("the gradient cannot be quantized, see its element {index}: {detail}")]
    Unquantizable {
        /// The offending element, or the first one of the offending bucket.
        index: usize,
        /// What is wrong with it.
        detail: Cow<'static, str>,
    },
    /// An error inside one block of a message or file.
    #[error("block {index}: {source}")]
    InBlock {
        /// The block's number, counted from 0.
        index: u64,
        /// What went wrong in it.
        #[source]
        source: Box<Error>,
    },
}

impl Error {
    pub(crate) fn malformed(
        what: &'static str,
        offset: usize,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Malformed { what, offset, detail: detail.into() }
    }

    pub(crate) fn codebook(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::InvalidCodebook(detail.into())
    }

    #[cfg(feature = "gradient")]
    pub(crate) fn option(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::InvalidOption(detail.into())
    }

    #[cfg(feature = "gradient")]
    pub(crate) fn unquantizable(index: usize, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Unquantizable { index, detail: detail.into() }
    }

    pub(crate) fn in_block(self, index: u64) -> Self {
        Self::InBlock { index, source: Box::new(self) }
    }
}

const fn applied_already(applied: &bool) -> &'static str {
    if *applied { " (it is the result: the delta has been applied already)" } else { "" }
}

fn list(ids: &[SetId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Makes room for so many more values, of which a few bytes of input may announce a lot.
pub(crate) fn reserve<T>(values: &mut Vec<T>, more: usize, what: &'static str) -> Result<()> {
    // Room to grow in, if there is; else what is needed.
    values.try_reserve(more).or_else(|_| values.try_reserve_exact(more)).map_err(|_| {
        let bytes = (values.len() as u64 + more as u64).saturating_mul(size_of::<T>() as u64);
        Error::OutOfMemory { what, bytes }
    })
}
