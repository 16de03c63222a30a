//! TCP connections between the ranks of a group: bytes in order, within a time-out, from memory that the caller lends.
//!
//! # How a message travels
//!
//! There is one connection for each pair of ranks and direction, and it is opened by the rank that sends. So a rank
//! that has sent everything can close its end, and nothing that it has not read takes back what it wrote. A connection
//! is a plain stream of bytes: whoever reads knows from what was read before how many bytes come next, and the pieces of
//! huffwire begin with headers of fixed length that are checked before anything else happens.
//!
//! [`Mesh::send`] takes a [`Message`]: a head and a body, written one behind the other without a copy. If the connection
//! is idle and the message is short, the calling thread writes it, as far as the system takes it at once. So a short
//! call costs no hand-over between threads. What remains, and all that is long, is written by a thread of the
//! connection, which is started when it is first needed. So the caller codes the next piece while this one is written.
//! A [`Ticket`] tells when all of a message was written.
//!
//! [`Mesh::receive`] fills the memory of the caller, in the caller's thread. Reading ahead is left to the system, whose
//! buffers grow with the link.
//!
//! # How the ranks find each other
//!
//! Each rank listens ([`Listener`]), and tells the others its address and a [`Secret`] by a way of the caller's own.
//! [`Listener::connect`] opens a connection to each of them, and takes one from each of them. A connection begins with a
//! greeting that shows the secret; [`greeting`] has its bytes. Whoever does not show it is dropped: it gets no answer,
//! takes no memory but for its greeting, and delays nobody. The secret keeps strangers out. It is sent as it is, and
//! nothing is encrypted, so who can read or change packets on their way is not kept out.
//!
//! # Failure
//!
//! Each receive and each written message has the time-out of the mesh, and an end of the connection is noticed at once.
//! [`Mesh::fail`] tells the other ranks why this one gives up, and cuts the connections of those that do not listen.
//! [`Mesh::close`] ends everything: calls that wait return, and the threads end. It sends a last byte, by which the other
//! ranks know that nothing went wrong: they may still need each other. [`Mesh::ended`] tells of those that left without
//! it. So a rank that only sends learns that others have failed.

mod address;
mod error;
pub mod greeting;
mod inbox;
mod join;
mod mesh;
mod outbox;
mod socket;

pub use address::Ports;
pub use error::{Error, Result};
pub use greeting::Secret;
pub use join::{Listener, Peer};
pub use mesh::Mesh;
pub use outbox::{Body, Message, Ticket};
