//! The archive of a program: with its manual, completions, licences and what changed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::licences;
use super::target::Target;
use crate::manual::{self, Manual};
use crate::shell::{ROOT, VERSION, program, run};

/// Documents of the repository that each archive has.
const DOCUMENTS: &[&str] = &["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Where the content of an archive lies before it is packed, from the root of the repository.
const STAGED: &str = "target/staged";

/// Where an archive is unpacked to look at it.
const UNPACKED: &str = "target/unpacked-archive";

/// Packs a folder as a zip file: its names are in order, and each has the first time that zip files can tell, so the same
/// content gives the same archive. Who unpacks it on Unix can read all files and run the program.
const ZIP: &str = "
import os, stat, sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as archive:
    for folder, folders, files in os.walk(sys.argv[2]):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            entry = zipfile.ZipInfo(path)
            mode = 0o755 if name.endswith('.exe') else 0o644
            entry.external_attr = (stat.S_IFREG | mode) << 16
            with open(path, 'rb') as file:
                archive.writestr(entry, file.read(), zipfile.ZIP_DEFLATED)
";

/// Writes `huffwire-VERSION-TARGET.tar.gz`, for Windows `.zip`, into `folder`.
pub(super) fn write(
    folder: &Path,
    target: &Target,
    executable: &Path,
    licences: &[PathBuf],
    manual: &Manual,
) -> Result<PathBuf> {
    let name = name(target);
    let staged = emptied(STAGED)?;
    let content = staged.join(&name);
    fs::create_dir_all(content.join(manual::COMPLETIONS))?;
    fs::create_dir_all(content.join(manual::MAN))?;
    for document in DOCUMENTS {
        copy(&Path::new(ROOT).join(document), &content)?;
    }
    copy(executable, &content)?;
    for licence in licences {
        copy(licence, &content)?;
    }
    for page in &manual.pages {
        copy(page, &content.join(manual::MAN))?;
    }
    for script in &manual.completions {
        copy(script, &content.join(manual::COMPLETIONS))?;
    }
    let archive = pack(folder, target, &staged)?;
    fs::remove_dir_all(&staged)?;
    Ok(archive)
}

/// Packs the one folder in `staged`.
fn pack(folder: &Path, target: &Target, staged: &Path) -> Result<PathBuf> {
    let name = name(target);
    let archive = folder.join(file(target));
    if target.is_windows() {
        let mut zip = program("python3");
        zip.args(["-c", ZIP]).arg(&archive).arg(&name);
        run(zip.current_dir(staged))?;
    } else {
        // The same content gives the same archive: names in order, nobody's account, and the modes that files have
        // wherever everybody may read them. gzip writes the time only of files.
        let mut tar = program("tar");
        tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]);
        tar.args(["--mode=u=rwX,go=rX", "-C"]);
        run(tar.arg(staged).arg("-czf").arg(&archive).arg(&name))?;
    }
    Ok(archive)
}

/// Unpacks an archive, checks that it has everything, and returns the program in it.
pub(super) fn unpacked(archive: &Path, target: &Target) -> Result<PathBuf> {
    let folder = emptied(UNPACKED)?;
    unpack(archive, target, &folder)?;
    let content = folder.join(name(target));
    complete(&content, target).with_context(|| file(target))?;
    Ok(content.join(target.file()))
}

fn unpack(archive: &Path, target: &Target, folder: &Path) -> Result<()> {
    if target.is_windows() {
        run(program("python3").args(["-m", "zipfile", "-e"]).arg(archive).arg(folder))
    } else {
        run(program("tar").arg("-xzf").arg(archive).arg("-C").arg(folder))
    }
}

/// Checks that nothing which belongs into an archive is missing or empty.
fn complete(content: &Path, target: &Target) -> Result<()> {
    let mut expected: Vec<PathBuf> = DOCUMENTS.iter().map(PathBuf::from).collect();
    expected.push(target.file().into());
    expected.extend(licences::FILES.iter().map(PathBuf::from));
    expected.push(Path::new(manual::MAN).join("huffwire.1"));
    let scripts = manual::SHELLS.iter().map(|(_, file)| Path::new(manual::COMPLETIONS).join(file));
    expected.extend(scripts);
    for path in expected {
        let size = fs::metadata(content.join(&path)).map_or(0, |found| found.len());
        ensure!(size > 0, "{} is missing or empty", path.display());
    }
    let page = fs::read_to_string(content.join(manual::MAN).join("huffwire.1"))?;
    ensure!(page.contains(".TH huffwire 1"), "huffwire.1 is no manual page");
    Ok(())
}

/// The name of the folder in an archive.
fn name(target: &Target) -> String {
    format!("huffwire-{VERSION}-{}", target.program)
}

/// The name of an archive.
pub(super) fn file(target: &Target) -> String {
    format!("{}.{}", name(target), if target.is_windows() { "zip" } else { "tar.gz" })
}

/// A folder of the checkout with nothing in it.
pub(super) fn emptied(folder: &str) -> Result<PathBuf> {
    let path = Path::new(ROOT).join(folder);
    if path.exists() {
        fs::remove_dir_all(&path).with_context(|| format!("{folder} cannot be emptied"))?;
    }
    fs::create_dir_all(&path).with_context(|| format!("{folder} cannot be made"))?;
    Ok(path)
}

/// Copies a file into a folder.
pub(super) fn copy(file: &Path, folder: &Path) -> Result<()> {
    let name = file.file_name().context("a file has a name")?;
    fs::copy(file, folder.join(name))
        .with_context(|| format!("{} cannot be copied", file.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::target::TARGETS;
    use super::*;
    use crate::needs;
    use crate::shell::output;

    /// Something for every file of an archive.
    fn staged(folder: &Path, target: &Target) {
        let content = folder.join(name(target));
        let inner = |file: &str| fs::write(content.join(file), file).unwrap();
        fs::create_dir_all(content.join("man")).unwrap();
        fs::create_dir_all(content.join("completions")).unwrap();
        DOCUMENTS.iter().chain(&licences::FILES).for_each(|file| inner(file));
        inner(target.file());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let program = content.join(target.file());
            fs::set_permissions(program, PermissionsExt::from_mode(0o755)).unwrap();
        }
        for (_, file) in manual::SHELLS {
            inner(&format!("completions/{file}"));
        }
        fs::write(content.join("man/huffwire.1"), ".ie\n.TH huffwire 1  \"huffwire\"\n").unwrap();
    }

    /// Names and modes of the files in an archive.
    fn modes(archive: &Path, target: &Target) -> Vec<(String, u32)> {
        let list = "
import sys, tarfile, zipfile
if sys.argv[1].endswith('.zip'):
    with zipfile.ZipFile(sys.argv[1]) as archive:
        found = [(entry.filename, entry.external_attr >> 16) for entry in archive.infolist()]
else:
    with tarfile.open(sys.argv[1]) as archive:
        found = [(entry.name, entry.mode | 0o100000) for entry in archive if entry.isfile()]
for name, mode in found:
    print(mode, name)
";
        let list = output(program("python3").args(["-c", list]).arg(archive)).unwrap();
        let inner = format!("{}/", name(target));
        let of_line = |line: &str| {
            let (mode, name) = line.split_once(' ').unwrap();
            (name.strip_prefix(&inner).unwrap().to_owned(), mode.parse().unwrap())
        };
        list.lines().map(of_line).collect()
    }

    /// Makes a folder and all in it readable for its owner alone, as with another umask.
    #[cfg(unix)]
    fn lock(folder: &Path) {
        use std::os::unix::fs::PermissionsExt;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let mode = path.metadata().unwrap().permissions().mode() & 0o700;
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            if path.is_dir() {
                lock(&path);
            }
        }
    }

    #[test]
    fn archives_have_everything_and_are_the_same_each_time() {
        for (target, packer) in [(&TARGETS[0], "tar"), (&TARGETS[3], "python3")] {
            if let Some(gap) = needs::missing(&[packer, "python3"]).unwrap().first() {
                eprintln!("not checked: the archive for {}: {}", target.program, gap.what);
                continue;
            }
            let folder = std::env::temp_dir().join(format!(
                "huffwire-archive-{}-{}",
                target.program,
                std::process::id()
            ));
            staged(&folder.join("in"), target);
            fs::create_dir_all(folder.join("out")).unwrap();
            let archive = pack(&folder, target, &folder.join("in")).unwrap();
            let first = fs::read(&archive).unwrap();
            let modes = modes(&archive, target);
            assert!(modes.iter().any(|(name, _)| name == target.file()));
            for (name, mode) in modes {
                let expected = if name == target.file() { 0o100755 } else { 0o100644 };
                assert_eq!(mode, expected, "{name}: {mode:o}");
            }
            unpack(&archive, target, &folder.join("out")).unwrap();
            let content = folder.join("out").join(name(target));
            complete(&content, target).unwrap();
            fs::write(content.join("completions/_huffwire"), "").unwrap();
            let error = complete(&content, target).unwrap_err().to_string();
            assert!(error.contains("_huffwire is missing or empty"), "{error}");

            // Written later, by others.
            fs::remove_dir_all(folder.join("in")).unwrap();
            staged(&folder.join("in"), target);
            #[cfg(unix)]
            lock(&folder.join("in"));
            pack(&folder, target, &folder.join("in")).unwrap();
            let second = fs::read(&archive).unwrap();
            fs::remove_dir_all(&folder).unwrap();
            assert!(first == second, "{}", target.program);
        }
    }
}
