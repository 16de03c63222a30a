//! Which instructions the kernels use: asked of the processor once, at run time.
//!
//! Every platform reads and writes the same bytes, and the same blocks come out; only the time
//! differs. Code that a platform has no kernel for runs as on [`Platform::Portable`].

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;

use crate::error::{Error, Result};

/// The environment variable that [`Platform::detect`] obeys.
const VARIABLE: &str = "HUFFWIRE_PLATFORM";

/// A set of instructions that this machine has: holding one is the proof.
///
/// ```
/// use huffwire::{Decoder, Dtype, Encoder, Platform};
///
/// let tensor: Vec<u8> = (0..4096u32).flat_map(|i| (i as f32).sin().to_le_bytes()).collect();
/// let mut messages = Platform::available().map(|platform| {
///     Encoder::builtin().with_platform(platform).encode_to_vec(Dtype::F32, &tensor)
/// });
/// let portable = messages.next().unwrap()?;
/// assert!(messages.all(|message| message.as_ref() == Ok(&portable)));
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Platform {
    /// Whatever the program was compiled for: safe Rust that defines the bytes.
    Portable,
    /// AVX2 with BMI2 (Intel since Haswell, AMD since Zen).
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512 with VBMI2 (Intel since Ice Lake, AMD since Zen 4).
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Platform {
    /// The platforms of this machine, the slowest (always [`Platform::Portable`]) first.
    pub fn available() -> impl Iterator<Item = Self> {
        let portable = std::iter::once(Self::Portable);
        #[cfg(target_arch = "x86_64")]
        let portable = portable
            .chain(Avx2::detect().map(Self::Avx2))
            .chain(Avx512::detect().map(Self::Avx512));
        portable
    }

    /// The platform that coders use unless they are told otherwise: the one named by the environment
    /// variable `HUFFWIRE_PLATFORM` when the program first asks, else the fastest of this machine.
    ///
    /// A name that is unknown, or of instructions that this machine lacks, counts as `portable`: a
    /// library cannot stop the program for it. [`Platform::from_environment`] tells.
    #[must_use]
    pub fn detect() -> Self {
        static DETECTED: LazyLock<Platform> =
            LazyLock::new(|| Platform::from_environment().unwrap_or(Platform::Portable));
        *DETECTED
    }

    /// What the environment variable `HUFFWIRE_PLATFORM` names; the fastest platform of this machine
    /// when it is not set, or empty.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a name that is unknown, or of instructions that this machine lacks.
    pub fn from_environment() -> Result<Self> {
        match std::env::var_os(VARIABLE) {
            Some(name) if !name.is_empty() => name.to_string_lossy().parse(),
            _ => Ok(Self::available().last().unwrap_or(Self::Portable)),
        }
    }

    /// Runs a function as compiled for this platform: loops in safe Rust become vectors of its width.
    /// What the function calls has to be inlined (`#[inline(always)]`) to gain from it.
    #[inline(always)]
    pub(crate) fn run<R>(self, function: impl FnOnce() -> R) -> R {
        match self {
            Self::Portable => function(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(proof) => proof.run(function),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(proof) => proof.run(function),
        }
    }

    /// The platform's name: `portable`, `avx2`, `avx512`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::available().find(|platform| platform.name() == name);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::available().map(Self::name).collect();
            let names = names.join(", ");
            let detail = format!("no platform {name:?} on this machine, which has {names}");
            Error::InvalidOption(detail.into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portable_is_always_there_and_first() {
        assert_eq!(Platform::available().next(), Some(Platform::Portable));
    }

    #[test]
    fn names_are_read_back_and_an_unknown_one_lists_what_there_is() {
        for platform in Platform::available() {
            assert_eq!(platform.to_string().parse(), Ok(platform));
        }
        let error = "abacus".parse::<Platform>().unwrap_err().to_string();
        assert!(error.contains("\"abacus\"") && error.contains("portable"), "{error}");
    }

    /// Whoever forces a platform on the tests wants to know that it was tested.
    #[test]
    fn the_platform_of_the_environment_is_the_one_in_use() {
        assert_eq!(Platform::from_environment(), Ok(Platform::detect()));
    }
}
