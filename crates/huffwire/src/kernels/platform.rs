//! Platforms: the instruction sets that kernels use. The processor is asked once, at run time, what it has.
//!
//! All platforms read and write the same bytes; only the time differs. Where a platform lacks a kernel, it uses that of
//! [`Platform::Portable`].

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use super::Kernels;
use super::lanes::{
    CARRIED_BYTES, DecodeLanes, EncodeLanes, Escaped, Escapes, Reading, SlotMap, ToMerge, ToSplit,
};
use super::portable::Portable;
use super::tables::Tables;
use crate::error::{Error, Result};

/// The environment variable that [`Platform::detect`] obeys.
const VARIABLE: &str = "HUFFWIRE_PLATFORM";

/// Makes everything that has to know all instruction sets of one list: for each row a variant of [`Platform`] and of the
/// coders, and the arms of every `match`.
macro_rules! platforms {
    ($d:tt $($(#[$about:meta])* $architecture:literal $Proof:ident $folder:ident;)*) => {
        $(
            #[cfg(target_arch = $architecture)]
            pub use super::$folder::$Proof;
        )*

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
            $(
                $(#[$about])*
                #[cfg(target_arch = $architecture)]
                $Proof($Proof),
            )*
        }

        impl Platform {
            /// The platforms of this machine, the slowest (always [`Platform::Portable`]) first.
            pub fn available() -> impl Iterator<Item = Self> {
                std::iter::once(Self::Portable)$(.chain({
                    #[cfg(target_arch = $architecture)]
                    let found = $Proof::detect().map(Self::$Proof);
                    #[cfg(not(target_arch = $architecture))]
                    let found = None;
                    found
                }))*
            }

            /// The platform's name: `portable`, `avx2`, `avx512`, `neon`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Portable => "portable",
                    $(
                        #[cfg(target_arch = $architecture)]
                        Self::$Proof(_) => stringify!($folder),
                    )*
                }
            }
        }

        /// Evaluates an expression with the [`Kernels`] of a platform.
        macro_rules! on_platform {
            ($d platform:expr, $d kernels:ident => $d body:expr) => {
                match $d platform {
                    $d crate::kernels::platform::Platform::Portable => {
                        let $d kernels = $d crate::kernels::portable::Portable;
                        $d body
                    }
                    $(
                        #[cfg(target_arch = $architecture)]
                        $d crate::kernels::platform::Platform::$Proof($d kernels) => $d body,
                    )*
                }
            };
        }

        /// The encoder of some platform.
        #[derive(Debug)]
        #[allow(clippy::large_enum_variant, reason = "a block allocates nothing")]
        pub(super) enum EncoderOf<'t> {
            Portable(<Portable as Kernels>::Encoder<'t>),
            $(
                #[cfg(target_arch = $architecture)]
                $Proof(<$Proof as Kernels>::Encoder<'t>),
            )*
        }

        /// The decoder of some platform.
        #[derive(Debug)]
        #[allow(clippy::large_enum_variant, reason = "a block allocates nothing")]
        pub(super) enum DecoderOf<'t> {
            Portable(<Portable as Kernels>::Decoder<'t>),
            $(
                #[cfg(target_arch = $architecture)]
                $Proof(<$Proof as Kernels>::Decoder<'t>),
            )*
        }

        /// Evaluates an expression with a platform's coder.
        macro_rules! with_coder {
            ($d Coders:ident, $d coders:expr, $d coder:ident => $d body:expr) => {
                match $d coders {
                    $d Coders::Portable($d coder) => $d body,
                    $(
                        #[cfg(target_arch = $architecture)]
                        $d Coders::$Proof($d coder) => $d body,
                    )*
                }
            };
        }

        /// Evaluates an expression with the coders of two planes if they are of the same platform; another one if
        /// not.
        macro_rules! with_both {
            ($d coders:expr, [$d a:ident, $d b:ident] => $d body:expr, else $d other:expr) => {
                match $d coders {
                    [DecoderOf::Portable($d a), DecoderOf::Portable($d b)] => $d body,
                    $(
                        #[cfg(target_arch = $architecture)]
                        [DecoderOf::$Proof($d a), DecoderOf::$Proof($d b)] => $d body,
                    )*
                    #[allow(unreachable_patterns, reason = "there may be one platform only")]
                    [$d a, $d b] => $d other,
                }
            };
        }

        impl<'t> EncoderOf<'t> {
            #[inline]
            pub(super) fn new(
                platform: Platform,
                tables: &'t Tables,
                map: SlotMap,
                carried: &[u8; CARRIED_BYTES],
                keep_escapes: bool,
            ) -> Self {
                match platform {
                    Platform::Portable => {
                        Self::Portable(Portable.encoder(tables, map, carried, keep_escapes))
                    }
                    $(
                        #[cfg(target_arch = $architecture)]
                        Platform::$Proof(kernels) => {
                            Self::$Proof(kernels.encoder(tables, map, carried, keep_escapes))
                        }
                    )*
                }
            }
        }

        impl<'t> DecoderOf<'t> {
            #[inline]
            pub(super) fn new(
                platform: Platform,
                tables: &'t Tables,
                reading: Reading<'_>,
                states: &[u8],
                stream: &'t [u8],
            ) -> Result<Self> {
                Ok(match platform {
                    Platform::Portable => {
                        Self::Portable(Portable.decoder(tables, reading, states, stream)?)
                    }
                    $(
                        #[cfg(target_arch = $architecture)]
                        Platform::$Proof(kernels) => {
                            Self::$Proof(kernels.decoder(tables, reading, states, stream)?)
                        }
                    )*
                })
            }
        }
    };
}

platforms! { $
    /// AVX2 with BMI2 (Intel since Haswell, AMD since Zen).
    "x86_64" Avx2 avx2;
    /// AVX-512 with VBMI2 (Intel since Ice Lake, AMD since Zen 4).
    "x86_64" Avx512 avx512;
    /// NEON, which all 64-bit processors by Arm have (and others with their instructions).
    "aarch64" Neon neon;
}
pub(super) use on_platform as on;

impl EncodeLanes for EncoderOf<'_> {
    fn push(
        &mut self,
        symbols: &[u8],
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<()> {
        with_coder!(Self, self, coder => coder.push(symbols, stream, end, escapes))
    }

    fn push_split(
        &mut self,
        elements: ToSplit<'_>,
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<bool> {
        with_coder!(Self, self, coder => coder.push_split(elements, stream, end, escapes))
    }

    fn finish(&self, states: &mut [u8]) {
        with_coder!(Self, self, coder => coder.finish(states));
    }
}

impl DecodeLanes for DecoderOf<'_> {
    fn pull(&mut self, escaped: &mut Escaped<'_>, symbols: &mut [u8]) -> Result<()> {
        with_coder!(Self, self, coder => coder.pull(escaped, symbols))
    }

    fn pull_two(
        coders: [&mut Self; 2],
        [first, second]: [&mut Escaped<'_>; 2],
        [to_first, to_second]: [&mut [u8]; 2],
    ) -> [Result<()>; 2] {
        with_both!(
            coders,
            [a, b] => DecodeLanes::pull_two([a, b], [first, second], [to_first, to_second]),
            else [a.pull(first, to_first), b.pull(second, to_second)]
        )
    }

    fn pull_merged(&mut self, escaped: &mut Escaped<'_>, elements: ToMerge<'_>) -> Result<()> {
        with_coder!(Self, self, coder => coder.pull_merged(escaped, elements))
    }

    fn pull_merged_of_two(
        coders: [&mut Self; 2],
        [first, second]: [&mut Escaped<'_>; 2],
        [of_first, of_second]: [ToMerge<'_>; 2],
    ) -> [Result<()>; 2] {
        with_both!(
            coders,
            [a, b] => DecodeLanes::pull_merged_of_two([a, b], [first, second], [of_first, of_second]),
            else [a.pull_merged(first, of_first), b.pull_merged(second, of_second)]
        )
    }

    fn finish(&self) -> Result<[u8; CARRIED_BYTES]> {
        with_coder!(Self, self, coder => coder.finish())
    }
}

impl Platform {
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
        on_platform!(self, kernels => kernels.run(function))
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
