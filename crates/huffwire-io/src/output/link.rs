//! Symbolic links, which appear and are replaced in one step.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::Published;
use super::partial::{builder, folder_with, partial, without_path};
use crate::error::{Error, Result};

/// Makes a symbolic link that leads to `target`. With `force` it takes the place of another link; a file or a folder is
/// never replaced, and neither is what the `run` has made. A link that leads there already stays as it is.
///
/// # Errors
/// [`Error::NoLink`] when there is something else in its place, [`Error::MadeBefore`], and [`Error::Io`].
pub fn create_link(path: &Path, target: &Path, force: bool, run: &Published) -> Result<()> {
    match fs::read_link(path) {
        Ok(there) if there == target => run.publish(path, || Ok(())),
        Ok(_) if force => run.publish(path, || replace(path, target)),
        _ => run.publish(path, || match symlink(target, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(Error::NoLink { path: path.display().to_string() })
            }
            made => {
                made.map_err(Error::io(&path.display().to_string(), "this link cannot be made"))
            }
        }),
    }
}

/// Puts a link in the place of another one: at no time is there none.
fn replace(path: &Path, target: &Path) -> Result<()> {
    let label = path.display().to_string();
    let failed = || Error::io(&label, "this link cannot be replaced");
    // Locked meanwhile, so that no interruption comes between making a link and noting it down.
    let mut partial = partial();
    let temporary = builder().make_in(folder_with(path), |name| symlink(target, name));
    let temporary = temporary.map_err(|error| failed()(without_path(error)))?;
    partial.files.push(temporary.path().to_owned());
    drop(partial);
    temporary.persist(path).map_err(|error| failed()(error.error))
}

#[cfg(unix)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(windows)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, path)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_links_are_replaced_and_only_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let [link, file] = ["link", "file"].map(|name| folder.path().join(name));
        fs::write(&file, b"content").unwrap();
        let make = |path: &Path, target: &str, force| {
            create_link(path, Path::new(target), force, &Published::default())
        };
        make(&link, "old", false).unwrap();
        make(&link, "old", false).unwrap();
        assert!(matches!(make(&link, "new", false), Err(Error::NoLink { .. })));
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("old"));
        make(&link, "new", true).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("new"));
        for target in ["new", "file"] {
            assert!(matches!(make(&file, target, true), Err(Error::NoLink { .. })));
        }
        assert!(matches!(make(folder.path(), "new", true), Err(Error::NoLink { .. })));
        assert_eq!(fs::read(&file).unwrap(), b"content");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "no litter");
    }

    /// Whoever follows it at any time finds what it led to before, or what it leads to now.
    #[test]
    fn a_link_that_is_replaced_is_always_there() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        let targets = ["a", "b"].map(Path::new);
        symlink(targets[0], &link).unwrap();
        std::thread::scope(|scope| {
            let replacing = scope.spawn(|| {
                for round in 1..2000 {
                    create_link(&link, targets[round % 2], true, &Published::default()).unwrap();
                }
            });
            while !replacing.is_finished() {
                let found = fs::read_link(&link).unwrap();
                assert!(targets.contains(&found.as_path()), "{found:?}");
            }
        });
    }

    #[test]
    fn a_run_replaces_no_link_that_it_made() {
        let folder = tempfile::tempdir().unwrap();
        let (link, run) = (folder.path().join("link"), Published::default());
        create_link(&link, Path::new("a"), true, &run).unwrap();
        // Nor does it take one for two.
        for target in ["a", "b"] {
            let error = create_link(&link, Path::new(target), true, &run).unwrap_err();
            assert!(matches!(error, Error::MadeBefore { .. }), "{error}");
        }
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("a"));
    }
}
