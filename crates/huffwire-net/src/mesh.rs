//! All connections of a rank.

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{mem, process};

use crate::error::{Error, Result};
use crate::inbox::Inbox;
use crate::outbox::{self, Message, Outbox, Ticket};

/// The connections between this rank and all others.
pub struct Mesh {
    connections: Vec<Option<Connection>>,
    timeout: Duration,
    process: u32,
}

pub(crate) struct Connection {
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
}

impl Mesh {
    /// A mesh of connections by the rank at their other end; this rank has none.
    pub(crate) fn new(connections: Vec<Option<Connection>>, timeout: Duration) -> Self {
        Self { connections, timeout, process: process::id() }
    }

    fn connection(&self, rank: usize) -> Result<&Connection> {
        self.connections.get(rank).and_then(Option::as_ref).ok_or(Error::Closed)
    }

    /// Starts to send a message to some ranks.
    ///
    /// # Errors
    /// [`Error::Closed`] for a rank that there is no connection to. What goes wrong later, the ticket tells.
    pub fn send(&self, ranks: &[usize], message: Message) -> Result<Ticket> {
        let outboxes: Vec<&Outbox> =
            ranks.iter().map(|&rank| Ok(&self.connection(rank)?.outbox)).collect::<Result<_>>()?;
        Ok(outbox::send(outboxes.into_iter(), message))
    }

    /// Fills `into` with the next bytes from a rank. `tick` is called now and then while there are none, and says whether
    /// to go on.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Ended`], [`Error::Broken`], [`Error::Closed`], [`Error::Interrupted`].
    pub fn receive(
        &self,
        rank: usize,
        into: &mut [u8],
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        self.connection(rank)?.inbox.receive(into, self.timeout, tick)
    }

    /// The ranks that have closed their connections to this one other than by [`Mesh::close`], and what is unread of each,
    /// up to 4 KiB.
    pub fn ended(&self) -> Vec<(usize, Vec<u8>)> {
        let each = self.connections.iter().enumerate();
        each.filter_map(|(rank, connection)| {
            Some((rank, connection.as_ref()?.inbox.unread_if_ended()?))
        })
        .collect()
    }

    /// Gives up: sends a last message to all ranks, in place of all that is not on its way yet. Ranks that do not take it
    /// within `grace` are cut off. When this returns, the memory of no message is read any more.
    pub fn fail(&self, reason: Message, grace: Duration) {
        let (reason, until) = (Arc::new(reason), Instant::now() + grace);
        let outboxes = || self.connections.iter().flatten().map(|connection| &connection.outbox);
        let last: Vec<Ticket> =
            outboxes().map(|outbox| outbox.put_last(Arc::clone(&reason), until)).collect();
        for (outbox, last) in outboxes().zip(&last) {
            outbox.settle(last);
        }
    }

    /// Ends all connections and threads. Whoever waits gets [`Error::Closed`].
    pub fn close(&self) {
        // A fork has no threads of its own, and what it did to a connection would be done to its parent's.
        if self.process == process::id() {
            for connection in self.connections.iter().flatten() {
                connection.inbox.close();
                connection.outbox.close();
            }
        }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.close();
        if self.process != process::id() {
            // A lock may be held by a thread that the fork does not have.
            mem::forget(mem::take(&mut self.connections));
        }
    }
}
