//! The licences of everything that is compiled into the program.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::shell::{cargo, run};
use crate::tools::LICENSES;

/// Writes `THIRD-PARTY-LICENSES.yml` into `folder`, and returns its path.
pub(super) fn collect(folder: &Path) -> Result<PathBuf> {
    let file = folder.join("THIRD-PARTY-LICENSES.yml");
    let tool = LICENSES.path()?;
    let mut collect = cargo(&[]);
    // It is a subcommand of cargo, which finds it where it was installed.
    collect.arg("bundle-licenses").args(["--format", "yaml", "--output"]).arg(&file);
    let programs = tool.parent().unwrap_or(Path::new("/")).to_owned();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(programs).chain(std::env::split_paths(&others));
    run(collect.env("PATH", std::env::join_paths(paths)?))?;
    let text = fs::read_to_string(&file)?;
    ensure!(text.contains("package_name: zstd-sys"), "{} lacks licences", file.display());
    Ok(file)
}
