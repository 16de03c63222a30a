//! TCP connections between ranks: `huffwire-net`, as `huffwire.distributed.tcp` uses it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use huffwire_net::{Error, Message, Peer, Ports, Secret};
use pyo3::exceptions::{PyConnectionError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::Class;
use crate::memory::{Lent, Output};

/// Does `work` without the interpreter lock; signals that come meanwhile end it with their exception.
fn waiting<R: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut dyn FnMut() -> bool) -> Result<R, Error> + Send,
) -> PyResult<R> {
    watched(py, work, |py| py.check_signals())
}

fn watched<R: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut dyn FnMut() -> bool) -> Result<R, Error> + Send,
    look: impl Fn(Python<'_>) -> PyResult<()> + Sync,
) -> PyResult<R> {
    py.detach(|| {
        let mut raised = None;
        let result = work(&mut || match Python::attach(&look) {
            Ok(()) => true,
            Err(error) => {
                raised = Some(error);
                false
            }
        });
        match (result, raised) {
            (_, Some(error)) => Err(error),
            (Ok(value), None) => Ok(value),
            (Err(error), None) => Err(exception(&error)),
        }
    })
}

fn exception(error: &Error) -> PyErr {
    match error {
        Error::Version { .. } | Error::Unexpected { .. } => {
            Class::Mismatch.error(error.to_string())
        }
        Error::Listen { .. } => Class::Option.error(error.to_string()),
        _ => PyConnectionError::new_err(error.to_string()),
    }
}

fn seconds(timeout: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(timeout)
        .map_err(|error| PyValueError::new_err(format!("a time-out of {timeout} seconds: {error}")))
}

fn secret_of(bytes: &[u8]) -> PyResult<Secret> {
    bytes.try_into().map(Secret::new).map_err(|_| {
        PyValueError::new_err(format!("a secret of {} bytes: 32 are needed", bytes.len()))
    })
}

fn ip(address: &str) -> PyResult<IpAddr> {
    address.parse().map_err(|_| PyValueError::new_err(format!("{address:?} is no IP address")))
}

/// A port on which other ranks reach this one. `address` is an IP address of this machine, `ports` a range such as
/// "29600-29699" or None, `secret` 32 random bytes.
#[pyclass(frozen, module = "huffwire", name = "_Listener")]
pub(crate) struct Listener {
    listener: Mutex<Option<huffwire_net::Listener>>,
    /// The port.
    #[pyo3(get)]
    port: u16,
}

#[pymethods]
impl Listener {
    #[new]
    #[pyo3(signature = (address, ports, secret, /))]
    fn new(address: &str, ports: Option<&str>, secret: &[u8]) -> PyResult<Self> {
        let ports = match ports {
            Some(text) => text.parse().map_err(|error: String| Class::Option.error(error))?,
            None => Ports::ANY,
        };
        let listener = huffwire_net::Listener::bind(ip(address)?, ports, secret_of(secret)?)
            .map_err(|error| exception(&error))?;
        let port = listener.address()?.port();
        Ok(Self { listener: Mutex::new(Some(listener)), port })
    }

    /// Connects this rank with all others. `peers` has the address, the port and the secret of each rank, and None in
    /// the place of this one. `look` is called now and then, and may raise.
    #[pyo3(signature = (rank, peers, timeout, look, /))]
    fn connect(
        &self,
        py: Python<'_>,
        rank: usize,
        peers: Vec<Option<(String, u16, Vec<u8>)>>,
        timeout: f64,
        look: Py<PyAny>,
    ) -> PyResult<Mesh> {
        let peer = |(address, port, secret): (String, u16, Vec<u8>)| {
            Ok(Peer { address: SocketAddr::new(ip(&address)?, port), secret: secret_of(&secret)? })
        };
        let peers: Vec<Option<Peer>> =
            peers.into_iter().map(|each| each.map(peer).transpose()).collect::<PyResult<_>>()?;
        let timeout = seconds(timeout)?;
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let listener =
            listener.ok_or_else(|| PyValueError::new_err("the listener was used already"))?;
        let mesh = watched(
            py,
            |tick| listener.connect(rank, &peers, timeout, tick),
            move |py| {
                py.check_signals()?;
                look.call0(py).map(drop)
            },
        )?;
        Ok(Mesh { mesh })
    }
}

/// The connections between this rank and all others.
#[pyclass(frozen, module = "huffwire", name = "_Mesh")]
pub(crate) struct Mesh {
    mesh: huffwire_net::Mesh,
}

#[pymethods]
impl Mesh {
    /// Starts to send `head`, and behind it so many bytes at an address. They belong to `keeper`, and must stay as
    /// they are until the ticket was waited for.
    #[pyo3(signature = (ranks, head, address, bytes, keeper, /))]
    fn send(
        &self,
        py: Python<'_>,
        ranks: Vec<usize>,
        head: &[u8],
        address: usize,
        bytes: usize,
        keeper: Py<PyAny>,
    ) -> PyResult<Ticket> {
        let message = Message::new(head.to_vec(), Arc::new(Lent::new(address, bytes, keeper)?));
        let ticket = py.detach(|| self.mesh.send(&ranks, message));
        Ok(Ticket { ticket: ticket.map_err(|error| exception(&error))? })
    }

    /// Fills memory with the next bytes from a rank.
    #[pyo3(signature = (rank, out, /))]
    fn receive(&self, py: Python<'_>, rank: usize, mut out: Output) -> PyResult<()> {
        let out = out.apart_from(&[])?;
        waiting(py, |tick| self.mesh.receive(rank, out, tick))
    }

    /// The ranks that have closed their connections to this one, and what is unread of each, up to 4 KiB.
    fn ended<'py>(&self, py: Python<'py>) -> Vec<(usize, Bound<'py, PyBytes>)> {
        let ended = self.mesh.ended().into_iter();
        ended.map(|(rank, unread)| (rank, PyBytes::new(py, &unread))).collect()
    }

    /// Gives up, and tells all ranks by a last message; those that do not take it within `grace` seconds are cut off.
    #[pyo3(signature = (reason, grace, /))]
    fn fail(&self, py: Python<'_>, reason: Vec<u8>, grace: f64) -> PyResult<()> {
        let (reason, grace) = (Message::new(Vec::new(), Arc::new(reason)), seconds(grace)?);
        py.detach(|| self.mesh.fail(reason, grace));
        Ok(())
    }

    /// Ends all connections. Whoever waits gets an error.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.mesh.close());
    }
}

/// A message on its way.
#[pyclass(frozen, module = "huffwire", name = "_Ticket")]
pub(crate) struct Ticket {
    ticket: huffwire_net::Ticket,
}

#[pymethods]
impl Ticket {
    /// Waits until the message was written to all its receivers.
    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        waiting(py, |tick| self.ticket.wait(tick))
    }
}
