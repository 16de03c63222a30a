//! The order of floors: a module of a crate imports only modules that lie lower.
//!
//! A module right below a crate's root is a room, and has a floor in [`FLOORS`]. Whoever reads a room then needs
//! to know only what lies below it. Within a room files import each other as they like, but not in a circle.

mod circles;
mod house;
mod paths;

use anyhow::{Result, bail};

use crate::steps::{Gap, Outcome};
use house::House;

/// The floors of each crate, the lowest first: the crate's folder in `crates/`, and one of its modules. A crate
/// with a row here must have one for every module. Whoever adds a module picks a floor above all that it imports.
#[rustfmt::skip]
const FLOORS: &[(&str, &str)] = &[
    ("huffwire", "alphabet"),
    ("huffwire", "ids"),
    ("huffwire", "dtype"),
    ("huffwire", "error"),
    ("huffwire", "link"),
    ("huffwire", "wire"),
    ("huffwire", "kernels"),
    ("huffwire", "parallel"),
    ("huffwire", "element"),
    ("huffwire", "planes"),
    ("huffwire", "huffman"),
    ("huffwire", "stats"),
    ("huffwire", "codebook"),
    ("huffwire", "set"),
    ("huffwire", "lanes"),
    ("huffwire", "plane_codec"),
    ("huffwire", "plan"),
    ("huffwire", "block"),
    ("huffwire", "message"),
    ("huffwire", "delta"),
    ("huffwire", "file"),
    ("huffwire", "tensor"),
    ("huffwire", "codec"),
    ("huffwire", "stream"),
    ("huffwire", "calibrate"),
    ("huffwire", "refresh"),
    ("huffwire", "gradient"),
    ("huffwire-analysis", "error"),
    ("huffwire-analysis", "steps"),
    ("huffwire-analysis", "input"),
    ("huffwire-analysis", "derive"),
    ("huffwire-analysis", "options"),
    ("huffwire-analysis", "result"),
    ("huffwire-analysis", "export"),
    ("huffwire-analysis", "families"),
    ("huffwire-analysis", "packed"),
    ("huffwire-analysis", "cut"),
    ("huffwire-analysis", "models"),
    ("huffwire-analysis", "plan"),
    ("huffwire-analysis", "collect"),
    ("huffwire-analysis", "average"),
    ("huffwire-analysis", "price"),
    ("huffwire-analysis", "kind"),
    ("huffwire-analysis", "timeline"),
    ("huffwire-analysis", "measure"),
    ("huffwire-analysis", "report"),
];

pub(crate) fn check() -> Result<Outcome> {
    let mut crates: Vec<&str> = FLOORS.iter().map(|(house, _)| *house).collect();
    crates.dedup();
    if crates.is_empty() {
        return Ok(Outcome::with(vec![Gap::of_machine(
            "the list in xtask/src/layers.rs is empty",
        )]));
    }
    let mut offences = Vec::new();
    for name in crates {
        let floors: Vec<&str> =
            FLOORS.iter().filter(|(house, _)| *house == name).map(|(_, module)| *module).collect();
        offences.extend(House::read(name)?.offences(&floors));
    }
    if offences.is_empty() {
        return Ok(Outcome::Passed);
    }
    for offence in &offences {
        println!("{offence}");
    }
    bail!("{} offences against the floors in xtask/src/layers.rs", offences.len());
}
