//! What no plan may do: write two things to one place, over an input, or into a folder that is worked on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::plan::{Plan, Request};
use crate::error::{Error, Result};
use crate::input::Identity;

/// Refuses a plan by which something would be lost.
pub(super) fn check(plan: &Plan, request: &Request<'_>) -> Result<()> {
    let mut places = Places::default();
    if request.recursive && request.output.is_some() {
        refuse_nested(plan, request.inputs, &mut places)?;
    }
    let of_jobs = plan
        .jobs
        .iter()
        .flat_map(|job| job.targets.iter().map(move |target| (target, job.source.as_path())));
    let of_links = plan.links.iter().map(|link| (&link.path, link.source.as_path()));
    let results: Vec<(&PathBuf, &Path)> = of_jobs.chain(of_links).collect();
    refuse_shared(plan, &results, &mut places)?;
    refuse_inputs(plan, &results)
}

/// Refuses results within a folder that is worked on: they would become inputs.
fn refuse_nested(plan: &Plan, inputs: &[PathBuf], places: &mut Places) -> Result<()> {
    let folders = inputs.iter().filter(|input| input.is_dir());
    let inputs: HashMap<PathBuf, &Path> =
        folders.filter_map(|input| Some((input.canonicalize().ok()?, input.as_path()))).collect();
    for folder in &plan.folders {
        let place = places.of_folder(folder);
        if let Some(input) = place.ancestors().find_map(|ancestor| inputs.get(ancestor)) {
            let (path, input) = (folder.display().to_string(), input.display().to_string());
            return Err(Error::Nested { path, input });
        }
    }
    Ok(())
}

/// Refuses results that would replace each other.
fn refuse_shared(plan: &Plan, results: &[(&PathBuf, &Path)], places: &mut Places) -> Result<()> {
    let mut taken: HashMap<PathBuf, Option<&Path>> = HashMap::new();
    for folder in &plan.folders {
        taken.insert(places.of(folder), None);
    }
    for (path, source) in results {
        let output = || path.display().to_string();
        match taken.insert(places.of(path), Some(source)) {
            None => {}
            Some(Some(other)) => {
                let inputs = [other, source].map(|input| input.display().to_string());
                return Err(Error::SameOutput { path: output(), inputs });
            }
            Some(None) => return Err(Error::IsFolder { path: output() }),
        }
    }
    Ok(())
}

/// Refuses results that would replace an input, also one that cannot be worked on. A result takes the place of a link,
/// never of what the link leads to; and an input that is a link is both. Of a link that is copied only the link itself
/// is an input.
fn refuse_inputs(plan: &Plan, results: &[(&PathBuf, &Path)]) -> Result<()> {
    let mut inputs: HashMap<Identity, &Path> = HashMap::new();
    let failed = plan.failures.iter().map(|(path, _)| path.as_path());
    // No result takes the place of a folder.
    let failed = failed.filter(|path| !path.is_dir());
    for source in plan.jobs.iter().map(|job| job.source.as_path()).chain(failed) {
        let identities = [Identity::of(source), Identity::of_entry(source)];
        inputs.extend(identities.into_iter().flatten().map(|identity| (identity, source)));
    }
    for link in &plan.links {
        inputs.extend(Identity::of_entry(&link.source).map(|entry| (entry, link.source.as_path())));
    }
    for (path, _) in results {
        if let Some(input) = Identity::of_entry(path).and_then(|identity| inputs.get(&identity)) {
            let (path, input) = (path.display().to_string(), input.display().to_string());
            return Err(Error::SameFile { path, input });
        }
    }
    Ok(())
}

/// Where paths lead, so that two ways to write one path are found to be one.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<PathBuf, PathBuf>);

impl Places {
    /// The path with its folder resolved as far as this folder exists. What the path itself names is not followed.
    pub(super) fn of(&mut self, path: &Path) -> PathBuf {
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
            return path.canonicalize().unwrap_or_else(|_| path.to_owned());
        };
        self.of_folder(parent).join(name)
    }

    /// The folder, resolved as far as it exists.
    fn of_folder(&mut self, folder: &Path) -> PathBuf {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if let Some(known) = self.0.get(folder) {
            return known.clone();
        }
        let resolved = folder.canonicalize().unwrap_or_else(|_| self.of(folder));
        self.0.insert(folder.to_owned(), resolved.clone());
        resolved
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::plan::Direction;
    use super::*;

    fn request<'a>(inputs: &'a [PathBuf], output: Option<&'a Path>) -> Request<'a> {
        Request { direction: Direction::Compress, inputs, recursive: true, output }
    }

    #[test]
    fn two_inputs_with_one_output_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for folder in ["a", "b"] {
            fs::create_dir(path(folder)).unwrap();
            fs::write(path(folder).join("x"), folder).unwrap();
        }
        let (inputs, out) = ([path("a/x"), path("b/x")], path("out"));
        let error = Plan::new(&request(&inputs, Some(&out))).unwrap_err();
        assert!(matches!(error, Error::SameOutput { .. }), "{error}");
        assert_eq!(Plan::new(&request(&inputs, None)).unwrap().jobs.len(), 2);
        // The same file, in two ways of writing.
        let inputs = [path("a/x"), path("b/../a/x")];
        let error = Plan::new(&request(&inputs, None)).unwrap_err();
        assert!(matches!(error, Error::SameOutput { .. }), "{error}");
        assert!(!out.exists());
    }

    #[test]
    fn outputs_among_the_inputs_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let inputs = [root.path().to_owned()];
        for inside in ["", "out", "deep/er"] {
            let out = root.path().join(inside);
            let error = Plan::new(&request(&inputs, Some(&out))).unwrap_err();
            assert!(matches!(error, Error::Nested { .. }), "{error}");
        }
        fs::write(root.path().join("x"), "x").unwrap();
        fs::write(root.path().join("x.hw"), "an input, too").unwrap();
        let inputs = ["x", "x.hw"].map(|name| root.path().join(name));
        let error = Plan::new(&request(&inputs, None)).unwrap_err();
        assert!(matches!(error, Error::SameFile { .. }), "{error}");
    }

    /// Whoever gives it wants to keep it, even where nothing can be made of it.
    #[test]
    fn inputs_that_cannot_be_worked_on_are_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::write(path("x.hw"), "no .hw file").unwrap();
        let inner = crate::Input::open_any(&path("x.hw")).unwrap().0;
        let mut writer =
            crate::Writer::create(&path("x.hw.hw"), false, crate::WriteOptions::default()).unwrap();
        writer.add_inputs(&[inner], |_| ()).unwrap();
        writer.finish().unwrap();
        let inputs = ["x.hw.hw", "x.hw"].map(path);
        let decompress = |inputs: &[PathBuf]| {
            let direction = Direction::Decompress;
            Plan::new(&Request { direction, inputs, recursive: false, output: None })
        };
        let error = decompress(&inputs).unwrap_err();
        assert!(matches!(error, Error::SameFile { .. }), "{error}");
        assert_eq!(decompress(&inputs[..1]).unwrap().jobs.len(), 1);
        // A folder is a failure of its own, and nothing takes its place.
        fs::create_dir(path("folder")).unwrap();
        fs::rename(path("x.hw.hw"), path("folder.hw")).unwrap();
        let plan = decompress(&["folder.hw", "folder"].map(path)).unwrap();
        assert_eq!((plan.jobs.len(), plan.failures.len()), (1, 1));
    }

    /// The second name of a link is the link itself.
    #[cfg(target_os = "linux")]
    #[test]
    fn links_that_are_copied_are_inputs() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("in")).unwrap();
        fs::create_dir(path("out")).unwrap();
        fs::write(path("in/x"), "x").unwrap();
        std::os::unix::fs::symlink("x", path("in/link")).unwrap();
        let (inputs, out) = ([path("in")], path("out"));
        assert_eq!(Plan::new(&request(&inputs, Some(&out))).unwrap().links.len(), 1);
        fs::hard_link(path("in/link"), path("out/x.hw")).unwrap();
        let error = Plan::new(&request(&inputs, Some(&out))).unwrap_err();
        assert!(matches!(error, Error::SameFile { .. }), "{error}");
    }

    /// Of several inputs each has a folder of its own among the results, which may be the input itself.
    #[test]
    fn outputs_in_the_place_of_inputs_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for folder in ["a/b/c", "b", "c", "same/same"] {
            fs::create_dir_all(path(folder)).unwrap();
        }
        for inputs in [&["a", "b"][..], &["a/b", "b/../c"], &["a/b", "b"], &["same"]] {
            let inputs: Vec<PathBuf> = inputs.iter().map(|name| path(name)).collect();
            let error = Plan::new(&request(&inputs, Some(root.path()))).unwrap_err();
            assert!(matches!(error, Error::Nested { .. }), "{inputs:?}: {error}");
        }
        let inputs = ["a/b", "a"].map(path);
        assert!(Plan::new(&request(&inputs[..1], Some(root.path()))).is_ok());
        assert!(Plan::new(&request(&inputs, Some(&path("out")))).is_ok());
    }
}
