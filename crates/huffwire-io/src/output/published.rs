//! What a run has made: none of it is replaced by another part of the same run.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::input::Identity;

/// The files and links that one run has given their names.
///
/// Two names that differ are not always two files: many systems take `a` and `A` for one name, or an accented letter that
/// is written in two ways. Whether they do is a matter of the folder. So an output that belongs to a run
/// ([`Output::one_of`](crate::Output::one_of)) is not compared by name: what lies in its place must be no output of this run.
///
/// ```
/// use huffwire_io::{Error, Output, Published};
///
/// let (folder, run) = (tempfile::tempdir()?, Published::default().into());
/// let path = folder.path().join("x");
/// let write = |text: &[u8]| {
///     let mut output = Output::create_no_follow(&path, true, &[])?.one_of(&run);
///     output.write(text)?;
///     output.finish()
/// };
/// write(b"first")?;
/// assert!(matches!(write(b"second"), Err(Error::MadeBefore { .. })));
/// assert_eq!(std::fs::read(&path)?, b"first");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Published(Mutex<HashSet<Identity>>);

impl Published {
    /// Gives something its name by `publish`, unless this name belongs to what the run has made.
    ///
    /// # Errors
    /// [`Error::MadeBefore`], and what `publish` returns.
    pub(crate) fn publish<T>(&self, path: &Path, publish: impl FnOnce() -> Result<T>) -> Result<T> {
        // Locked meanwhile: two outputs of one name may be complete at the same time.
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if Identity::of_entry(path).is_some_and(|there| made.contains(&there)) {
            return Err(Error::MadeBefore { path: path.display().to_string() });
        }
        let published = publish()?;
        made.extend(Identity::of_entry(path));
        Ok(published)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::output::{Complete, Output};

    fn complete(path: &Path, text: &[u8], run: &Arc<Published>) -> Complete {
        let mut output = Output::create_no_follow(path, true, &[]).unwrap().one_of(run);
        output.write(text).unwrap();
        output.complete().unwrap()
    }

    /// Both were complete before one of them had the name.
    #[test]
    fn a_run_replaces_nothing_that_it_made() {
        let folder = tempfile::tempdir().unwrap();
        let run = Arc::default();
        let path = folder.path().join("x");
        fs::write(&path, b"older").unwrap();
        let both = [&b"first"[..], b"second"].map(|text| complete(&path, text, &run));
        let error = Complete::publish_all(both.into()).unwrap_err();
        assert!(matches!(error, Error::MadeBefore { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no litter");
        // Another run may.
        Complete::publish_all(vec![complete(&path, b"third", &Arc::default())]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
    }

    /// Whether these are two names is a matter of the folder: either there are two files, or an error.
    #[test]
    fn names_that_differ_only_in_case_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let run = Arc::default();
        let [lower, upper] = ["x", "X"].map(|name| folder.path().join(name));
        let first = complete(&lower, b"lower", &run);
        let second = complete(&upper, b"upper", &run);
        Complete::publish_all(vec![first]).unwrap();
        let published = Complete::publish_all(vec![second]);
        assert_eq!(fs::read(&lower).unwrap(), b"lower");
        let files = fs::read_dir(&folder).unwrap().count();
        assert_eq!(files, if published.is_ok() { 2 } else { 1 });
    }
}
