//! `cargo xtask dist`: everything that a release needs, in `target/dist/`.
//!
//! Nothing is published: no tag, no upload. `docs/releasing.md` is the check list.

mod archive;
mod build;
mod elf;
mod licences;
mod report;
mod target;
mod trial;
mod wheel;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::manual;
use crate::needs;
use crate::shell::{self, VERSION, host, program};
use crate::steps::{Gap, Outcome};
use build::{PythonSources, Sources};
use report::{Progress, Trial};
use target::{TARGETS, Target};

/// What `cargo xtask dist` understands.
pub(crate) const ARGUMENTS: &str = "[--list] [--install] [--target TRIPLE]...";

/// The folder of the results, from the root of the repository.
const FOLDER: &str = "target/dist";

/// The file with the checksums of all others.
const SUMS: &str = "SHA256SUMS";

/// What a person asked for.
#[derive(Debug, PartialEq)]
struct Request {
    /// Whether to tell only for what a release is made.
    list: bool,
    /// Whether to bring missing targets of Rust and packages of the system.
    install: bool,
    targets: Vec<&'static Target>,
}

fn parse(arguments: &[String]) -> Result<Request> {
    let mut request = Request { list: false, install: false, targets: Vec::new() };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => request.list = true,
            "--install" => request.install = true,
            "--target" => {
                let triple =
                    words.next().context("`--target` needs a target; `--list` has them")?;
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
    if request.list {
        print!("{}", report::list(TARGETS, &host()?));
        return Ok(());
    }
    provide(&request)?;

    // Four stages for the release, and four for each target.
    let mut progress = Progress::new(4 + 4 * request.targets.len());
    let folder = archive::emptied(FOLDER)?;
    let mut trials = Vec::new();
    progress.stage("zig and maturin", build::tools)?;
    let sources = progress.stage("packages of the crates", Sources::unpacked)?;
    for package in &sources.packages {
        archive::copy(package, &folder)?;
        trials.push((named(package)?, Trial::Passed("a program was built from it".to_owned())));
    }
    let (licences, manual) = progress.stage("licences, manual and completions", || {
        let made = archive::emptied("target/manual")?;
        Ok((licences::collect(&folder)?, manual::made(&made)?))
    })?;
    let python = progress
        .stage("sources of the Python package", || PythonSources::unpacked(&folder, &licences))?;
    trials.push((named(&python.archive)?, Trial::Passed("a wheel was built from it".to_owned())));

    for target in &request.targets {
        let triple = target.program;
        let executable =
            progress.stage(&format!("the program for {triple}"), || sources.program(target))?;
        let trial = progress.stage(&format!("trying the archive for {triple}"), || {
            let packed = archive::write(&folder, target, &executable, &licences, &manual)?;
            judge(target, &archive::unpacked(&packed, target)?)
        })?;
        trials.push((archive::file(target), trial));
        let triple = target.wheel;
        let made =
            progress.stage(&format!("the wheel for {triple}"), || python.wheel(target, &folder))?;
        let trial = progress.stage(&format!("trying the wheel for {triple}"), || {
            wheel::run_in_new_environment(target, &made)
        })?;
        trials.push((named(&made)?, trial));
    }

    let sums = report::sums(&report::products(&folder)?);
    fs::write(folder.join(SUMS), &sums)?;
    let mut check = program("sha256sum");
    shell::run(check.args(["--check", "--quiet", SUMS]).current_dir(&folder))?;
    println!("\n{FOLDER}, huffwire {VERSION}, after {}:\n", progress.time());
    println!("{}", report::table(&report::products(&folder)?, &trials));
    print!("{}", report::not_tried(trials));
    Ok(())
}

/// Brings what the targets need of the system, if that was asked for, and makes sure of it.
fn provide(request: &Request) -> Result<()> {
    let needs: Vec<_> = request.targets.iter().flat_map(|target| target.needs()).collect();
    if request.install {
        needs::install_named(&needs)?;
    }
    // Without the emulator a program is built and not tried.
    let needed: Vec<_> = needs.into_iter().filter(|need| *need != "qemu-user").collect();
    if let Some(gap) = needs::missing(&needed)?.first() {
        let remedy = gap.remedy.as_deref().unwrap_or("cargo xtask dist --install");
        bail!("{}. Get it with `{remedy}`, or let `cargo xtask dist --install` do that", gap.what);
    }
    Ok(())
}

/// The name of a file.
fn named(file: &Path) -> Result<String> {
    Ok(file.file_name().context("a file has a name")?.to_string_lossy().into_owned())
}

/// Checks a program as far as this machine can.
fn judge(target: &Target, program: &Path) -> Result<Trial> {
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
    Ok(Outcome::with(judge(target, &program)?.gaps()))
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
        assert!(!all.install && !all.list);
        assert!(request("--list").unwrap().list);
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
}
