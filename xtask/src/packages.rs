//! The crates that are published, and their packages.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::shell::{ROOT, cargo, output, run};
use crate::steps::Outcome;

/// The crates that are published, each after those that it needs.
pub(crate) const PUBLISHED: &[(&str, &[&str])] = &[
    ("huffwire", &[]),
    ("huffwire-io", &["huffwire"]),
    ("huffwire-analysis", &["huffwire", "huffwire-io"]),
    ("huffwire-demo", &[]),
    ("huffwire-cli", &["huffwire", "huffwire-io", "huffwire-analysis", "huffwire-demo"]),
];

/// The published crates that docs.rs documents.
const LIBRARIES: &[&str] = &["huffwire", "huffwire-io", "huffwire-analysis", "huffwire-demo"];

/// What every package has.
const FILES: &[&str] = &["Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// The step `package`.
pub(crate) fn check() -> Result<Outcome> {
    // Compiling what was packaged takes most of this step's time, but less than a minute on two cores, and nothing
    // else notices a forgotten file.
    make(true)?;
    Ok(Outcome::Passed)
}

/// Writes the packages into target/package, with `compiled` after building what is in them.
pub(crate) fn make(compiled: bool) -> Result<()> {
    // No registry has the other crates of this version yet, so each is compiled with those in the checkout.
    // Packaging all at once would provide them, but cargo unpacks them only the first time, and compiles
    // with stale libraries ever after.
    for (name, needs) in PUBLISHED {
        let mut package = cargo(&["package", "--allow-dirty", "-p", name]);
        if !compiled {
            package.arg("--no-verify");
        }
        for needed in *needs {
            package
                .arg("--config")
                .arg(format!(r#"patch.crates-io.{needed}.path="crates/{needed}""#));
        }
        run(&mut package)?;
        complete(name)?;
    }
    Ok(())
}

/// Builds the documentation of the published libraries as docs.rs does.
pub(crate) fn docs_rs(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "`docs-rs` takes no arguments");
    for name in LIBRARIES {
        let mut rustdoc = cargo(&["rustdoc", "--all-features", "-p", name]);
        // Other crates are compiled without this, there as here.
        rustdoc.args(["--target-dir", "target/docs-rs", "--", "--cfg", "docsrs", "-D", "warnings"]);
        run(&mut rustdoc)?;
    }
    Ok(())
}

/// Checks that the package of a crate has what each should have.
fn complete(name: &str) -> Result<()> {
    let list = output(&mut cargo(&["package", "--allow-dirty", "--list", "-p", name]))?;
    for file in FILES {
        ensure!(list.lines().any(|line| line == *file), "the package of {name} lacks {file}");
    }
    for file in ["LICENSE-APACHE", "LICENSE-MIT"] {
        let read = |path: &Path| std::fs::read(path.join(file));
        let root = Path::new(ROOT);
        let same = read(root)? == read(&root.join("crates").join(name))?;
        ensure!(same, "{file} of {name} is not that of the repository");
    }
    Ok(())
}
