//! The steps of `cargo xtask test`: what each of them checks, and how.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::builtin;
use crate::cross;
use crate::deny;
use crate::dist;
use crate::documents;
use crate::fuzz;
use crate::kernels;
use crate::layers;
use crate::needs;
use crate::packages;
use crate::python;
use crate::shell::{ROOT, cargo, output, run};
use crate::site;

/// One thing that must hold of the repository.
pub(crate) struct Step {
    /// What a person types to run only this step, or to skip it.
    pub(crate) name: &'static str,
    /// What the step checks, for the help text.
    pub(crate) about: &'static str,
    /// Runs the step.
    pub(crate) run: fn() -> Result<Outcome>,
}

/// How a step that did not fail ended.
pub(crate) enum Outcome {
    /// The step checked what it is there to check.
    Passed,
    /// Something of it was not checked.
    Partly(Vec<Gap>),
}

impl Outcome {
    /// The outcome of a step that left these gaps.
    pub(crate) fn with(gaps: Vec<Gap>) -> Self {
        if gaps.is_empty() { Self::Passed } else { Self::Partly(gaps) }
    }
}

/// Something that a step did not check.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gap {
    /// What it was, or what was missing for it.
    pub(crate) what: String,
    /// What mends it; nothing does when it is this machine that cannot do it.
    pub(crate) remedy: Option<String>,
}

impl Gap {
    /// A gap that this machine has by its nature.
    pub(crate) fn of_machine(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: None }
    }
}

/// Every step, the quickest to fail first.
pub(crate) const ALL: &[Step] = &[
    Step { name: "fmt", about: "all code is formatted", run: fmt },
    Step { name: "clippy", about: "neither the compiler nor clippy has a warning", run: clippy },
    Step { name: "layers", about: "no module imports one that lies higher", run: layers::check },
    Step { name: "unit", about: "all tests pass, once for each instruction set", run: unit },
    Step {
        name: "figures",
        about: "the promised figures hold, on real tensors and on generated ones",
        run: figures,
    },
    Step {
        name: "python",
        about: "the tests of the Python package and of the programs in benches/ and reference/ pass",
        run: python::check,
    },
    Step { name: "doc", about: "the documentation builds without a warning", run: doc },
    Step {
        name: "documents",
        about: "links, anchors, code blocks and commands in all documents hold",
        run: documents::check,
    },
    Step {
        name: "site",
        about: "the documents build as a site, which fits a phone and a desk",
        run: site::check,
    },
    Step {
        name: "deny",
        about: "licences, versions and advisories of all dependencies are as deny.toml says",
        run: deny::check,
    },
    Step {
        name: "books",
        about: "the built-in codebooks are what their program makes",
        run: builtin::check,
    },
    Step {
        name: "kernels",
        about: "the hot kernels are inlined and gather nothing",
        run: kernels::check,
    },
    Step {
        name: "cross",
        about: "the library's tests pass on other processors, emulated",
        run: cross::check,
    },
    Step {
        name: "package",
        about: "what would be published is complete and compiles",
        run: packages::check,
    },
    Step {
        name: "static",
        about: "the static program for this processor is small, and works in an empty root",
        run: dist::check,
    },
    Step { name: "fuzz", about: "no fuzz target fails within a few seconds", run: fuzz::smoke },
];

/// The step called `name`.
pub(crate) fn find(name: &str) -> Result<&'static Step> {
    ALL.iter()
        .find(|step| step.name == name)
        .with_context(|| format!("`{name}` is unknown; `cargo xtask help` lists what there is"))
}

/// The instruction sets of this processor's kind that the library has kernels for, as the values of
/// `HUFFWIRE_PLATFORM`. A new one adds its name here, and `unit` tests it too.
const PLATFORMS: &[&str] = if cfg!(target_arch = "aarch64") {
    &["portable", "neon"]
} else {
    &["portable", "avx2", "avx512"]
};

fn fmt() -> Result<Outcome> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    // The fuzz targets are a workspace of their own.
    run(&mut cargo(&["fmt", "--manifest-path=fuzz/Cargo.toml", "--check"]))?;
    Ok(Outcome::Passed)
}

fn clippy() -> Result<Outcome> {
    let strict = ["--", "-D", "warnings"];
    run(cargo(&["clippy", "--workspace", "--all-targets", "--all-features"]).args(strict))?;
    // Only these see the library bare, and as most programs use it.
    run(cargo(&["clippy", "-p", "huffwire", "--no-default-features"]).args(strict))?;
    run(cargo(&["clippy", "-p", "huffwire", "--all-targets"]).args(strict))?;
    run(cargo(&["clippy", "-p", "huffwire-io", "--no-default-features", "--all-targets"])
        .args(strict))?;
    Ok(Outcome::Passed)
}

fn unit() -> Result<Outcome> {
    // Without its features it must refuse what the others see it read.
    run(&mut cargo(&["test", "-p", "huffwire-io", "--no-default-features", "--test", "files"]))?;
    let mut missing = Vec::new();
    for platform in PLATFORMS {
        // Only the library knows what a platform needs of the processor.
        let probe = ["run", "--quiet", "-p", "huffwire", "--example", "platforms"];
        if output(&mut cargo(&probe))?.lines().any(|available| available == *platform) {
            run(cargo(&["test", "--workspace", "--all-features"])
                .env("HUFFWIRE_PLATFORM", platform))?;
        } else {
            missing.push(*platform);
        }
    }
    let lacking = missing.iter().map(|platform| {
        Gap::of_machine(format!("all tests with {platform}, which this processor lacks"))
    });
    // The tests that need them say so, too, but nobody reads what passing tests print.
    let mut gaps = needs::missing(&["iverilog", "chromium", "python3", "tar"])?;
    gaps.extend(lacking);
    Ok(Outcome::with(gaps))
}

fn figures() -> Result<Outcome> {
    // The whole workspace, so that it is the library that the other tests have compiled.
    let figures = ["test", "--workspace", "--test", "figures"];
    run(&mut cargo(&figures))?;
    run(cargo(&figures).env("HUFFWIRE_TENSORS", "none"))?;
    // Where the tests look for them, too.
    let beside = || Path::new(ROOT).join("../shared/tensors");
    let folder = env::var_os("HUFFWIRE_TENSORS").map_or_else(beside, PathBuf::from);
    Ok(if folder.is_dir() {
        Outcome::Passed
    } else {
        let what = "the figures of real tensors: no folder of them is here (HUFFWIRE_TENSORS)";
        Outcome::with(vec![Gap::of_machine(what)])
    })
}

fn doc() -> Result<Outcome> {
    run(cargo(&["doc", "--workspace", "--no-deps", "--all-features"])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::Passed)
}
