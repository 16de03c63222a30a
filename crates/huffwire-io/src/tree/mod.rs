//! Many files in one call: which files become which, found out before anything is written.

mod check;
mod plan;
mod walk;

pub use crate::input::is_same_entry;
pub use plan::{Action, Direction, Job, Link, Plan, Request};
pub use walk::{Entry, EntryKind, kind_of, walk};
