//! Programs that steps and chores install for themselves, in pinned versions, into folders of the checkout that git
//! ignores.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell::{ROOT, cargo, program, run};
use crate::steps::Gap;

/// A program from crates.io.
pub(crate) struct Tool {
    /// The crate, and its program.
    pub(crate) name: &'static str,
    version: &'static str,
    /// What cargo is told about its features.
    features: &'static [&'static str],
}

/// Makes the documents a site.
pub(crate) const MDBOOK: Tool = Tool {
    name: "mdbook",
    version: "0.5.4",
    // Without a server of its own.
    features: &["--no-default-features", "--features=search"],
};
/// Judges licences, versions and advisories of dependencies.
pub(crate) const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2", features: &[] };
/// Collects the licences of dependencies.
pub(crate) const LICENSES: Tool =
    Tool { name: "cargo-bundle-licenses", version: "5.0.0", features: &[] };

impl Tool {
    /// The path of the program, which is compiled first if it is not there.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        let Self { name, version, features } = *self;
        let folder = Path::new(ROOT).join(format!(".tools/{name}-{version}"));
        let path = folder.join("bin").join(name);
        if !path.exists() {
            // A tool is compiled once and works for seconds: so it is compiled in the quickest way.
            let mut install = cargo(&["install", "--quiet", "--locked", "--debug", name]);
            install.args(["--version", version, "--target-dir", "target/tools"]);
            install.args(features).arg("--root");
            run(install.arg(&folder).env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
            fs::remove_dir_all(Path::new(ROOT).join("target/tools"))?;
        }
        Ok(path)
    }

    /// The gap that the tool leaves when it cannot be installed.
    pub(crate) fn gap(&self, error: &anyhow::Error) -> Gap {
        Gap {
            what: format!("{}: {error:#}", self.name),
            remedy: Some("a network, for cargo install".to_owned()),
        }
    }
}

/// A Python environment in the checkout: a folder in `.venv`, and what pip installs there.
pub(crate) struct Environment {
    pub(crate) folder: &'static str,
    pub(crate) packages: &'static [&'static str],
}

/// A C compiler and linker for every target, and what calls it.
pub(crate) const ZIG: Environment = Environment {
    folder: ".venv/zig",
    packages: &["ziglang==0.17.1", "cargo-zigbuild==0.24.0", "maturin==1.16.0"],
};

impl Environment {
    /// The Python of the environment. It is made when there is none, and taken as it is when there is one.
    pub(crate) fn python(&self) -> Result<PathBuf> {
        let folder = Path::new(ROOT).join(self.folder);
        let python = folder.join("bin/python");
        let wanted = self.packages.join("\n");
        // Written last, so an environment that was not finished has none.
        let list = folder.join("packages.txt");
        if fs::read_to_string(&list).is_ok_and(|found| found == wanted) && python.exists() {
            return Ok(python);
        }
        run(program("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        run(pip(&python).args(self.packages))?;
        fs::write(list, wanted)?;
        Ok(python)
    }
}

/// `PATH` with the folder of a program before all others.
pub(crate) fn before_others(program: &Path) -> Result<OsString> {
    let folder = program.parent().context("a program is in a folder")?.to_owned();
    let others = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths([folder].into_iter().chain(env::split_paths(&others)))?)
}

/// `pip install`, to which is added what.
pub(crate) fn pip(python: &Path) -> std::process::Command {
    let mut pip = program(python);
    pip.args(["-m", "pip", "--disable-pip-version-check", "install", "--quiet"]);
    pip
}
