//! The figures of `--plots`: files in a folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use huffwire_analysis::{Analysis, Figure};
use huffwire_io::{Complete, Origin, Output};

use crate::files;

/// Figures that are to be written. The fields are dropped in this order: a folder is taken away when it is empty again.
pub(super) struct Plots<'a> {
    /// Outputs for the figures that every analysis has, by [`Figure::ALWAYS`].
    outputs: Vec<Output>,
    made: Made,
    folder: &'a Path,
    force: bool,
    inputs: &'a [&'a Origin],
}

/// Folders that were made for figures. They are taken away again if nothing comes of these.
#[derive(Default)]
pub(super) struct Made(Vec<PathBuf>);

impl<'a> Plots<'a> {
    /// Makes the folder where there is none, and prepares to write the figures that every analysis has. Figures that exist
    /// are refused without `force`.
    pub(super) fn prepare(folder: &'a Path, force: bool, inputs: &'a [&'a Origin]) -> Result<Self> {
        let made = Made::make(folder)?;
        let outputs = Figure::ALWAYS
            .map(|name| files::create_one_of_many(&path_of(folder, name), force, inputs));
        let outputs = outputs.into_iter().collect::<Result<_>>()?;
        Ok(Self { outputs, made, folder, force, inputs })
    }

    /// Writes all figures. The folders must be kept when the figures have their names.
    pub(super) fn write(self, analysis: &Analysis, complete: &mut Vec<Complete>) -> Result<Made> {
        let Self { outputs, made, folder, force, inputs } = self;
        let mut prepared: Vec<(&str, Output)> = Figure::ALWAYS.into_iter().zip(outputs).collect();
        for figure in analysis.figures() {
            let place = prepared.iter().position(|(name, _)| *name == figure.name);
            let mut output = match place {
                Some(place) => prepared.swap_remove(place).1,
                None => files::create_one_of_many(&path_of(folder, &figure.name), force, inputs)?,
            };
            output.write(figure.svg().as_bytes())?;
            complete.push(output.complete()?);
        }
        Ok(made)
    }
}

fn path_of(folder: &Path, figure: &str) -> PathBuf {
    folder.join(format!("{figure}.svg"))
}

impl Made {
    /// Makes a folder and those that it is in, as far as they are missing.
    fn make(folder: &Path) -> Result<Self> {
        ensure!(
            folder.is_dir() || !folder.exists(),
            "{}: this is a file; --plots needs a folder",
            folder.display()
        );
        let mut made = Self::default();
        let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.is_dir();
        let missing: Vec<&Path> = folder.ancestors().take_while(missing).collect();
        for path in missing.into_iter().rev() {
            huffwire_io::create_partial_folder(path)?;
            made.0.push(path.to_owned());
        }
        Ok(made)
    }

    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            // Only if it is empty, and there is nobody to tell if it is not.
            let _ = fs::remove_dir(folder);
        }
    }
}
