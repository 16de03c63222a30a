//! Plans: which books a sender considers for a tensor (`Policy`), what a book costs for the counts of a plane
//! (prices), and which book and base, or no book, is best for a plane (`PlaneContext::plan`).
//!
//! The price of a book is exact for the symbols that were counted: the sum of their code lengths, and the raw bits of
//! escapes. A block whose codes turn out to be longer than its elements is stored verbatim.

mod candidates;
mod plane;
mod policy;
mod price;

pub(crate) use candidates::Candidates;
pub(crate) use plane::{Plan, PlaneContext, Taste};
pub use policy::{Choice, Level};
pub(crate) use policy::{LayoutPolicy, Policy};
