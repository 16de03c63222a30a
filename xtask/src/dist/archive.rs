//! The archive of a program: with its manual, completions, licences and what changed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::target::Target;
use crate::manual::Manual;
use crate::shell::{ROOT, VERSION, program, run};

/// Documents of the repository that each archive has.
const DOCUMENTS: &[&str] = &["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Writes `huffwire-VERSION-TARGET.tar.gz`, for Windows `.zip`, into `folder`.
pub(super) fn write(
    folder: &Path,
    target: &Target,
    executable: &Path,
    licences: &[PathBuf],
    manual: &Manual,
) -> Result<()> {
    let name = format!("huffwire-{}-{}", VERSION, target.program);
    let staged = Path::new(ROOT).join("target/staged");
    if staged.exists() {
        fs::remove_dir_all(&staged)?;
    }
    let content = staged.join(&name);
    fs::create_dir_all(content.join("completions"))?;
    fs::create_dir_all(content.join("man"))?;
    for document in DOCUMENTS {
        put(&Path::new(ROOT).join(document), &content)?;
    }
    put(executable, &content)?;
    for licence in licences {
        put(licence, &content)?;
    }
    for page in &manual.pages {
        put(page, &content.join("man"))?;
    }
    for script in &manual.completions {
        put(script, &content.join("completions"))?;
    }
    if target.is_windows() {
        let archive = folder.join(format!("{name}.zip"));
        let mut zip = program("python3");
        zip.args(["-m", "zipfile", "-c"]).arg(archive).arg(&name);
        run(zip.current_dir(&staged))?;
    } else {
        let archive = folder.join(format!("{name}.tar.gz"));
        // The same content gives the same archive: names in order, and nobody's account. gzip writes the time only
        // of files.
        let mut tar = program("tar");
        tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-C"]);
        run(tar.arg(&staged).arg("-czf").arg(archive).arg(&name))?;
    }
    fs::remove_dir_all(&staged)?;
    Ok(())
}

fn put(file: &Path, folder: &Path) -> Result<PathBuf> {
    let name = file.file_name().context("a file has a name")?;
    let place = folder.join(name);
    fs::copy(file, &place).with_context(|| format!("{} cannot be copied", file.display()))?;
    Ok(place)
}
