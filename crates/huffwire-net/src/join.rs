//! How the ranks of a group come to their connections.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::address::Ports;
use crate::error::{Error, Result};
use crate::greeting::{
    ANSWER, Answer, Caller, GREETING, Heard, Secret, Status, VERSION, answer, greeting, hear,
    may_be_greeting, read_answer,
};
use crate::inbox::Inbox;
use crate::mesh::{Connection, Mesh};
use crate::outbox::Outbox;
use crate::socket::{TICK, again, prepare};

/// Who connects has so long for its greeting.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that have not greeted yet, beside those of the ranks. With more of them, the oldest is dropped.
const STRANGERS: usize = 64;
/// One attempt to connect takes so long at most.
const ATTEMPT: Duration = Duration::from_secs(1);
/// How long a rank that has nothing to do waits before it looks again.
const PAUSE: Duration = Duration::from_micros(300);

/// Where another rank listens, and what to show there.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The address.
    pub address: SocketAddr,
    /// The secret of the other rank.
    pub secret: Secret,
}

/// A port on which the other ranks reach this one.
pub struct Listener {
    listener: TcpListener,
    secret: Secret,
}

impl Listener {
    /// Listens on the first free port.
    ///
    /// # Errors
    /// [`Error::Listen`] if none is free, or the address is not one of this machine.
    pub fn bind(address: IpAddr, ports: Ports, secret: Secret) -> Result<Self> {
        let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
        for port in ports.each() {
            let bound = TcpListener::bind((address, port));
            let bound =
                bound.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
            match bound {
                Ok(listener) => return Ok(Self { listener, secret }),
                Err(error) => failure = error,
            }
        }
        Err(Error::Listen { address, ports: ports.to_string(), source: Arc::new(failure) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Connects this rank with all others, which call this, too.
    ///
    /// # Arguments
    /// `peers`: for each rank where it listens; `None` in the place of this rank. `timeout`: how long this may take, and
    /// later each receive and each written message. `tick`: is called now and then, and says whether to go on.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Unreachable`], [`Error::Stranger`], [`Error::Version`], [`Error::Unexpected`],
    /// [`Error::Ended`], [`Error::Broken`], [`Error::Interrupted`].
    pub fn connect(
        self,
        rank: usize,
        peers: &[Option<Peer>],
        timeout: Duration,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<Mesh> {
        let deadline = Instant::now() + timeout;
        let mut door = Door::new(self, rank, peers.len());
        let mut calls: Vec<Option<Call>> = Vec::with_capacity(peers.len());
        for (to, peer) in peers.iter().enumerate() {
            let call = match peer {
                Some(peer) => {
                    let caller = door.caller(rank, to);
                    let stream = open(to, peer, deadline, || {
                        door.serve()?;
                        Ok(tick())
                    })?;
                    Some(Call::new(to, *peer, stream, caller)?)
                }
                None => None,
            };
            calls.push(call);
            door.serve()?;
        }
        let mut next_tick = Instant::now() + TICK;
        loop {
            let mut busy = door.serve()?;
            let mut waits_for = None;
            for call in calls.iter_mut().flatten() {
                busy |= call.go_on()?;
                waits_for = waits_for.or_else(|| (!call.welcome).then_some(call.rank));
            }
            waits_for = waits_for.or_else(|| door.missing(peers));
            let Some(rank) = waits_for else { break };
            let now = Instant::now();
            if now >= deadline {
                return Err(Error::TimedOut { rank, what: "connect", after: timeout });
            }
            if now >= next_tick {
                if !tick() {
                    return Err(Error::Interrupted);
                }
                next_tick = now + TICK;
            }
            if !busy {
                thread::sleep(PAUSE);
            }
        }
        let connections = calls.into_iter().zip(door.taken).enumerate();
        let connections = connections.map(|(rank, (call, taken))| {
            let (call, taken) = (call?, taken?);
            Some(Connection {
                outbox: Outbox::new(rank, call.stream, timeout),
                inbox: Inbox::new(rank, taken),
            })
        });
        Ok(Mesh::new(connections.collect(), timeout))
    }
}

fn broken(rank: usize, source: io::Error) -> Error {
    Error::Broken { rank, source: Arc::new(source) }
}

/// Opens a connection. The other rank listens before it tells its address, so a refusal is final.
fn open(
    rank: usize,
    peer: &Peer,
    deadline: Instant,
    mut between: impl FnMut() -> Result<bool>,
) -> Result<TcpStream> {
    let address = peer.address;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let tried = TcpStream::connect_timeout(&address, left.min(ATTEMPT).max(PAUSE));
        let failure = match tried {
            Ok(stream) => {
                prepare(&stream).map_err(|source| broken(rank, source))?;
                return Ok(stream);
            }
            Err(error) => error,
        };
        let kind = failure.kind();
        let slow = matches!(kind, io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
        if !slow || left.is_zero() {
            return Err(Error::Unreachable { rank, address, source: Arc::new(failure) });
        }
        if !between()? {
            return Err(Error::Interrupted);
        }
    }
}

/// A connection that this rank has opened, until it is answered.
struct Call {
    rank: usize,
    peer: Peer,
    stream: TcpStream,
    answer: [u8; ANSWER],
    read: usize,
    welcome: bool,
    caller: Caller,
}

impl Call {
    fn new(rank: usize, peer: Peer, stream: TcpStream, caller: Caller) -> Result<Self> {
        // The buffers of a new connection have room for it.
        (&stream)
            .write_all(&greeting(caller, &peer.secret))
            .map_err(|source| broken(rank, source))?;
        Ok(Self { rank, peer, stream, answer: [0; ANSWER], read: 0, welcome: false, caller })
    }

    /// Reads what has come of the answer; whether anything had.
    fn go_on(&mut self) -> Result<bool> {
        if self.welcome {
            return Ok(false);
        }
        let rank = self.rank;
        match (&self.stream).read(&mut self.answer[self.read..]) {
            Ok(0) => return Err(Error::Ended { rank, missing: ANSWER - self.read }),
            Ok(more) => self.read += more,
            Err(error) if again(&error) => return Ok(false),
            Err(error) => return Err(broken(rank, error)),
        }
        if self.read == ANSWER {
            match read_answer(&self.answer, &self.peer.secret) {
                Answer::Welcome => self.welcome = true,
                Answer::Stranger => {
                    return Err(Error::Stranger { rank, address: self.peer.address });
                }
                Answer::OtherVersion(theirs) => {
                    return Err(Error::Version { theirs, ours: VERSION });
                }
                Answer::Unexpected => {
                    return Err(Error::Unexpected { rank, from: self.caller.from as usize });
                }
            }
        }
        Ok(true)
    }
}

/// Where connections come in, and what is known of them.
struct Door {
    listener: Listener,
    rank: usize,
    /// The connections of other ranks, by their rank.
    taken: Vec<Option<TcpStream>>,
    strangers: Vec<Stranger>,
}

/// A connection that has not greeted yet.
struct Stranger {
    stream: TcpStream,
    greeting: [u8; GREETING],
    read: usize,
    until: Instant,
}

impl Stranger {
    /// Reads what has come; `None` if this will be no greeting.
    fn go_on(&mut self) -> Option<usize> {
        match (&self.stream).read(&mut self.greeting[self.read..]) {
            Ok(0) => return None,
            Ok(more) => self.read += more,
            Err(error) if again(&error) => {}
            Err(_) => return None,
        }
        let so_far = may_be_greeting(&self.greeting[..self.read]);
        (so_far && (self.read == GREETING || Instant::now() < self.until)).then_some(self.read)
    }
}

impl Door {
    fn new(listener: Listener, rank: usize, ranks: usize) -> Self {
        let taken = (0..ranks).map(|_| None).collect();
        Self { listener, rank, taken, strangers: Vec::new() }
    }

    fn caller(&self, from: usize, to: usize) -> Caller {
        // Groups are smaller.
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Caller { from: number(from), to: number(to), ranks: number(self.taken.len()) }
    }

    /// A rank that has not connected yet.
    fn missing(&self, peers: &[Option<Peer>]) -> Option<usize> {
        let both = self.taken.iter().zip(peers);
        both.enumerate()
            .find(|(_, (taken, peer))| taken.is_none() && peer.is_some())
            .map(|(rank, _)| rank)
    }

    /// Lets in whoever is there and greets; whether anybody was.
    fn serve(&mut self) -> Result<bool> {
        let mut busy = false;
        // A connection that broke before it was taken, or a lack of file numbers, ends this round alone.
        while let Ok((stream, _)) = self.listener.listener.accept() {
            busy = true;
            if prepare(&stream).is_err() {
                continue;
            }
            if self.strangers.len() >= STRANGERS + self.taken.len() {
                self.strangers.remove(0);
            }
            let until = Instant::now() + PATIENCE;
            self.strangers.push(Stranger { stream, greeting: [0; GREETING], read: 0, until });
        }
        let mut index = 0;
        while let Some(stranger) = self.strangers.get_mut(index) {
            match stranger.go_on() {
                Some(GREETING) => {
                    let stranger = self.strangers.remove(index);
                    self.let_in(stranger)?;
                    busy = true;
                }
                Some(_) => index += 1,
                None => drop(self.strangers.remove(index)),
            }
        }
        Ok(busy)
    }

    /// Answers a greeting.
    fn let_in(&mut self, stranger: Stranger) -> Result<()> {
        let secret = self.listener.secret;
        let reply = |status| {
            // The buffers of a new connection have room for it; who is gone by now is noticed when it is needed.
            let _ = (&stranger.stream).write_all(&answer(status, &secret));
        };
        match hear(&stranger.greeting, &secret) {
            Heard::Member(caller) => {
                let from = caller.from as usize;
                let expected = from != self.rank && caller == self.caller(from, self.rank);
                match self.taken.get_mut(from) {
                    Some(place @ None) if expected => {
                        reply(Status::Welcome);
                        *place = Some(stranger.stream);
                    }
                    _ => reply(Status::Unexpected),
                }
            }
            Heard::OtherVersion(theirs) => {
                reply(Status::OtherVersion);
                return Err(Error::Version { theirs, ours: VERSION });
            }
            Heard::Malformed => reply(Status::Unexpected),
            Heard::Stranger => {}
        }
        Ok(())
    }
}
