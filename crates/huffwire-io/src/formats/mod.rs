//! Kinds of files. Each kind is a module that recognises its files and cuts them into pieces; a new kind
//! is a new module and a row of `Format`.

pub mod npy;
pub(crate) mod raw;
pub mod safetensors;
mod sharded;

use std::path::Path;

pub use raw::RawOptions;

use crate::error::Result;
use crate::input::{Input, InputFile};

/// Bytes at the start of a file by which kinds are told apart.
pub(crate) const START_BYTES: u64 = 12;

/// A kind of file that says by itself where its tensors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Safetensors,
    Sharded,
    Npy,
}

impl Format {
    /// The ending of the names of such files, in small letters.
    pub(crate) const fn ending(self) -> &'static str {
        match self {
            Self::Safetensors => safetensors::ENDING,
            Self::Sharded => sharded::ENDING,
            Self::Npy => npy::ENDING,
        }
    }

    /// Whether a file of this kind holds its tensors itself.
    pub(crate) const fn is_one_file(self) -> bool {
        !matches!(self, Self::Sharded)
    }

    /// How many bytes at the start of a file tell what is in it, by its first 12; `None` if they do not say.
    pub(crate) fn head_bytes(self, start: &[u8]) -> Option<u64> {
        match self {
            Self::Safetensors => safetensors::head_bytes(start),
            Self::Sharded => None,
            Self::Npy => npy::head_bytes(start),
        }
    }

    /// The size of a file of which these are the first bytes; `None` if they do not tell.
    pub(crate) fn file_bytes(self, label: &str, head: &[u8]) -> Result<Option<u64>> {
        match self {
            Self::Safetensors => safetensors::file_bytes(label, head).map(Some),
            Self::Sharded => Ok(None),
            Self::Npy => Ok(npy::file_bytes(head)),
        }
    }

    /// Whether files of this kind can begin with these bytes. An index is told by its name alone.
    fn recognises(self, start: &[u8]) -> bool {
        match self {
            Self::Safetensors => safetensors::recognises(start),
            Self::Sharded => false,
            Self::Npy => npy::recognises(start),
        }
    }

    /// Cuts a file into pieces. `folder` is where the other files of a sharded model lie.
    pub(crate) fn cut(
        self,
        file: InputFile,
        name: String,
        folder: Option<&Path>,
    ) -> Result<Vec<Input>> {
        match self {
            Self::Safetensors => Ok(vec![safetensors::cut(file, name)?]),
            Self::Sharded => sharded::cut(file, name, folder.unwrap_or(Path::new(""))),
            Self::Npy => Ok(vec![npy::cut(file, name)?]),
        }
    }
}

const ALL: [Format; 3] = [Format::Safetensors, Format::Sharded, Format::Npy];

/// The kind of file by the ending of its name.
pub(crate) fn by_name(name: &str) -> Option<Format> {
    let lower = name.to_ascii_lowercase();
    ALL.into_iter().find(|format| lower.ends_with(format.ending()))
}

/// The name of a file with `_` in the place of every character that cannot be part of a stored name.
pub(crate) fn plain_name(name: &str) -> String {
    let is_plain = |c: char| huffwire::file::is_plain_name(&format!("x{c}"));
    let name: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if huffwire::file::is_plain_name(&name) { name } else { "_".to_owned() }
}

/// The kind of file by its first bytes.
pub(crate) fn by_start(start: &[u8]) -> Option<Format> {
    ALL.into_iter().find(|format| format.recognises(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_name_or_start() {
        assert_eq!(by_name("A.SafeTensors"), Some(Format::Safetensors));
        assert_eq!(by_name("model.safetensors.index.json"), Some(Format::Sharded));
        assert_eq!(by_name("a.npy"), Some(Format::Npy));
        assert_eq!(by_name("a.bin"), None);
        assert_eq!(by_start(b"\x10\0\0\0\0\0\0\0{"), Some(Format::Safetensors));
        assert_eq!(by_start(b"\x93NUMPY\x01\x00\x76"), Some(Format::Npy));
        assert_eq!(by_start(b"{}"), None);
    }
}
