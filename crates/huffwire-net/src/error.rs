//! What goes wrong between ranks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The result of what may fail between ranks.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong. Errors can be copied, because all messages behind a failed one fail with it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The other end closed the connection: its process ended, or gave the group up.
    #[error("rank {rank} closed its connection, {missing} bytes early: it ended or gave up")]
    Ended {
        /// The other rank.
        rank: usize,
        /// Bytes that were still expected.
        missing: usize,
    },
    /// The other rank did not send or take anything in time.
    #[error("rank {rank} did not {what} within {} seconds", .after.as_secs_f64())]
    TimedOut {
        /// The other rank.
        rank: usize,
        /// What it did not do.
        what: &'static str,
        /// The time-out.
        after: Duration,
    },
    /// The connection broke.
    #[error("the connection to rank {rank} failed: {source}")]
    Broken {
        /// The other rank.
        rank: usize,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// No connection could be opened.
    #[error("no connection to rank {rank} at {address}: {source}")]
    Unreachable {
        /// The other rank.
        rank: usize,
        /// Where it listens.
        address: std::net::SocketAddr,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// Who listens at the address of a rank is not that rank.
    #[error("who listens at {address} is not rank {rank} of this group")]
    Stranger {
        /// The rank that should listen there.
        rank: usize,
        /// The address.
        address: std::net::SocketAddr,
    },
    /// A rank has another version of this crate's protocol.
    #[error(
        "a rank of the group has version {theirs} of the protocol, and this rank version {ours}: install the same \
         version on all ranks"
    )]
    Version {
        /// The other rank's version.
        theirs: u8,
        /// This rank's version.
        ours: u8,
    },
    /// A rank does not expect this one: the ranks have different numbers of ranks, or one was started twice.
    #[error(
        "rank {rank} does not expect a connection from rank {from}: another process has its place"
    )]
    Unexpected {
        /// The rank that was called.
        rank: usize,
        /// The rank that called.
        from: usize,
    },
    /// No port could be listened on.
    #[error("cannot listen on {address}, {ports}: {source}")]
    Listen {
        /// The address.
        address: std::net::IpAddr,
        /// Which ports were tried.
        ports: String,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// This end was closed, or gave up after another failure.
    #[error("the connections of this rank were closed")]
    Closed,
    /// A thread could not be started.
    #[error("no thread can be started: {0}")]
    Thread(Arc<io::Error>),
    /// Whoever waits was asked to stop waiting.
    #[error("interrupted")]
    Interrupted,
}
