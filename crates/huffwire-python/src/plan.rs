//! The class `_LinkModel`: whether coding pays on a link.

use huffwire::link::{Codec, Collective, Link, Model, Transport, Way};
use pyo3::prelude::*;

use crate::error::{Class, of_codec};

/// How long collectives take on a link, plain and coded: `huffwire::link` of the library.
///
/// All figures are what the ranks have agreed on, so all of them decide alike.
#[pyclass(frozen, module = "huffwire", name = "_LinkModel", skip_from_py_object)]
pub(crate) struct LinkModel {
    model: Model,
}

/// The figures must be positive numbers; a speed may be infinite.
fn positive(name: &str, value: f64) -> PyResult<f64> {
    if value > 0.0 {
        return Ok(value);
    }
    Err(Class::Option.error(format!("{name} must be above 0, not {value}")))
}

fn way_of(name: &str) -> PyResult<Way> {
    match name {
        "plain" => Ok(Way::Plain),
        "raw" => Ok(Way::Raw),
        "coded" => Ok(Way::Coded),
        _ => Err(Class::Option
            .error(format!("no way {name:?}; there are \"plain\", \"raw\" and \"coded\""))),
    }
}

#[pymethods]
impl LinkModel {
    /// A model. `transport` is "gloo", "tcp", "serial" or "overlapped"; `piece` replaces its figure. `one_way` is the
    /// speed while only one way of the link is in use, by default the same.
    #[new]
    #[pyo3(signature = (
        collective, *, bytes_per_second, latency, encode, decode, left, ranks=2, cores=1, fixed=0.0,
        transport="gloo", margin=1.0, piece=None, one_way=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "they are named")]
    fn new(
        collective: &str,
        bytes_per_second: f64,
        latency: f64,
        encode: f64,
        decode: f64,
        left: f64,
        ranks: u32,
        cores: u32,
        fixed: f64,
        transport: &str,
        margin: f64,
        piece: Option<f64>,
        one_way: Option<f64>,
    ) -> PyResult<Self> {
        let collective: Collective = collective.parse().map_err(of_codec)?;
        let base = match transport {
            "gloo" => Transport::gloo(),
            "tcp" => Transport::tcp(),
            "serial" => Transport::serial(),
            "overlapped" => Transport::overlapped(),
            _ => {
                return Err(Class::Option.error(format!(
                    "no transport {transport:?}; there are \"gloo\", \"tcp\", \"serial\" and \"overlapped\""
                )));
            }
        };
        let transport =
            Transport { piece: positive("piece", piece.unwrap_or(base.piece))?, ..base };
        if !(latency >= 0.0 && fixed >= 0.0) || ranks < 1 || cores < 1 {
            return Err(Class::Option
                .error("latency and fixed must be 0 or more, ranks and cores 1 or more"));
        }
        let link = Link {
            bytes_per_second: positive("bytes_per_second", bytes_per_second)?,
            one_way: positive("one_way", one_way.unwrap_or(bytes_per_second))?,
            latency,
        };
        let codec = Codec {
            encode: positive("encode", encode)?,
            decode: positive("decode", decode)?,
            left: positive("left", left)?,
            fixed,
        };
        let margin = positive("margin", margin)?;
        let model = Model::new(link, codec, collective, ranks);
        Ok(Self { model: Model { cores, transport, margin, ..model } })
    }

    /// Seconds that a call on a tensor of so many bytes takes, carried "plain", "raw" or "coded".
    #[pyo3(signature = (way, size, /))]
    fn seconds(&self, way: &str, size: u64) -> PyResult<f64> {
        Ok(self.model.seconds(way_of(way)?, size))
    }

    /// The fastest way for a tensor of so many bytes.
    #[pyo3(signature = (size, /))]
    fn best(&self, size: u64) -> &'static str {
        match self.model.best(size) {
            Way::Plain => "plain",
            Way::Raw => "raw",
            Way::Coded => "coded",
        }
    }

    /// Whether coding is faster than the plain call.
    #[pyo3(signature = (size, /))]
    fn pays(&self, size: u64) -> bool {
        self.model.pays(size)
    }

    /// The smallest size from which on coding pays, or None.
    fn break_even(&self) -> Option<u64> {
        self.model.break_even()
    }

    /// The smallest number of cores with which coding pays, or None.
    #[pyo3(signature = (size, /))]
    fn cores_to_pay(&self, size: u64) -> Option<u32> {
        self.model.cores_to_pay(size)
    }

    /// The smallest number of cores with which coding takes no longer than the link takes for what is left, or None.
    #[pyo3(signature = (size, /))]
    fn cores_to_keep_up(&self, size: u64) -> Option<u32> {
        self.model.cores_to_keep_up(size)
    }

    /// Bytes a second of the fastest link on which coding pays; 0 if there is none.
    #[pyo3(signature = (size, /))]
    fn fastest_link(&self, size: u64) -> f64 {
        self.model.fastest_link(size)
    }
}
