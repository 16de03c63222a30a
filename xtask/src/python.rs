//! The Python programs of the repository, and the Python package: built, installed in the checkout, and tested.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::needs;
use crate::shell::{ROOT, output, program, run};
use crate::steps::{self, Gap, Outcome, Step};
use crate::suite;
use crate::tools::{Environment, pip};

/// What `cargo xtask python` understands.
pub(crate) const ARGUMENTS: &str = "[--oldest]";

/// The NumPy that the programs in benches/ install for themselves, too.
const NUMPY: &str = "2.4.6";

/// Checks types, where an environment has it.
const MYPY: &str = "mypy";

/// The newest version of everything.
const NEWEST: Environment = Environment {
    folder: ".venv/package",
    packages: &[
        "torch",
        "numpy",
        "ml_dtypes",
        "safetensors",
        "tqdm",
        "maturin",
        "pytest",
        "hypothesis",
        "zstandard",
        MYPY,
    ],
};

/// The oldest versions that the package supports.
const OLDEST: Environment = Environment {
    folder: ".venv/package-oldest",
    packages: &[
        "torch==2.11.*",
        "numpy==1.26.*",
        "ml_dtypes==0.5.*",
        "safetensors",
        "tqdm",
        "maturin",
        "pytest",
        "hypothesis",
        "zstandard",
    ],
};

/// Tests the Python programs and the package, as a step does or with `--oldest`.
pub(crate) fn command(arguments: &[String]) -> Result<()> {
    match arguments {
        [] => suite::run_one(steps::find("python")?),
        [oldest] if oldest == "--oldest" => suite::run_one(&Step {
            name: "python",
            about: "the tests of the Python package pass with the oldest torch and NumPy",
            run: || package(&OLDEST),
        }),
        _ => bail!("`python` knows only {ARGUMENTS}"),
    }
}

/// The step `python`.
pub(crate) fn check() -> Result<Outcome> {
    let missing = needs::missing(&["python3"])?;
    if !missing.is_empty() {
        return Ok(Outcome::with(missing));
    }
    let mut gaps = programs()?;
    // It compiles the emulator of a GPU's kernels. Tests that need it are skipped.
    gaps.extend(needs::missing(&["g++"])?);
    if let Outcome::Partly(more) = package(&NEWEST)? {
        gaps.extend(more);
        gaps.dedup();
    }
    gaps.extend(slow_wire()?);
    Ok(Outcome::with(gaps))
}

/// Tests the programs in reference/ and benches/; tells what could not be tested.
fn programs() -> Result<Vec<Gap>> {
    let reference = ["-m", "unittest", "discover", "--quiet", "reference"];
    run(program("python3").args(reference))?;
    let test = ["-m", "unittest", "discover", "--quiet", "benches"];
    match with_numpy() {
        Ok(python) => {
            run(program(python).args(test))?;
            Ok(Vec::new())
        }
        // Most tests need the standard library alone.
        Err(error) => {
            run(program("python3").args(test))?;
            gaps("tests that need numpy", &error)
        }
    }
}

/// Builds the package, installs it in an environment in the checkout, and tests it there.
fn package(environment: &Environment) -> Result<Outcome> {
    let python = match environment.python() {
        Ok(python) => python,
        Err(error) => return Ok(Outcome::with(gaps("the Python package", &error)?)),
    };
    let wheels = Path::new(ROOT).join("target/wheels");
    if wheels.exists() {
        fs::remove_dir_all(&wheels).context("target/wheels cannot be emptied")?;
    }
    // In target/, where other builds find what it compiled.
    let build = ["-m", "maturin", "build", "--release", "--locked", "--out", "target/wheels"];
    run(program(&python).args(build))?;
    let built = fs::read_dir(&wheels)?.collect::<Result<Vec<_>, _>>()?;
    let [wheel] = &built[..] else { bail!("maturin made {} wheels, and not one", built.len()) };
    run(pip(&python).args(["--no-deps", "--force-reinstall"]).arg(wheel.path()))?;
    if environment.packages.contains(&MYPY) {
        // What it checks, and how strictly, is in pyproject.toml.
        run(program(&python).args(["-m", "mypy"]))?;
    }
    run(program(&python).args(["-m", "pytest", "--quiet", "python/tests"]))?;
    Ok(Outcome::Passed)
}

/// What this machine lacks for a slow wire; a test of the package is then skipped.
fn slow_wire() -> Result<Vec<Gap>> {
    let missing = needs::missing(&["iproute2"])?;
    if !missing.is_empty() {
        return Ok(missing);
    }
    // The program says what it could not do.
    Ok(match run(program("python3").args(["benches/slow_wire.py", "--check"])) {
        Ok(()) => Vec::new(),
        Err(_) => vec![Gap::of_machine(
            "collectives on a slow wire: no network namespaces with limits can be made here",
        )],
    })
}

/// A Python in the checkout that has NumPy alone; made when there is none.
fn with_numpy() -> Result<PathBuf> {
    let environment = Path::new(ROOT).join(".venv/tests");
    let python = environment.join("bin/python");
    let has_numpy = |python: &Path| {
        output(program(python).args(["-c", "import numpy; print(numpy.__version__)"]))
            .is_ok_and(|version| version == NUMPY)
    };
    if !(python.exists() && has_numpy(&python)) {
        run(program("python3").args(["-m", "venv"]).arg(&environment))?;
        run(pip(&python).arg(format!("numpy=={NUMPY}")))?;
    }
    Ok(python)
}

/// The gaps that an environment leaves which cannot be made.
pub(crate) fn gaps(what: &str, error: &anyhow::Error) -> Result<Vec<Gap>> {
    let mut gaps = needs::missing(&["python3-venv"])?;
    if gaps.is_empty() {
        let remedy = Some("a network, for pip".to_owned());
        gaps.push(Gap { what: format!("{what}: {error:#}"), remedy });
    }
    Ok(gaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused() {
        for line in [["--oldes"].as_slice(), &["newest"], &["--oldest", "--oldest"]] {
            let words: Vec<String> = line.iter().map(ToString::to_string).collect();
            assert!(command(&words).is_err(), "{line:?}");
        }
    }

    #[test]
    fn without_a_network_a_gap_is_left_that_one_mends() {
        let gaps = gaps("the tests", &anyhow::anyhow!("no network")).unwrap();
        assert!(gaps.iter().all(|gap| gap.remedy.is_some()) && !gaps.is_empty());
    }
}
