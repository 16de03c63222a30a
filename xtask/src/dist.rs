//! `cargo xtask dist`: everything that a release needs, in `target/dist/`.
//!
//! Nothing is published: no tag, no upload. `docs/releasing.md` is the check list.

mod archive;
mod build;
mod elf;
mod licences;
mod target;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::manual;
use crate::needs;
use crate::shell::{ROOT, VERSION};
use crate::steps::{Gap, Outcome};
use build::Sources;
use target::{TARGETS, Target};

/// What `cargo xtask dist` understands.
pub(crate) const ARGUMENTS: &str = "[--install] [--target TRIPLE]...";

/// The folder of the results, from the root of the repository.
const FOLDER: &str = "target/dist";

/// What a person asked for.
#[derive(Debug, PartialEq)]
struct Request {
    /// Whether to bring missing targets of Rust and packages of the system.
    install: bool,
    targets: Vec<&'static Target>,
}

fn parse(arguments: &[String]) -> Result<Request> {
    let mut request = Request { install: false, targets: Vec::new() };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--install" => request.install = true,
            "--target" => {
                let triple = words.next().context("`--target` needs a target")?;
                let known = TARGETS.iter().find(|target| target.program == triple);
                let known = known.with_context(|| {
                    let names: Vec<_> = TARGETS.iter().map(|target| target.program).collect();
                    format!("no release is made for `{triple}`, only for {}", names.join(", "))
                })?;
                ensure!(!request.targets.contains(&known), "`--target {triple}` is there twice");
                request.targets.push(known);
            }
            other => bail!("`dist` does not know `{other}`, only {ARGUMENTS}"),
        }
    }
    if request.targets.is_empty() {
        request.targets = TARGETS.iter().collect();
    }
    Ok(request)
}

/// Builds a release, and tries what can be run here.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let request = parse(arguments)?;
    if request.install {
        needs::install(|step| ["dist", "static"].contains(&step))?;
    }
    for target in &request.targets {
        let missing = needs::missing(&target.rust_targets())?;
        if let Some(gap) = missing.first() {
            bail!("{}; `cargo xtask dist --install` brings it", gap.what);
        }
    }

    let folder = Path::new(ROOT).join(FOLDER);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("{FOLDER} cannot be emptied"))?;
    }
    fs::create_dir_all(&folder)?;

    let sources = Sources::unpacked()?;
    for package in &sources.packages {
        copy(package, &folder)?;
    }
    let licences = licences::collect(&folder)?;
    let manual = manual::made(&folder.join("manual"))?;
    build::source_distribution(&folder)?;
    let mut gaps = Vec::new();
    for target in &request.targets {
        let program = sources.program(target)?;
        gaps.extend(judge(target, &program)?);
        archive::write(&folder, target, &program, &licences, &manual)?;
        build::wheel(target, &folder)?;
    }
    fs::remove_dir_all(folder.join("manual"))?;
    let sums = sums(&folder)?;
    fs::write(folder.join("SHA256SUMS"), &sums)?;
    println!("\n{FOLDER}, huffwire {}:\n{sums}", VERSION);
    for Gap { what, .. } in gaps {
        println!("NOT TRIED: {what}");
    }
    Ok(())
}

/// Checks a program as far as this machine can; tells what it could not.
fn judge(target: &Target, program: &Path) -> Result<Vec<Gap>> {
    if let Some(machine) = target.machine {
        elf::check(program, machine)?;
    }
    trial::run(target, program)
}

/// The step `static`: the program for Linux on this processor needs nothing of the system.
pub(crate) fn check() -> Result<Outcome> {
    let Some(target) = target::of_this_machine()? else {
        return Ok(Outcome::with(vec![Gap::of_machine(
            "no static program is made for this machine",
        )]));
    };
    let mut missing = needs::missing(&[target.program])?;
    missing.extend(needs::missing(&["python3", "python3-venv"])?);
    if !missing.is_empty() {
        return Ok(Outcome::with(missing));
    }
    let program = match build::of_checkout(target) {
        Ok(program) => program,
        Err(build::Failure::Environment(error)) => {
            return Ok(Outcome::with(crate::python::gaps("the static program", &error)?));
        }
        Err(build::Failure::Build(error)) => return Err(error),
    };
    Ok(Outcome::with(judge(target, &program)?))
}

fn copy(file: &Path, folder: &Path) -> Result<PathBuf> {
    let name = file.file_name().context("a file has a name")?;
    let place = folder.join(name);
    fs::copy(file, &place).with_context(|| format!("{} cannot be copied", file.display()))?;
    Ok(place)
}

/// The checksums of all files of a folder, as `sha256sum` writes and reads them.
fn sums(folder: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    let mut lines = String::new();
    for name in names {
        let digest = Sha256::digest(fs::read(folder.join(&name))?);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        lines += &format!("{digest}  {name}\n");
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Result<Request> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn without_targets_all_are_built() {
        let all = request("").unwrap();
        assert_eq!(all.targets.len(), TARGETS.len());
        assert!(!all.install);
    }

    #[test]
    fn targets_are_chosen_by_name() {
        let one = request("--install --target aarch64-unknown-linux-musl").unwrap();
        assert!(one.install);
        assert_eq!(one.targets.len(), 1);
        for nonsense in [
            "--target",
            "--target sparc",
            "x86_64-unknown-linux-musl",
            "--target aarch64-unknown-linux-musl --target aarch64-unknown-linux-musl",
        ] {
            assert!(request(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn sums_are_those_of_sha256sum() {
        let folder = std::env::temp_dir().join(format!("huffwire-sums-{}", std::process::id()));
        fs::create_dir_all(folder.join("inner")).unwrap();
        fs::write(folder.join("b"), "abc").unwrap();
        fs::write(folder.join("a"), "").unwrap();
        let found = sums(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let expected = "\
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a
ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b
";
        assert_eq!(found, expected);
    }
}
