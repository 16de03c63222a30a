//! Header of a message: 16 bytes that every kind of message begins with.

use crate::block;
use crate::dtype::Dtype;
use crate::error::{Error, Result, TOO_FEW_ADDRESSES};
use crate::wire::{Reader, crc32c};

const WHAT: &str = "a message";
const MAGIC: u8 = b'H';
const VERSION: u8 = 1;
/// Flags: entries have checksums; there is a context.
const CHECKSUMS: u8 = 1;
const CONTEXT: u8 = 2;
/// Bytes that the header's checksum covers, the context apart.
const COVERED: usize = 12;

/// Quantized values in a block, as a power of two.
pub(crate) const VALUES_LOG2: u8 = 20;

/// Bytes of the message header.
pub const HEADER_BYTES: usize = 16;

/// What a message or an item of a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// A tensor, bit by bit.
    Tensor = 0,
    /// The quantized values of a tensor, with what turns them back into floats.
    Values = 1,
    /// What changed in a tensor that the receiver has.
    Delta = 2,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Tensor, Self::Values, Self::Delta];

    /// The number that stands for this kind in the format.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name of the kind, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tensor => "tensor",
            Self::Values => "quantized values",
            Self::Delta => "delta",
        }
    }

    /// The kind with this number.
    ///
    /// # Errors
    /// [`Error::UnknownKind`].
    pub fn from_number(number: u8) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.number() == number);
        found.ok_or(Error::UnknownKind { number, name: "unknown" })
    }

    /// Entries in front of the blocks: the kind header, which all kinds but tensors have.
    pub(crate) const fn leading_entries(self) -> usize {
        match self {
            Self::Tensor => 0,
            Self::Values | Self::Delta => 1,
        }
    }

    /// The error of a reader that gets this kind and can only read another.
    pub(crate) const fn unexpected(self) -> Error {
        Error::UnknownKind { number: self.number(), name: self.name() }
    }
}

/// Parsed header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// What the message holds.
    pub kind: Kind,
    /// The element type.
    pub dtype: Dtype,
    /// Number of units (see [`Dtype`]).
    pub units: u32,
    /// Whether each block (and the kind header, if there is one) has a checksum.
    pub checksums: bool,
    /// Whether the header's checksum covers a context.
    pub has_context: bool,
    /// First 32 bits of the id of the codebook set.
    pub set: [u8; 4],
    /// Blocks hold at most `2^block_log2` bytes of elements (blocks of quantized values: so many values).
    pub block_log2: u8,
}

impl Header {
    /// The number of units of a message that is to be written.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for 2³² units and more.
    pub(crate) fn count_units(units: u64) -> Result<u32> {
        u32::try_from(units).map_err(|_| {
            let (found, limit) = (units, u64::from(u32::MAX));
            let remedy = "make several messages of it";
            Error::TooLarge { what: "a message (in units)", found, limit, remedy }
        })
    }

    /// Reads the header of a message and verifies its checksum. `context` is the number that both ends agreed on for
    /// this message, if they did.
    ///
    /// # Errors
    /// A typed error when the bytes are no header of a version this library reads; [`Error::MissingContext`] and
    /// [`Error::UnexpectedContext`] when only one end has a context; [`Error::Checksum`] for damage, and for
    /// another context than the sender's.
    pub fn read(message: &[u8], context: Option<u64>) -> Result<Self> {
        Self::read_with_check(message, context).map(|(header, _)| header)
    }

    /// The same with the header's checksum.
    pub(crate) fn read_with_check(message: &[u8], context: Option<u64>) -> Result<(Self, u32)> {
        let mut reader = Reader::new(WHAT, message);
        let bytes: [u8; HEADER_BYTES] = reader.array()?;
        let &[magic, version, dtype, size, s0, s1, s2, s3, u0, u1, u2, u3, ref check @ ..] = &bytes;
        if magic != MAGIC {
            return Err(Error::malformed(WHAT, 0, "it does not begin as a message does"));
        }
        if version >> 4 != VERSION {
            let (found, supported) = (u32::from(version >> 4), u32::from(VERSION));
            return Err(Error::UnknownVersion { what: WHAT, found, supported });
        }
        let has_context = version & CONTEXT != 0;
        match (has_context, context) {
            (true, None) => return Err(Error::MissingContext),
            (false, Some(_)) => return Err(Error::UnexpectedContext),
            _ => {}
        }
        let stored = u32::from_le_bytes(*check);
        let computed = checksum(&bytes[..COVERED], context);
        if stored != computed {
            let what = match context {
                None => "the header of a message",
                Some(_) => "the header of a message (or the message belongs to another context)",
            };
            return Err(Error::Checksum { what, stored, computed });
        }
        if version & 15 & !(CHECKSUMS | CONTEXT) != 0 {
            return Err(Error::malformed(WHAT, 1, "flags that this version does not know"));
        }
        let kind = Kind::from_number(size >> 5)?;
        let dtype = Dtype::from_number(dtype)
            .ok_or_else(|| Error::malformed(WHAT, 2, "an unknown element type"))?;
        let block_log2 = size & 31;
        if !block::BLOCK_LOG2.contains(&block_log2) {
            return Err(Error::malformed(WHAT, 3, "a block size outside 1 KiB to 1 MiB"));
        }
        if kind != Kind::Tensor && block_log2 != VALUES_LOG2 {
            let name = kind.name();
            let detail = format!("{name} in blocks of 2^{block_log2} units: they have 2^20");
            return Err(Error::malformed(WHAT, 3, detail));
        }
        let header = Self {
            kind,
            dtype,
            units: u32::from_le_bytes([u0, u1, u2, u3]),
            checksums: version & CHECKSUMS != 0,
            has_context,
            set: [s0, s1, s2, s3],
            block_log2,
        };
        if dtype.values_in(u64::from(header.units) * dtype.unit_bytes() as u64).is_none() {
            return Err(Error::malformed(WHAT, 8, format!("an odd number of units of {dtype}")));
        }
        Ok((header, stored))
    }

    /// Writes the header; `context` must be there if, and only if, `has_context` says so. Returns its checksum, too.
    pub(crate) fn write(&self, context: Option<u64>) -> ([u8; HEADER_BYTES], u32) {
        let mut bytes = [0; HEADER_BYTES];
        let checksums = if self.checksums { CHECKSUMS } else { 0 };
        let flags = checksums | if self.has_context { CONTEXT } else { 0 };
        let size = self.kind.number() << 5 | self.block_log2;
        bytes[..4].copy_from_slice(&[MAGIC, VERSION << 4 | flags, self.dtype.number(), size]);
        bytes[4..8].copy_from_slice(&self.set);
        bytes[8..12].copy_from_slice(&self.units.to_le_bytes());
        let check = checksum(&bytes[..COVERED], context);
        bytes[COVERED..].copy_from_slice(&check.to_le_bytes());
        (bytes, check)
    }

    /// Bytes of elements that the message decodes to.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when this machine cannot address so many.
    pub fn raw_bytes(&self) -> Result<usize> {
        let bytes = u64::from(self.units) * self.dtype.unit_bytes() as u64;
        let limit = isize::MAX as u64;
        match usize::try_from(bytes) {
            Ok(size) if bytes <= limit => Ok(size),
            _ => {
                let remedy = TOO_FEW_ADDRESSES;
                Err(Error::TooLarge { what: "a tensor", found: bytes, limit, remedy })
            }
        }
    }

    /// Entries of the message: the kind header, where there is one, and the blocks.
    pub(crate) fn entries(&self) -> usize {
        let per_block = match self.kind {
            Kind::Tensor => block::units_per_block(self.dtype, self.block_log2),
            Kind::Values | Kind::Delta => 1 << self.block_log2,
        };
        self.kind.leading_entries() + (self.units as usize).div_ceil(per_block)
    }
}

fn checksum(covered: &[u8], context: Option<u64>) -> u32 {
    let Some(context) = context else { return crc32c(covered) };
    crc32c(&[covered, &context.to_le_bytes()].concat())
}
