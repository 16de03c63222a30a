//! One tensor's patch: made, and applied chunk by chunk.

use std::io::{self, BufReader, Read, Write};

use pyo3::PyResult;
use zstd::stream::{read, write};

use crate::error::Class;

/// Bytes of a tensor that are worked on at a time: they stay in the cache of a core.
pub(super) const CHUNK: usize = 1 << 20;

/// The level of zstd that publishers use.
const LEVEL: i32 = 1;
/// Windows up to 128 MiB are accepted, as by the program `zstd`; a frame that claims more memory is refused.
const WINDOW_LOG: u32 = 27;

/// How a patch says what changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// The exclusive-or of all bytes, old and new.
    Xor,
    /// How many bytes changed, their positions, and their new values. Numbers have four bytes, little-endian.
    Overwrite,
}

impl Encoding {
    /// The encoding of this name.
    ///
    /// # Errors
    /// `OptionError`.
    pub(super) fn named(name: &str) -> PyResult<Self> {
        match name {
            "xor" => Ok(Self::Xor),
            "overwrite" => Ok(Self::Overwrite),
            _ => {
                Err(Class::Option
                    .error(format!("encoding={name:?}: give \"xor\" or \"overwrite\"")))
            }
        }
    }
}

/// How many bytes differ between two tensors of one size.
pub(super) fn changes(base: &[u8], new: &[u8]) -> usize {
    let chunks = base.chunks(CHUNK).zip(new.chunks(CHUNK));
    // Most chunks of most tensors are alike, and comparing whole chunks is fastest.
    let differing = chunks.filter(|(base, new)| base != new);
    differing.map(|(base, new)| base.iter().zip(new).filter(|(a, b)| a != b).count()).sum()
}

/// The patch that turns `base` into `new`, in which so many bytes differ. The sizes are the same.
///
/// # Errors
/// `LimitError` for positions that four bytes cannot hold.
pub(super) fn make(
    encoding: Encoding,
    base: &[u8],
    new: &[u8],
    changes: usize,
) -> PyResult<Vec<u8>> {
    let made = match encoding {
        Encoding::Xor => exclusive_or(base, new),
        Encoding::Overwrite => {
            if u32::try_from(new.len()).is_err() {
                return Err(Class::Limit.error(format!(
                    "a tensor of {} bytes: the encoding \"overwrite\" holds positions below 2**32 only; use \"xor\"",
                    new.len()
                )));
            }
            overwrite(base, new, changes)
        }
    };
    made.map_err(|error| Class::Other.error(format!("zstd: {error}")))
}

/// A compressor that is told beforehand how much comes: receivers ask its frame for the size.
fn compressor(bytes: usize) -> io::Result<write::Encoder<'static, Vec<u8>>> {
    let mut encoder = write::Encoder::new(Vec::new(), LEVEL)?;
    encoder.set_pledged_src_size(Some(bytes as u64))?;
    Ok(encoder)
}

fn exclusive_or(base: &[u8], new: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = compressor(new.len())?;
    let mut mixed = vec![0; CHUNK.min(new.len())];
    for (base, new) in base.chunks(CHUNK).zip(new.chunks(CHUNK)) {
        let mixed = &mut mixed[..new.len()];
        for ((mixed, base), new) in mixed.iter_mut().zip(base).zip(new) {
            *mixed = base ^ new;
        }
        encoder.write_all(mixed)?;
    }
    encoder.finish()
}

fn overwrite(base: &[u8], new: &[u8], changes: usize) -> io::Result<Vec<u8>> {
    let differing = || (0u32..).zip(base.iter().zip(new)).filter(|(_, (base, new))| base != new);
    let mut encoder = io::BufWriter::new(compressor(4 + 5 * changes)?);
    encoder.write_all(&(changes as u32).to_le_bytes())?;
    for (position, _) in differing() {
        encoder.write_all(&position.to_le_bytes())?;
    }
    for (_, (_, &value)) in differing() {
        encoder.write_all(&[value])?;
    }
    encoder.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
}

/// A patch that is being applied, from the first byte of its tensor to the last. It takes little memory, whatever it
/// claims to hold.
pub(super) enum Patch<'p> {
    Xor { content: Frame<'p>, mixed: Vec<u8> },
    Overwrite(Overwrite<'p>),
}

/// The content of a compressed frame.
type Frame<'p> = BufReader<read::Decoder<'static, &'p [u8]>>;

/// Positions and values. They follow one another in the patch, so two readers go through it.
pub(super) struct Overwrite<'p> {
    positions: Frame<'p>,
    values: Frame<'p>,
    /// The next position.
    next: Option<u32>,
    /// How many positions come after that one.
    left: u32,
    /// Bytes of the tensor, and how many of them were patched or passed.
    bytes: u64,
    at: u64,
}

impl<'p> Patch<'p> {
    /// Begins to apply a patch to a tensor of so many bytes.
    ///
    /// # Errors
    /// `DamagedError`.
    pub(super) fn new(encoding: Encoding, patch: &'p [u8], bytes: usize) -> PyResult<Self> {
        let content = frame(patch)?;
        match encoding {
            Encoding::Xor => Ok(Self::Xor { content, mixed: vec![0; CHUNK.min(bytes)] }),
            Encoding::Overwrite => {
                Overwrite::new(content, frame(patch)?, bytes).map(Self::Overwrite)
            }
        }
    }

    /// Turns the next bytes of the base, [`CHUNK`] at most, into the new ones.
    ///
    /// # Errors
    /// `DamagedError`; the bytes are then undefined.
    pub(super) fn apply(&mut self, chunk: &mut [u8]) -> PyResult<()> {
        match self {
            Self::Xor { content, mixed } => {
                let mixed = &mut mixed[..chunk.len()];
                content.read_exact(mixed).map_err(damaged)?;
                for (byte, mixed) in chunk.iter_mut().zip(mixed) {
                    *byte ^= *mixed;
                }
                Ok(())
            }
            Self::Overwrite(overwrite) => overwrite.apply(chunk),
        }
    }

    /// Checks that the patch ends where its tensor does.
    ///
    /// # Errors
    /// `DamagedError`.
    pub(super) fn finish(self) -> PyResult<()> {
        let mut content = match self {
            Self::Xor { content, .. } => content,
            Self::Overwrite(overwrite) => overwrite.values,
        };
        if content.read(&mut [0]).map_err(damaged)? != 0 || !content.buffer().is_empty() {
            return Err(malformed("it goes on behind the end of its tensor"));
        }
        if !content.into_inner().finish().is_empty() {
            return Err(malformed("bytes follow its zstd frame"));
        }
        Ok(())
    }
}

impl<'p> Overwrite<'p> {
    fn new(mut positions: Frame<'p>, mut values: Frame<'p>, bytes: usize) -> PyResult<Self> {
        let mut count = [0; 4];
        positions.read_exact(&mut count).map_err(damaged)?;
        let count = u32::from_le_bytes(count);
        if count as usize > bytes {
            return Err(malformed(&format!("{count} bytes of a tensor of {bytes} change")));
        }
        let before = 4 + 4 * u64::from(count);
        let passed =
            io::copy(&mut values.by_ref().take(before), &mut io::sink()).map_err(damaged)?;
        if passed != before {
            return Err(malformed("it is cut short"));
        }
        let (next, left, bytes, at) = (None, count, bytes as u64, 0);
        let mut overwrite = Self { positions, values, next, left, bytes, at };
        overwrite.advance()?;
        Ok(overwrite)
    }

    /// Reads the next position.
    fn advance(&mut self) -> PyResult<()> {
        let last = self.next.take();
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        let mut position = [0; 4];
        self.positions.read_exact(&mut position).map_err(damaged)?;
        let position = u32::from_le_bytes(position);
        if last.is_some_and(|last| last >= position) || u64::from(position) >= self.bytes {
            return Err(malformed(&format!(
                "position {position} in a tensor of {} bytes is out of bounds or order",
                self.bytes
            )));
        }
        self.next = Some(position);
        Ok(())
    }

    fn apply(&mut self, chunk: &mut [u8]) -> PyResult<()> {
        while let Some(position) = self.next {
            let Some(place) = chunk.get_mut((u64::from(position) - self.at) as usize) else {
                break;
            };
            self.values.read_exact(std::slice::from_mut(place)).map_err(damaged)?;
            self.advance()?;
        }
        self.at += chunk.len() as u64;
        Ok(())
    }
}

fn frame(patch: &[u8]) -> PyResult<Frame<'_>> {
    let open = || {
        let mut decoder = read::Decoder::with_buffer(patch)?.single_frame();
        decoder.window_log_max(WINDOW_LOG)?;
        Ok(BufReader::new(decoder))
    };
    open().map_err(damaged)
}

fn damaged(error: io::Error) -> pyo3::PyErr {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => malformed("it is cut short"),
        _ => malformed(&format!("zstd: {error}")),
    }
}

fn malformed(detail: &str) -> pyo3::PyErr {
    Class::Damaged.error(format!("the delta is damaged: {detail}"))
}
