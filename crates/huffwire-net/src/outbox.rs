//! The sending end of a connection: messages, their tickets, and the thread that writes them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::socket::{FAREWELL, TICK, Until, again, wait, write};

/// Messages up to this length are written by the thread that sends them, if the connection is idle: copying them to
/// the system takes less time than waking another thread.
const SHORT: usize = 64 << 10;

/// The stack of a thread that writes: it calls nothing deep.
const STACK: usize = 128 << 10;

/// Memory that a message's body lies in. It is read until the message was written or has failed, and then dropped.
pub type Body = Arc<dyn AsRef<[u8]> + Send + Sync>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under a lock panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells when a message was written to all its receivers.
#[derive(Clone)]
pub struct Ticket(Arc<(Mutex<Progress>, Condvar)>);

struct Progress {
    unwritten: usize,
    error: Option<Error>,
}

impl Ticket {
    fn new(receivers: usize) -> Self {
        Self(Arc::new((Mutex::new(Progress { unwritten: receivers, error: None }), Condvar::new())))
    }

    fn end(&self, result: Result<()>) {
        let (progress, changed) = &*self.0;
        let mut progress = lock(progress);
        progress.unwritten -= 1;
        if let Err(error) = result {
            progress.error.get_or_insert(error);
        }
        changed.notify_all();
    }

    /// Waits until the message was written to all receivers, or to one of them not. `tick` is called now and then, and
    /// says whether to go on.
    ///
    /// # Errors
    /// Why it was not written; [`Error::Interrupted`].
    pub fn wait(&self, tick: &mut dyn FnMut() -> bool) -> Result<()> {
        let (progress, changed) = &*self.0;
        let mut progress = lock(progress);
        loop {
            if let Some(error) = &progress.error {
                return Err(error.clone());
            }
            if progress.unwritten == 0 {
                return Ok(());
            }
            let (held, waited) =
                changed.wait_timeout(progress, TICK).unwrap_or_else(PoisonError::into_inner);
            progress = held;
            if waited.timed_out() {
                drop(progress);
                if !tick() {
                    return Err(Error::Interrupted);
                }
                progress = lock(&self.0.0);
            }
        }
    }

    /// Waits until the memory of the message is no longer read, whether it was written or not.
    fn settle(&self) {
        let (progress, changed) = &*self.0;
        let mut progress = lock(progress);
        while progress.unwritten > 0 {
            progress = changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A head and a body that travel one behind the other.
pub struct Message {
    head: Vec<u8>,
    body: Body,
}

impl Message {
    /// A message. The head is meant to be short.
    pub fn new(head: Vec<u8>, body: Body) -> Self {
        Self { head, body }
    }

    fn len(&self) -> usize {
        self.head.len() + (*self.body).as_ref().len()
    }
}

/// Sends a message to the receivers, and returns the ticket for all of them.
pub(crate) fn send<'a>(
    outboxes: impl ExactSizeIterator<Item = &'a Outbox>,
    message: Message,
) -> Ticket {
    let ticket = Ticket::new(outboxes.len());
    let message = Arc::new(message);
    for outbox in outboxes {
        outbox.put(Entry::new(Arc::clone(&message), ticket.clone()));
    }
    ticket
}

/// A message on its way to one receiver.
struct Entry {
    message: Option<Arc<Message>>,
    length: usize,
    written: usize,
    ticket: Ticket,
}

impl Entry {
    fn new(message: Arc<Message>, ticket: Ticket) -> Self {
        Self { length: message.len(), message: Some(message), written: 0, ticket }
    }

    /// Writes what the system takes at once; whether that was all.
    fn write_some(&mut self, stream: &TcpStream) -> io::Result<bool> {
        let Some(message) = &self.message else { return Ok(true) };
        let (head, body) = (message.head.as_slice(), (*message.body).as_ref());
        while self.written < self.length {
            let parts = [
                IoSlice::new(head.get(self.written..).unwrap_or_default()),
                IoSlice::new(&body[self.written.saturating_sub(head.len())..]),
            ];
            match write(stream, &parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => self.written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if again(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn end(mut self, result: Result<()>) {
        // The memory is let go first: who waits for the ticket may take it back.
        self.message = None;
        self.ticket.end(result);
    }
}

/// What this rank sends to one other.
pub(crate) struct Outbox(Arc<Shared>);

struct Shared {
    rank: usize,
    stream: TcpStream,
    timeout: Duration,
    state: Mutex<State>,
    /// Told to the thread: there is something to write, or no more.
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Entry>,
    /// Somebody writes, and nobody else may.
    writing: bool,
    /// Why nothing is sent any more.
    broken: Option<Error>,
    /// What is in the queue is the last; it is written until then, or not at all.
    last: Option<Instant>,
    thread: Option<JoinHandle<()>>,
}

impl State {
    /// Gives up: nothing is sent any more.
    fn give_up(&mut self, error: &Error) {
        self.broken.get_or_insert_with(|| error.clone());
        for entry in self.queue.drain(..) {
            entry.end(Err(error.clone()));
        }
    }
}

impl Outbox {
    pub(crate) fn new(rank: usize, stream: TcpStream, timeout: Duration) -> Self {
        let (state, work) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { rank, stream, timeout, state, work }))
    }

    fn put(&self, mut entry: Entry) {
        let shared = &*self.0;
        let mut state = lock(&shared.state);
        let idle = state.queue.is_empty() && !state.writing;
        if idle && state.broken.is_none() && entry.length <= SHORT {
            state.writing = true;
            drop(state);
            let written = entry.write_some(&shared.stream);
            state = lock(&shared.state);
            state.writing = false;
            match written {
                Ok(true) => {
                    entry.end(Ok(()));
                    if !state.queue.is_empty() {
                        shared.work.notify_one();
                    }
                    return;
                }
                Ok(false) => {}
                Err(source) => state.give_up(&shared.broken(source)),
            }
        }
        if let Some(error) = &state.broken {
            let error = error.clone();
            drop(state);
            entry.end(Err(error));
            return;
        }
        // Others may have been put behind it meanwhile.
        if entry.written > 0 {
            state.queue.push_front(entry)
        } else {
            state.queue.push_back(entry)
        }
        self.start(&mut state);
    }

    /// Has the thread look at the queue.
    fn start(&self, state: &mut State) {
        if state.thread.is_none() {
            let shared = Arc::clone(&self.0);
            let thread = Builder::new().name(format!("huffwire-to-{}", shared.rank));
            match thread.stack_size(STACK).spawn(move || shared.run()) {
                Ok(thread) => state.thread = Some(thread),
                Err(error) => state.give_up(&Error::Thread(Arc::new(error))),
            }
        }
        self.0.work.notify_one();
    }

    /// Puts a last message, in place of all that nothing was written of yet. Whatever is not written by then is not.
    pub(crate) fn put_last(&self, message: Arc<Message>, until: Instant) -> Ticket {
        let ticket = Ticket::new(1);
        let entry = Entry::new(message, ticket.clone());
        let mut state = lock(&self.0.state);
        let begun = state.queue.iter().take_while(|entry| entry.written > 0).count();
        for dropped in state.queue.drain(begun..) {
            dropped.end(Err(Error::Closed));
        }
        if let Some(error) = &state.broken {
            entry.end(Err(error.clone()));
        } else {
            state.queue.push_back(entry);
            state.last = Some(until);
            self.start(&mut state);
        }
        ticket
    }

    /// Waits until a last message was written or given up. No memory of any message is read then.
    pub(crate) fn settle(&self, last: &Ticket) {
        last.settle();
        let mut state = lock(&self.0.state);
        state.give_up(&Error::Closed);
    }

    /// Ends the connection at once. If everything was written, the other end is told that this is no failure.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.0.state);
        if state.queue.is_empty() && !state.writing && state.broken.is_none() {
            // Who is gone needs no farewell.
            let _ = write(&self.0.stream, &[IoSlice::new(&FAREWELL), IoSlice::new(&[])]);
        }
        state.give_up(&Error::Closed);
        // It fails only where the connection has ended already.
        let _ = self.0.stream.shutdown(Shutdown::Both);
        self.0.work.notify_one();
        let thread = state.thread.take();
        drop(state);
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn broken(&self, source: io::Error) -> Error {
        Error::Broken { rank: self.rank, source: Arc::new(source) }
    }

    /// Writes what is in the queue until nothing more will be.
    fn run(&self) {
        while let Some(mut entry) = self.next() {
            let result = self.write_all(&mut entry);
            let mut state = lock(&self.state);
            state.writing = false;
            if let Err(error) = &result {
                state.give_up(error);
                // The other end must not take what was written for all.
                let _ = self.stream.shutdown(Shutdown::Both);
            }
            drop(state);
            entry.end(result);
        }
    }

    fn next(&self) -> Option<Entry> {
        let mut state = lock(&self.state);
        loop {
            if !state.writing
                && let Some(entry) = state.queue.pop_front()
            {
                state.writing = true;
                return Some(entry);
            }
            if state.last.is_some() && !state.writing {
                let _ = self.stream.shutdown(Shutdown::Write);
                return None;
            }
            if state.broken.is_some() {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write_all(&self, entry: &mut Entry) -> Result<()> {
        let deadline = Instant::now() + self.timeout;
        while !entry.write_some(&self.stream).map_err(|source| self.broken(source))? {
            let last = {
                let state = lock(&self.state);
                if state.broken.is_some() {
                    return Err(Error::Closed);
                }
                state.last
            };
            let now = Instant::now();
            if last.is_some_and(|last| now >= last) {
                return Err(Error::Closed);
            }
            if now >= deadline {
                let (rank, after) = (self.rank, self.timeout);
                return Err(Error::TimedOut { rank, what: "take what was sent to it", after });
            }
            wait(&self.stream, Until::Writable, deadline).map_err(|source| self.broken(source))?;
        }
        Ok(())
    }
}
