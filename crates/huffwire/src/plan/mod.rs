//! Choosing how to code: what a sender decides once for a tensor ([`Policy`]), what a book costs on the counts of a
//! plane, and which book, which base, or no book at all is best for a plane ([`PlaneContext::plan`]).
//!
//! A book's price on a plane is exact: the sum of the lengths it gives to what the histogram
//! counted, escapes with their raw bits. No code is written before its price is known, so a block
//! never grows beyond its raw form and a small header.

mod plane;
mod policy;
mod price;

pub(crate) use plane::{Plan, PlaneContext, Taste};
pub use policy::{Choice, Level};
pub(crate) use policy::{LayoutPolicy, Policy};
