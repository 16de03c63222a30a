//! The one codec of planes: symbols of 1 to 8 bits to a header and a payload, and back.
//!
//! Nothing here knows element types or layouts. Whoever has planes (a block of a tensor, a bitmap of quantized
//! values) says of each one what its alphabet is and how many symbols it has ([`PlaneShape`]), and how it is to be
//! stored ([`PlaneHeader`], which [`crate::plan`] makes of counts). See `docs/format.md`, sections 7.2 to 7.5.
//!
//! ```text
//! headers: plane 0, plane 1, ..., the last plane
//! payload: the last plane, ..., plane 1, plane 0      a stack; lanes carry the end of what lies before them
//! ```
//!
//! | to write | to read |
//! |---|---|
//! | [`PlaneWriter::write`]: all planes, headers and payload | [`PlaneHeader::read`]: one header after the other |
//! | | [`Sizes::of`]: where the payload ends, what each plane's lanes carry |
//! | | [`PlaneReader::read`]: one plane after the other, plane 0 first |

mod header;
mod payload;
mod read;
mod single;
mod slots;
mod write;

pub use header::Coder;
pub(crate) use header::{
    BITS12_FROM, BookRef, CodedPlane, MAX_PLANE_HEADER_BYTES, PlaneHeader, PlaneShape,
    SINGLE_BELOW,
};
pub(crate) use payload::{PayloadReader, Sizes, carried, check_carried};
pub(crate) use read::{PlaneReader, PlaneToRead, check_padding, is_beyond, outside};
pub(crate) use write::{PlaneToWrite, PlaneWriter, room};

/// How errors name what is coded here.
const WHAT: &str = "a block";
