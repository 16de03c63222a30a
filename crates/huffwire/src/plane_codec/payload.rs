//! The payload of a block: a stack of bytes. A writer pushes the last plane first; the lanes of a plane carry the end
//! of the bytes that were pushed before it. A reader takes planes off the end, and puts back the bytes that lanes
//! carried.

use super::WHAT;
use super::header::{CodedPlane, Coder, PlaneHeader, PlaneShape};
use crate::error::{Error, Result};
use crate::lanes::CARRIED_BYTES;
use crate::planes::MAX_PLANES;

/// How much of so many bytes lanes carry.
pub(crate) const fn carried(stacked: usize) -> usize {
    if stacked < CARRIED_BYTES { stacked } else { CARRIED_BYTES }
}

/// A payload that is written into `out`.
#[derive(Debug)]
pub(super) struct PayloadWriter<'a> {
    out: &'a mut [u8],
    /// Where headers end and the payload begins.
    start: usize,
    end: usize,
}

impl<'a> PayloadWriter<'a> {
    /// The payload begins at `start`.
    pub(super) const fn new(out: &'a mut [u8], start: usize) -> Self {
        Self { out, start, end: start }
    }

    /// Takes what lanes carry off the end. Returns where the end was, too.
    pub(super) fn take(&mut self) -> (usize, [u8; CARRIED_BYTES]) {
        let (end, taken) = (self.end, carried(self.end - self.start));
        let mut bytes = [0; CARRIED_BYTES];
        bytes[..taken].copy_from_slice(&self.out[end - taken..end]);
        self.end -= taken;
        (end, bytes)
    }

    /// Undoes what followed [`PayloadWriter::take`].
    pub(super) fn give_back(&mut self, end: usize, bytes: &[u8; CARRIED_BYTES]) {
        let taken = carried(end - self.start);
        self.out[end - taken..end].copy_from_slice(&bytes[..taken]);
        self.end = end;
    }

    /// Everything behind the end, of which [`PayloadWriter::grow`] makes a part of the payload.
    pub(super) fn free(&mut self) -> &mut [u8] {
        self.out.get_mut(self.end..).unwrap_or_default()
    }

    pub(super) const fn grow(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// Room for so many bytes more, which is no certainty where a sample decided.
    pub(super) fn push(&mut self, bytes: usize) -> Result<&mut [u8]> {
        let (begin, available) = (self.end, self.out.len());
        let needed = begin.saturating_add(bytes);
        self.end = needed;
        self.out.get_mut(begin..needed).ok_or(Error::OutputTooSmall { needed, available })
    }

    /// The end of the payload, counted from the start of `out`.
    pub(super) const fn end(&self) -> usize {
        self.end
    }

    /// Room for the headers.
    pub(super) fn headers(&mut self) -> &mut [u8] {
        &mut self.out[..self.start]
    }
}

/// Sizes of a payload, as the headers of its planes tell them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Bytes of the payload.
    pub(crate) total: usize,
    /// By plane: how many bytes of it the plane's lanes carry.
    pub(crate) carried: [usize; MAX_PLANES],
    /// By plane: how many bytes of the planes behind it there are, less what their lanes carry. The plane's payload
    /// begins there, less what its own lanes carry.
    pub(crate) before: [usize; MAX_PLANES],
}

impl Sizes {
    /// Sizes of at most [`MAX_PLANES`] planes. Hostile headers may say more than there can be; it is counted up to
    /// `usize::MAX`.
    pub(crate) fn of(headers: &[PlaneHeader], shape: impl Fn(usize) -> PlaneShape) -> Self {
        let mut sizes = Self { total: 0, carried: [0; MAX_PLANES], before: [0; MAX_PLANES] };
        for (index, header) in headers.iter().enumerate().rev() {
            sizes.before[index] = sizes.total;
            if let PlaneHeader::Coded(CodedPlane { coder: Coder::Lanes, .. }) = header {
                sizes.carried[index] = carried(sizes.total);
                sizes.total -= sizes.carried[index];
            }
            sizes.total = sizes.total.saturating_add(header.payload_bytes(&shape(index)));
        }
        sizes
    }
}

/// A payload that is read. Its size was checked.
#[derive(Debug)]
pub(crate) struct PayloadReader<'a> {
    stored: &'a [u8],
    /// What was put back last, and how much of that is left.
    returned: [u8; CARRIED_BYTES],
    left: usize,
}

impl<'a> PayloadReader<'a> {
    /// Of [`Sizes::total`] bytes.
    pub(crate) const fn new(payload: &'a [u8]) -> Self {
        Self { stored: payload, returned: [0; CARRIED_BYTES], left: 0 }
    }

    /// The last `size` bytes, put together in `scratch` where they do not lie together.
    pub(super) fn take<'s>(&mut self, size: usize, scratch: &'s mut Vec<u8>) -> Result<&'s [u8]>
    where
        'a: 's,
    {
        let from_returned = size.min(self.left);
        let short = || Error::malformed(WHAT, 0, "a payload shorter than its planes");
        let at = self.stored.len().checked_sub(size - from_returned).ok_or_else(short)?;
        let (rest, stored) = self.stored.split_at(at);
        self.stored = rest;
        if self.left == 0 {
            return Ok(stored);
        }
        scratch.clear();
        scratch.extend_from_slice(stored);
        scratch.extend_from_slice(&self.returned[self.left - from_returned..self.left]);
        self.left -= from_returned;
        Ok(scratch)
    }

    /// Puts back what lanes carried, of which so many bytes belong to the payload. (A plane in lanes is larger than what
    /// can be left, so nothing is.)
    pub(super) fn put_back(&mut self, bytes: &[u8; CARRIED_BYTES], carried: usize) -> Result<()> {
        check_carried(bytes, carried)?;
        (self.returned, self.left) = (*bytes, carried);
        Ok(())
    }
}

/// What lanes carry beyond what there was is zeros.
pub(crate) fn check_carried(bytes: &[u8; CARRIED_BYTES], carried: usize) -> Result<()> {
    if bytes[carried..].iter().any(|&byte| byte != 0) {
        return Err(more_carried());
    }
    Ok(())
}

#[cold]
fn more_carried() -> Error {
    Error::malformed(WHAT, 0, "the lanes carry more than there was to carry")
}
