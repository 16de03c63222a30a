//! Programs and wheels for any target, with zig as C compiler and linker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::target::Target;
use crate::packages::{self, PUBLISHED};
use crate::shell::{ROOT, VERSION, cargo, program, run};
use crate::tools::{ZIG, before_others};

/// Where what is compiled lies, from the root of the repository; releases share it.
const CROSS: &str = "target/cross";

/// The published crates as they come out of their packages, as one workspace.
pub(super) struct Sources {
    folder: PathBuf,
    /// The packages themselves.
    pub(super) packages: Vec<PathBuf>,
}

/// Why a program could not be built.
pub(super) enum Failure {
    /// What builds it cannot be had.
    Environment(anyhow::Error),
    /// The build failed.
    Build(anyhow::Error),
}

impl Sources {
    /// Packs the crates and unpacks the packages again: what is built from them has no file that a package lacks.
    pub(super) fn unpacked() -> Result<Self> {
        packages::make(false)?;
        let root = Path::new(ROOT);
        let folder = root.join("target/unpacked");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let mut manifest =
            "[workspace]\nresolver = \"3\"\nmembers = [\"huffwire*\"]\n\n[patch.crates-io]\n"
                .to_owned();
        let mut made = Vec::new();
        for (name, _) in PUBLISHED {
            let unpacked = format!("{name}-{}", VERSION);
            let package = root.join(format!("target/package/{unpacked}.crate"));
            run(program("tar").arg("-xzf").arg(&package).arg("-C").arg(&folder))?;
            manifest += &format!("{name} = {{ path = \"{unpacked}\" }}\n");
            made.push(package);
        }
        // Profiles are those of the workspace.
        let ours = fs::read_to_string(root.join("Cargo.toml"))?;
        let profiles = ours.find("[profile.").context("Cargo.toml has profiles")?;
        fs::write(folder.join("Cargo.toml"), manifest + "\n" + &ours[profiles..])?;
        fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
        Ok(Self { folder, packages: made })
    }

    /// Builds the program for a target.
    pub(super) fn program(&self, target: &Target) -> Result<PathBuf> {
        let python = ZIG.python()?;
        compile(&python, &self.folder, target)
    }
}

/// Builds the program for a target from the checkout.
pub(super) fn of_checkout(target: &Target) -> Result<PathBuf, Failure> {
    let python = ZIG.python().map_err(Failure::Environment)?;
    compile(&python, Path::new(ROOT), target).map_err(Failure::Build)
}

fn compile(python: &Path, workspace: &Path, target: &Target) -> Result<PathBuf> {
    let mut zigbuild = cargo(&["zigbuild", "--profile", "dist", "-p", "huffwire-cli"]);
    zigbuild.args(["--target", target.program, "--manifest-path"]);
    zigbuild.arg(workspace.join("Cargo.toml")).arg("--target-dir").arg(CROSS);
    run(with_zig(&mut zigbuild, python)?)?;
    let path = [ROOT, CROSS, target.program, "dist", target.file()].iter().collect::<PathBuf>();
    ensure!(path.exists(), "{} was not built", path.display());
    Ok(path)
}

/// Builds the wheel for a target into `folder`.
pub(super) fn wheel(target: &Target, folder: &Path) -> Result<()> {
    let python = ZIG.python()?;
    let mut maturin = program(&python);
    maturin.args(["-m", "maturin", "build", "--profile", "dist", "--locked", "--zig"]);
    maturin.args(["--target", target.wheel, "--target-dir", CROSS]);
    if let Some(compatibility) = target.compatibility {
        maturin.args(["--compatibility", compatibility]);
    }
    run(with_zig(maturin.arg("--out").arg(folder), &python)?)
}

/// Writes the sources of the Python package into `folder`.
pub(super) fn source_distribution(folder: &Path) -> Result<()> {
    let python = ZIG.python()?;
    run(program(&python).args(["-m", "maturin", "sdist", "--out"]).arg(folder))
}

/// `command`, which then finds zig and what belongs to it before all others.
fn with_zig<'a>(command: &'a mut Command, python: &Path) -> Result<&'a mut Command> {
    Ok(command.env("PATH", before_others(python)?))
}
