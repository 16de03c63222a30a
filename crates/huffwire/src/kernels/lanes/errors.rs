//! Errors of lane coders. All platforms report the same errors.

use crate::error::Error;

const WHAT: &str = "a coded plane";

/// Nobody asks a coder to split or merge without asking [`fuses`](super::fuses) first.
#[cold]
pub(super) const fn not_fused() -> Error {
    Error::InvalidOption(std::borrow::Cow::Borrowed(
        "this platform does not split and merge on its way",
    ))
}

#[cold]
pub(crate) const fn no_room(needed: usize, available: usize) -> Error {
    Error::OutputTooSmall { needed, available }
}

#[cold]
pub(crate) fn no_sentinel(lane: usize) -> Error {
    Error::malformed(WHAT, 0, format!("the state of lane {lane} lacks its sentinel bit"))
}

#[cold]
pub(crate) fn out_of_words() -> Error {
    Error::malformed(WHAT, 0, "the lanes want more words than the stream has")
}

#[cold]
pub(crate) fn wrong_count() -> Error {
    Error::malformed(WHAT, 0, "the decoded symbols do not match the counts in the header")
}

#[cold]
pub(crate) fn wrong_end() -> Error {
    Error::malformed(WHAT, 0, "the lanes do not end where an encoder begins")
}
