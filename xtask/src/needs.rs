//! What the steps need besides a Rust toolchain and a C compiler: one table, with the reason for each row.
//!
//! `cargo xtask test --install` brings what is missing. Without it a step does what it can and tells of the rest.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::shell::{output, program, run};
use crate::steps::Gap;

/// Something that a step needs of the system.
pub(crate) struct Need {
    /// The step that needs it; `dist` is none, and is asked for by itself.
    step: &'static str,
    source: Source,
    /// What it is called where it comes from.
    name: &'static str,
    /// What it does for the step.
    reason: &'static str,
}

/// Where something comes from, and how to see whether it is there.
enum Source {
    /// A target of the Rust toolchain, from rustup.
    Rust,
    /// A package of Debian and its relatives; there is one when this command succeeds.
    Debian(&'static [&'static str]),
}

const fn rust(step: &'static str, name: &'static str, reason: &'static str) -> Need {
    Need { step, source: Source::Rust, name, reason }
}

const fn debian(
    step: &'static str,
    name: &'static str,
    sign: &'static [&'static str],
    reason: &'static str,
) -> Need {
    Need { step, source: Source::Debian(sign), name, reason }
}

const PYTHON: &[&str] = &["python3", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"];
const GNU_TAR: &[&str] = &["tar", "--sort=name", "--version"];
const VENV: &[&str] = &["python3", "-c", "import ensurepip, venv"];
const AARCH64_LIBC: &[&str] = &["test", "-e", "/usr/aarch64-linux-gnu/lib/crt1.o"];
const S390X_LIBC: &[&str] = &["test", "-e", "/usr/s390x-linux-gnu/lib/crt1.o"];
const I686_LIBC: &[&str] = &["test", "-e", "/usr/i686-linux-gnu/lib/crt1.o"];

/// Everything. A new row needs nothing else: a step asks with [`missing`].
#[rustfmt::skip]
const NEEDS: &[Need] = &[
    debian("unit", "iverilog", &["iverilog", "-V"], "simulates the exported decoders in SystemVerilog"),
    debian("unit", "chromium", &["chromium", "--version"], "shows pages as readers see them"),
    debian("unit", "python3", PYTHON, "runs programs of the repository (3.11 or newer)"),
    debian("unit", "tar", GNU_TAR, "packs the same files into the same archive (that of GNU)"),

    debian("python", "python3", PYTHON, "runs programs of the repository (3.11 or newer)"),
    debian("python", "python3-venv", VENV, "keeps numpy and torch inside the checkout"),
    debian("python", "iproute2", &["tc", "-Version"], "makes slow wires for collectives"),

    debian("cross", "qemu-user", &["qemu-s390x", "--version"], "runs programs for other processors"),
    rust("cross", "aarch64-unknown-linux-gnu", "compiles for another processor"),
    debian("cross", "gcc-aarch64-linux-gnu", &["aarch64-linux-gnu-gcc", "--version"], "links for it"),
    debian("cross", "libc6-dev-arm64-cross", AARCH64_LIBC, "has its C library"),
    rust("cross", "s390x-unknown-linux-gnu", "compiles for one with the highest byte first"),
    debian("cross", "gcc-s390x-linux-gnu", &["s390x-linux-gnu-gcc", "--version"], "links for it"),
    debian("cross", "libc6-dev-s390x-cross", S390X_LIBC, "has its C library"),
    rust("cross", "i686-unknown-linux-gnu", "compiles for one with a usize of 32 bits"),
    debian("cross", "gcc-i686-linux-gnu", &["i686-linux-gnu-gcc", "--version"], "links for it"),
    debian("cross", "libc6-dev-i386-cross", I686_LIBC, "has its C library"),

    debian("site", "chromium", &["chromium", "--version"], "shows pages as readers see them"),

    rust("static", "x86_64-unknown-linux-musl", "has a C library that is linked into programs"),
    rust("dist", "aarch64-unknown-linux-musl", "has a C library that is linked into programs"),
    rust("dist", "x86_64-unknown-linux-gnu", "is what the wheel for x86-64 is compiled for"),
    rust("dist", "aarch64-apple-darwin", "compiles for macOS"),
    rust("dist", "x86_64-pc-windows-gnu", "compiles for Windows"),
    debian("dist", "gcc-mingw-w64-x86-64", &["x86_64-w64-mingw32-gcc", "--version"], "links the wheel for it"),

    debian("fuzz", "g++", &["g++", "--version"], "compiles libFuzzer, and the emulator of a GPU's kernels"),
];

impl Need {
    fn is_there(&self) -> Result<bool> {
        match self.source {
            Source::Rust => {
                // rustc names the folder whether or not the target is installed.
                let folder = ["--print=target-libdir", "--target", self.name];
                Ok(Path::new(&output(program("rustc").args(folder))?).exists())
            }
            Source::Debian(sign) => {
                let (name, arguments) = sign.split_first().context("a sign is a command")?;
                let mut command = program(name);
                command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
                // A program that cannot even start is not there.
                Ok(command.status().is_ok_and(|status| status.success()))
            }
        }
    }

    /// The gap that it leaves when it is missing.
    fn gap(&self) -> Gap {
        let command = match self.source {
            Source::Rust => "rustup target add",
            Source::Debian(_) => "apt-get install",
        };
        Gap {
            what: format!("{} is missing, which {}", self.name, self.reason),
            remedy: Some(format!("{command} {}", self.name)),
        }
    }
}

/// The gaps that those of `names` leave which are missing.
pub(crate) fn missing(names: &[&str]) -> Result<Vec<Gap>> {
    let mut gaps = Vec::new();
    for need in named(names)? {
        if !need.is_there()? {
            gaps.push(need.gap());
        }
    }
    Ok(gaps)
}

/// The rows of `names`.
fn named(names: &[&str]) -> Result<Vec<&'static Need>> {
    let find = |name: &&str| {
        let need = NEEDS.iter().find(|need| need.name == *name);
        need.with_context(|| format!("{name} is not in the table of needs"))
    };
    names.iter().map(find).collect()
}

/// Brings what is missing for the steps that `wanted` names.
pub(crate) fn install(wanted: impl Fn(&str) -> bool) -> Result<()> {
    bring(&NEEDS.iter().filter(|need| wanted(need.step)).collect::<Vec<_>>())
}

/// Brings those of `names` that are missing.
pub(crate) fn install_named(names: &[&str]) -> Result<()> {
    bring(&named(names)?)
}

fn bring(needs: &[&Need]) -> Result<()> {
    let (mut targets, mut packages) = (Vec::new(), Vec::new());
    for need in needs {
        if !need.is_there()? {
            match need.source {
                Source::Rust => targets.push(need.name),
                Source::Debian(_) => packages.push(need.name),
            }
        }
    }
    if !targets.is_empty() {
        run(program("rustup").args(["target", "add"]).args(&targets))?;
    }
    if !packages.is_empty() {
        apt_get(&["update"])?;
        apt_get(&[&["install", "--yes", "--no-install-recommends"], &*packages].concat())?;
    }
    for need in needs {
        let there = need.is_there()?;
        ensure!(there, "{} was installed, and yet it cannot be used", need.name);
    }
    Ok(())
}

/// Runs apt-get as root, waiting for whoever else is installing.
fn apt_get(arguments: &[&str]) -> Result<()> {
    let root = output(program("id").arg("-u"))? == "0";
    let mut command = program(if root { "apt-get" } else { "sudo" });
    if !root {
        command.arg("apt-get");
    }
    run(command.args(["-o", "DPkg::Lock::Timeout=600"]).args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps;

    #[test]
    fn every_need_is_that_of_a_step_or_of_a_release() {
        for need in NEEDS {
            assert!(need.step == "dist" || steps::find(need.step).is_ok(), "{}", need.name);
        }
    }

    #[test]
    fn what_is_missing_is_told_with_a_remedy() {
        let nowhere = debian("fuzz", "nothing", &["/nonexistent/program"], "does nothing");
        assert!(!nowhere.is_there().unwrap());
        assert_eq!(nowhere.gap().remedy.unwrap(), "apt-get install nothing");
        let unknown = debian("fuzz", "nothing", &["test", "-e", "/nonexistent"], "does nothing");
        assert!(!unknown.is_there().unwrap());
        let known = debian("fuzz", "everything", &["true"], "is always there");
        assert!(known.is_there().unwrap());
    }
}
