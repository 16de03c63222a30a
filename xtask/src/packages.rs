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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_crate_comes_after_those_that_it_needs() {
        for (place, (name, needs)) in PUBLISHED.iter().enumerate() {
            for needed in *needs {
                let before = PUBLISHED[..place].iter().any(|(earlier, _)| earlier == needed);
                assert!(before, "{name} needs {needed}");
            }
        }
    }

    #[test]
    fn every_crate_that_may_be_published_is_in_the_list() {
        for entry in fs::read_dir(Path::new(ROOT).join("crates")).unwrap() {
            let folder = entry.unwrap();
            let name = folder.file_name().into_string().unwrap();
            let manifest = fs::read_to_string(folder.path().join("Cargo.toml")).unwrap();
            let is_listed = PUBLISHED.iter().any(|(listed, _)| *listed == name);
            assert_ne!(is_listed, manifest.contains("\npublish = false\n"), "{name}");
        }
    }

    #[test]
    fn the_check_list_names_them_in_order() {
        let list = fs::read_to_string(Path::new(ROOT).join("docs/releasing.md")).unwrap();
        let (_, step) = list.split_once("The crates in this order").unwrap();
        let (step, _) = step.split_once("cargo publish").unwrap();
        let named: Vec<_> = step.split('`').filter(|word| word.starts_with("huffwire")).collect();
        let published: Vec<_> = PUBLISHED.iter().map(|(name, _)| *name).collect();
        assert_eq!(named, published);
    }
}
