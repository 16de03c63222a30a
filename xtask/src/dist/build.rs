//! Programs and wheels for any target, nearly all with zig as C compiler and linker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::archive::{copy, emptied};
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

/// The Python package as it comes out of its sources.
pub(super) struct PythonSources {
    folder: PathBuf,
    /// The archive of the sources.
    pub(super) archive: PathBuf,
}

/// Why a program could not be built.
pub(super) enum Failure {
    /// What builds it cannot be had.
    Environment(anyhow::Error),
    /// The build failed.
    Build(anyhow::Error),
}

/// The Python of the environment with zig and maturin.
pub(super) fn tools() -> Result<PathBuf> {
    ZIG.python().context(
        "zig and maturin cannot be installed. They compile for other systems. pip brings them from PyPI the first \
         time, for which it needs a network and 500 MB of disk",
    )
}

impl Sources {
    /// Packs the crates and unpacks the packages again: what is built from them has no file that a package lacks.
    pub(super) fn unpacked() -> Result<Self> {
        packages::make(false)?;
        let root = Path::new(ROOT);
        let folder = emptied("target/unpacked")?;
        let mut manifest =
            "[workspace]\nresolver = \"3\"\nmembers = [\"huffwire*\"]\n\n[patch.crates-io]\n"
                .to_owned();
        let mut made = Vec::new();
        for (name, _) in PUBLISHED {
            let unpacked = format!("{name}-{VERSION}");
            let package = root.join(format!("target/package/{unpacked}.crate"));
            unpack(&package, &folder)?;
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
        compile(&tools()?, &self.folder, target)
    }
}

impl PythonSources {
    /// Packs the sources of the Python package into `folder` and unpacks them again, with the licences of what will be
    /// compiled in.
    pub(super) fn unpacked(folder: &Path, licences: &[PathBuf]) -> Result<Self> {
        let python = tools()?;
        run(program(&python).args(["-m", "maturin", "sdist", "--out"]).arg(folder))?;
        let name = format!("huffwire-{VERSION}");
        let archive = folder.join(format!("{name}.tar.gz"));
        let outer = emptied("target/unpacked-python")?;
        unpack(&archive, &outer)?;
        let folder = outer.join(name);
        for licence in licences {
            copy(licence, &folder)?;
        }
        let settings = folder.join("pyproject.toml");
        let text = fs::read_to_string(&settings)?;
        fs::write(settings, with_licences(&text, licences)?)?;
        // The lock file is that of the whole workspace. Without the crates that these sources lack, it counts as
        // changed, which `--locked` forbids; the versions of all others stay.
        run(cargo(&["update", "--workspace", "--offline"]).current_dir(&folder))?;
        Ok(Self { folder, archive })
    }

    /// Builds the wheel for a target into `folder`.
    pub(super) fn wheel(&self, target: &Target, folder: &Path) -> Result<PathBuf> {
        let python = tools()?;
        let made = emptied("target/wheel")?;
        let mut maturin = program(&python);
        maturin.args(["-m", "maturin", "build", "--profile", "dist", "--locked"]);
        if target.wheel_linker.is_none() {
            maturin.arg("--zig");
        }
        maturin.args(["--target", target.wheel, "--target-dir"]).arg(Path::new(ROOT).join(CROSS));
        if let Some(compatibility) = target.compatibility {
            maturin.args(["--compatibility", compatibility]);
        }
        maturin.arg("--out").arg(&made).current_dir(&self.folder);
        run(with_zig(&mut maturin, &python)?)?;
        let wheels = fs::read_dir(&made)?.collect::<Result<Vec<_>, _>>()?;
        ensure!(wheels.len() == 1, "maturin made {} files, and not one", wheels.len());
        copy(&wheels[0].path(), folder)?;
        Ok(folder.join(wheels[0].file_name()))
    }
}

/// Unpacks sources into a folder. All files of a package have the same old time; cargo would take changed ones for those
/// that it compiled before, so they get the time of now.
fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    run(program("tar").args(["--touch", "-xzf"]).arg(archive).arg("-C").arg(folder))
}

/// The settings of the Python package with more files of licences.
fn with_licences(settings: &str, licences: &[PathBuf]) -> Result<String> {
    const BEGIN: &str = "license-files = [";
    ensure!(settings.contains(BEGIN), "pyproject.toml has no license-files");
    let mut list = BEGIN.to_owned();
    for licence in licences {
        let name = licence.file_name().context("a file has a name")?;
        list += &format!("\"{}\", ", name.to_string_lossy());
    }
    Ok(settings.replace(BEGIN, &list))
}

/// Builds the program for a target from the checkout.
pub(super) fn of_checkout(target: &Target) -> Result<PathBuf, Failure> {
    let python = tools().map_err(Failure::Environment)?;
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

/// `command`, which then finds zig and what belongs to it before all others.
fn with_zig<'a>(command: &'a mut Command, python: &Path) -> Result<&'a mut Command> {
    Ok(command.env("PATH", before_others(python)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheels_have_the_licences_of_all_that_is_compiled_in() {
        let settings = fs::read_to_string(Path::new(ROOT).join("pyproject.toml")).unwrap();
        let more = with_licences(&settings, &["/made/here/THIRD.yml".into()]).unwrap();
        assert!(more.contains("\nlicense-files = [\"THIRD.yml\", \"LICENSE-APACHE\", "));
        assert!(with_licences("[project]\n", &[]).is_err());
    }
}
