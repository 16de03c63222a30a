//! `cargo xtask dist`: everything that a release needs, in `target/dist/`.
//!
//! Nothing is published: no tag, no upload. `docs/releasing.md` is the check list.

mod archive;
mod build;
mod elf;
mod fitness;
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
pub(crate) const ARGUMENTS: &str =
    "[--list] [--install] [--draft] [--only programs|wheels] [--target TRIPLE]...";

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
    /// Whether to build also what must not be released.
    draft: bool,
    /// Whether to build programs, and whether to build wheels.
    programs: bool,
    wheels: bool,
    targets: Vec<&'static Target>,
}

fn parse(arguments: &[String]) -> Result<Request> {
    let mut request = Request {
        list: false,
        install: false,
        draft: false,
        programs: true,
        wheels: true,
        targets: Vec::new(),
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => request.list = true,
            "--install" => request.install = true,
            "--draft" => request.draft = true,
            "--only" => match words.next().map(String::as_str) {
                Some("programs") => request.wheels = false,
                Some("wheels") => request.programs = false,
                _ => bail!("`--only` needs `programs` or `wheels`"),
            },
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
    ensure!(
        request.programs || request.wheels,
        "`--only programs` and `--only wheels` leave nothing"
    );
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
    let faults = fitness::faults()?;
    ensure!(
        request.draft || faults.is_empty(),
        "no release can be made of this checkout: {}. `cargo xtask dist --draft` builds it all the same, to try",
        faults.join("; ")
    );
    provide(&request)?;

    // Four stages for the release; for each target two for the program, and two for the wheel.
    let kinds = usize::from(request.programs) + usize::from(request.wheels);
    let mut progress = Progress::new(4 + 2 * kinds * request.targets.len());
    let folder = archive::emptied(FOLDER)?;
    progress.stage("zig and maturin", build::tools)?;
    let sources = progress.stage("packages of the crates", Sources::unpacked)?;
    for package in &sources.packages {
        archive::copy(package, &folder)?;
    }
    let (licences, manual) = progress.stage("licences, manual and completions", || {
        let made = archive::emptied("target/manual")?;
        // Only archives of programs have a manual, and the program of the checkout has to be compiled for it.
        let manual = if request.programs { Some(manual::made(&made)?) } else { None };
        Ok((licences::collect(&folder)?, manual))
    })?;
    let python = progress
        .stage("sources of the Python package", || PythonSources::unpacked(&folder, &licences))?;

    let mut trials = of_sources(&request, &sources, &python)?;
    for target in &request.targets {
        if let Some(manual) = &manual {
            let triple = target.program;
            let executable =
                progress.stage(&format!("the program for {triple}"), || sources.program(target))?;
            let trial = progress.stage(&format!("trying the archive for {triple}"), || {
                let packed = archive::write(&folder, target, &executable, &licences, manual)?;
                judge(target, &archive::unpacked(&packed, target)?)
            })?;
            trials.push((archive::file(target), trial));
        }
        if request.wheels {
            let triple = target.wheel;
            let made = progress
                .stage(&format!("the wheel for {triple}"), || python.wheel(target, &folder))?;
            let trial = progress.stage(&format!("trying the wheel for {triple}"), || {
                wheel::run_in_new_environment(target, &made)
            })?;
            trials.push((named(&made)?, trial));
        }
    }

    let sums = report::sums(&report::products(&folder)?);
    fs::write(folder.join(SUMS), &sums)?;
    let mut check = program("sha256sum");
    shell::run(check.args(["--check", "--quiet", SUMS]).current_dir(&folder))?;
    println!("\n{FOLDER}, huffwire {VERSION}, after {}:\n", progress.time());
    println!("{}", report::table(&report::products(&folder)?, &trials));
    print!("{}", report::not_tried(trials));
    print!("{}", report::not_releasable(&faults));
    Ok(())
}

/// The packages of crates and the sources of the Python package are tried by what is built from them.
fn of_sources(
    request: &Request,
    sources: &Sources,
    python: &PythonSources,
) -> Result<Vec<(String, Trial)>> {
    let tried = |built: bool, what: &str| match built {
        true => Trial::Passed(format!("a {what} was built from it")),
        false => Trial::Left(vec![Gap::of_machine(format!("no {what} was built from it"))]),
    };
    let mut trials = Vec::new();
    for package in &sources.packages {
        trials.push((named(package)?, tried(request.programs, "program")));
    }
    trials.push((named(&python.archive)?, tried(request.wheels, "wheel")));
    Ok(trials)
}

/// Brings what the targets need of the system, if that was asked for, and makes sure of it.
fn provide(request: &Request) -> Result<()> {
    let targets = request.targets.iter();
    let needs: Vec<_> = targets.flat_map(|target| target.needs(request.wheels)).collect();
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
        assert!(!all.install && !all.list && !all.draft);
        assert!(request("--draft").unwrap().draft);
        assert!(request("--list").unwrap().list);
    }

    #[test]
    fn targets_are_chosen_by_name() {
        let one = request("--install --target aarch64-unknown-linux-musl").unwrap();
        assert!(one.install);
        assert_eq!(one.targets.len(), 1);
        let wheels = request("--only wheels").unwrap();
        assert!(wheels.wheels && !wheels.programs && one.programs && one.wheels);
        for nonsense in [
            "--only",
            "--only crates",
            "--only wheels --only programs",
            "--target",
            "--target sparc",
            "x86_64-unknown-linux-musl",
            "--target aarch64-unknown-linux-musl --target aarch64-unknown-linux-musl",
        ] {
            assert!(request(nonsense).is_err(), "{nonsense}");
        }
    }
}
