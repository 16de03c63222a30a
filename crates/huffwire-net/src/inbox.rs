//! The receiving end of a connection.

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::socket::{FAREWELL, Until, again, is_ended, wait};

/// What one rank sends to this one.
pub(crate) struct Inbox {
    rank: usize,
    stream: TcpStream,
    closed: AtomicBool,
}

impl Inbox {
    pub(crate) const fn new(rank: usize, stream: TcpStream) -> Self {
        Self { rank, stream, closed: AtomicBool::new(false) }
    }

    /// Fills `into` with what comes next. `tick` is called now and then, and says whether to go on.
    pub(crate) fn receive(
        &self,
        mut into: &mut [u8],
        timeout: Duration,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        let rank = self.rank;
        let deadline = Instant::now() + timeout;
        let mut stream = &self.stream;
        while !into.is_empty() {
            match stream.read(into) {
                Ok(0) if self.closed.load(Ordering::Acquire) => return Err(Error::Closed),
                Ok(0) => return Err(Error::Ended { rank, missing: into.len() }),
                Ok(read) => into = &mut into[read..],
                Err(error) if again(&error) => {
                    if self.closed.load(Ordering::Acquire) {
                        return Err(Error::Closed);
                    }
                    if Instant::now() >= deadline {
                        return Err(Error::TimedOut { rank, what: "send", after: timeout });
                    }
                    if !tick() {
                        return Err(Error::Interrupted);
                    }
                    wait(stream, Until::Readable, deadline)
                        .map_err(|source| Error::Broken { rank, source: Arc::new(source) })?;
                }
                Err(source) => return Err(Error::Broken { rank, source: Arc::new(source) }),
            }
        }
        Ok(())
    }

    /// What is unread of a connection that the other end has closed, up to 4 KiB; `None` if it is open, or was closed
    /// with a farewell.
    pub(crate) fn unread_if_ended(&self) -> Option<Vec<u8>> {
        if !is_ended(&self.stream) {
            return None;
        }
        let mut unread = vec![0; 4096];
        let found = self.stream.peek(&mut unread).unwrap_or(0);
        unread.truncate(found);
        (unread != FAREWELL).then_some(unread)
    }

    /// Ends the connection; whoever waits for bytes gets an error.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // It fails only where the connection has ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
