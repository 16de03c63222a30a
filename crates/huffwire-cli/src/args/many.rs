//! Arguments of commands that work on many files in one call.

use clap::ArgAction;

/// Which files, and what becomes of them.
#[derive(Debug, clap::Args)]
pub(crate) struct ManyArgs {
    /// Work on folders, with everything in them. Empty folders and symbolic links are made again in OUT; what a link
    /// leads to is not read.
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Files worked on at a time, 1 to 64, where there are several [default: 2]. All share the threads.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) jobs: Option<u8>,
    /// Remove each input after its output was synced to the disk, read again and found to hold the same. An input that
    /// was changed meanwhile is kept, and so is one that is a symbolic link; but of a folder the links go, too, that were
    /// made again in OUT.
    #[arg(long, overrides_with = "keep")]
    pub(crate) rm: bool,
    /// Keep the inputs. This is the default.
    #[arg(long, action = ArgAction::SetTrue, overrides_with = "rm")]
    keep: bool,
}

impl ManyArgs {
    /// How many files are worked on at a time.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.map_or(2, usize::from)
    }
}
