//! The steps of `cargo xtask test`: what each of them checks, and how.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::builtin;
use crate::fuzz;
use crate::kernels;
use crate::shell::{ROOT, cargo, output, program, run};

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
    /// This machine cannot check it, for the reason given.
    NotChecked(String),
}

/// Every step, the quickest to fail first.
pub(crate) const ALL: &[Step] = &[
    Step { name: "fmt", about: "all code is formatted", run: fmt },
    Step { name: "clippy", about: "neither the compiler nor clippy has a warning", run: clippy },
    Step { name: "unit", about: "all tests pass, once for each instruction set", run: unit },
    Step { name: "python", about: "the tests of the programs in benches/ pass", run: python },
    Step { name: "doc", about: "the documentation builds without a warning", run: doc },
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
    Step { name: "targets", about: "the library compiles for other processors", run: targets },
    Step {
        name: "endian",
        about: "the golden files hold on a processor whose words begin with their highest byte",
        run: endian,
    },
    Step { name: "neon", about: "an Arm processor codes the same bytes with NEON", run: neon },
    Step {
        name: "package",
        about: "what would be published is complete and compiles",
        run: package,
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

/// Processors other than this one for which the library must compile.
const OTHER_TARGETS: &[&str] = &["aarch64-unknown-linux-gnu"];

fn fmt() -> Result<Outcome> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    // The fuzz targets are a workspace of their own.
    run(&mut cargo(&["fmt", "--manifest-path=fuzz/Cargo.toml", "--check"]))?;
    Ok(Outcome::Passed)
}

fn clippy() -> Result<Outcome> {
    let strict = ["--", "-D", "warnings"];
    run(cargo(&["clippy", "--workspace", "--all-targets"]).args(strict))?;
    // Other members turn every feature on, so only this sees the library bare.
    run(cargo(&["clippy", "-p", "huffwire", "--no-default-features"]).args(strict))?;
    Ok(Outcome::Passed)
}

fn unit() -> Result<Outcome> {
    let mut missing = Vec::new();
    for platform in PLATFORMS {
        // Only the library knows what a platform needs of the processor.
        let probe = ["run", "--quiet", "-p", "huffwire", "--example", "platforms"];
        if output(&mut cargo(&probe))?.lines().any(|available| available == *platform) {
            run(cargo(&["test", "--workspace"]).env("HUFFWIRE_PLATFORM", platform))?;
        } else {
            missing.push(*platform);
        }
    }
    Ok(if missing.is_empty() {
        Outcome::Passed
    } else {
        Outcome::NotChecked(format!("this processor lacks {}", missing.join(", ")))
    })
}

fn python() -> Result<Outcome> {
    // What these programs themselves ask for.
    let probe = ["-c", "import sys; print(sys.version_info >= (3, 11))"];
    if !output(program("python3").args(probe)).is_ok_and(|new_enough| new_enough == "True") {
        return Ok(Outcome::NotChecked("Python 3.11 or newer is not installed".to_owned()));
    }
    let test = ["-m", "unittest", "discover", "--quiet", "benches"];
    match with_numpy() {
        Ok(python) => {
            run(program(python).args(test))?;
            Ok(Outcome::Passed)
        }
        // Most tests need the standard library alone.
        Err(error) => {
            run(program("python3").args(test))?;
            Ok(Outcome::NotChecked(format!("tests that need numpy: {error}")))
        }
    }
}

/// A Python in the checkout that has numpy; made when there is none.
fn with_numpy() -> Result<PathBuf> {
    let environment = Path::new(ROOT).join(".venv/tests");
    let python = environment.join("bin/python");
    let has_numpy = |python: &Path| {
        output(program(python).args(["-c", "import numpy; print(numpy.__version__)"]))
            .is_ok_and(|version| version == NUMPY)
    };
    if !(python.exists() && has_numpy(&python)) {
        run(program("python3").args(["-m", "venv"]).arg(&environment))?;
        let install = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet"];
        run(program(&python).args(install).arg(format!("numpy=={NUMPY}")))?;
    }
    Ok(python)
}

/// The version that the programs in benches/ install for themselves, too.
const NUMPY: &str = "2.4.6";

fn doc() -> Result<Outcome> {
    run(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::Passed)
}

fn targets() -> Result<Outcome> {
    let mut missing = Vec::new();
    for target in OTHER_TARGETS {
        if is_installed(target)? {
            run(&mut cargo(&["check", "-p", "huffwire", "--target", target]))?;
        } else {
            missing.push(*target);
        }
    }
    Ok(if missing.is_empty() {
        Outcome::Passed
    } else {
        Outcome::NotChecked(format!("not installed: {}", missing.join(", ")))
    })
}

/// Whether programs for a target can be compiled.
fn is_installed(target: &str) -> Result<bool> {
    // rustc names the folder whether or not the target is installed.
    let library = output(program("rustc").args(["--print=target-libdir", "--target", target]))?;
    Ok(Path::new(&library).exists())
}

/// A processor that another program plays: the target, its linker, and that program.
pub(crate) struct Emulated {
    pub(crate) target: &'static str,
    linker: &'static str,
    runner: [&'static str; 3],
}

/// A processor of the other byte order than that of nearly all others.
const BIG_ENDIAN: Emulated = Emulated {
    target: "s390x-unknown-linux-gnu",
    linker: "s390x-linux-gnu-gcc",
    runner: ["qemu-s390x", "-L", "/usr/s390x-linux-gnu"],
};

/// A processor with NEON.
pub(crate) const ARM: Emulated = Emulated {
    target: "aarch64-unknown-linux-gnu",
    linker: "aarch64-linux-gnu-gcc",
    runner: ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"],
};

fn endian() -> Result<Outcome> {
    BIG_ENDIAN.test(&["--test", "golden"])
}

fn neon() -> Result<Outcome> {
    ARM.test(&["--lib", "--test", "platforms", "--test", "golden"])
}

impl Emulated {
    /// What is not installed.
    fn missing(&self, programs: &[&'static str]) -> Result<Vec<&'static str>> {
        let mut missing = Vec::new();
        if !is_installed(self.target)? {
            missing.push(self.target);
        }
        for needed in programs {
            if output(program(needed).arg("--version")).is_err() {
                missing.push(*needed);
            }
        }
        Ok(missing)
    }

    /// What is not installed of all that compiles for this processor.
    pub(crate) fn missing_to_compile(&self) -> Result<Vec<&'static str>> {
        self.missing(&[self.linker])
    }

    /// Makes a command for cargo one for this processor.
    pub(crate) fn compile<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.args(["--target", self.target]).env(self.variable("LINKER"), self.linker)
    }

    fn variable(&self, name: &str) -> String {
        let target = self.target.to_uppercase().replace('-', "_");
        format!("CARGO_TARGET_{target}_{name}")
    }

    /// Runs tests of the library.
    fn test(&self, tests: &[&str]) -> Result<Outcome> {
        let missing = self.missing(&[self.linker, self.runner[0]])?;
        if !missing.is_empty() {
            return Ok(Outcome::NotChecked(format!("not installed: {}", missing.join(", "))));
        }
        let mut command = cargo(&["test", "-p", "huffwire"]);
        let command = self.compile(&mut command).args(tests);
        run(command.env(self.variable("RUNNER"), self.runner.join(" ")))?;
        Ok(Outcome::Passed)
    }
}

fn package() -> Result<Outcome> {
    // Compiling what was packaged takes most of this step's time, but less
    // than a minute on two cores, and nothing else notices a forgotten file.
    let package = ["package", "--allow-dirty", "-p"];
    run(cargo(&package).arg("huffwire"))?;
    // No registry has the library of this version yet. Packaging both at once
    // would provide it, but cargo unpacks it only the first time, and compiles
    // the program with a stale library ever after.
    run(cargo(&package)
        .arg("huffwire-cli")
        .args(["--config", r#"patch.crates-io.huffwire.path="crates/huffwire""#]))?;
    Ok(Outcome::Passed)
}
