//! What can go wrong with an analysis.

/// Shorthand for a result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] huffwire_io::Error),
    /// The library refused what it was given.
    #[error(transparent)]
    Codec(#[from] huffwire::Error),
    /// The options contradict each other, or name what cannot be done.
    #[error("{0}")]
    Options(String),
    /// The caller's `progress` wanted no more.
    #[error("the analysis was stopped")]
    Stopped,
    /// No file has a tensor with values in it.
    #[error("the input has no tensor with values in it")]
    NoTensor,
}
