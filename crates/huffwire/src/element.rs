//! Typed slices: which Rust types are elements of a tensor.

use std::borrow::Cow;

use half::{bf16, f16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::dtype::Dtype;

mod sealed {
    pub trait Sealed {
        /// Bytes of one number: what changes its order between processors.
        const NUMBER_BYTES: usize;
    }
}

/// Rust type whose slices are tensors: `&[bf16]`, `&[f32]`, `&[i64]`, ...
///
/// Slices are encoded where they lie. (On big-endian processors the numbers are copied and reordered first, since
/// the format is little-endian.) Nobody else can implement the trait.
///
/// ```
/// use half::bf16;
/// use huffwire::{Decoder, Encoder, Tensor};
///
/// let weights: Vec<bf16> = (0..10_000).map(|i| bf16::from_f32((i as f32).sin() * 0.02)).collect();
/// let message = Encoder::builtin().encode_tensor_to_vec(&Tensor::of(&weights))?;
///
/// let restored: Vec<bf16> = Decoder::builtin().decode_elements(&message)?;
/// assert_eq!(restored, weights);
/// # Ok::<(), huffwire::Error>(())
/// ```
pub trait Element:
    sealed::Sealed + FromBytes + IntoBytes + Immutable + KnownLayout + Copy + 'static
{
    /// The element type.
    const DTYPE: Dtype;
}

macro_rules! elements {
    ($($type:ty => $dtype:ident, $bytes:literal;)*) => {$(
        impl sealed::Sealed for $type {
            const NUMBER_BYTES: usize = $bytes;
        }

        impl Element for $type {
            const DTYPE: Dtype = Dtype::$dtype;
        }
    )*};
}

elements! {
    bf16 => Bf16, 2;
    f16 => F16, 2;
    f32 => F32, 4;
    f64 => F64, 8;
    E4m3 => E4m3, 1;
    E5m2 => E5m2, 1;
    E4m3Fnuz => E4m3Fnuz, 1;
    E5m2Fnuz => E5m2Fnuz, 1;
    E8m0 => E8m0, 1;
    i8 => I8, 1;
    u8 => U8, 1;
    i16 => I16, 2;
    u16 => U16, 2;
    i32 => I32, 4;
    u32 => U32, 4;
    i64 => I64, 8;
    u64 => U64, 8;
    [f32; 2] => Complex64, 4;
    [f64; 2] => Complex128, 8;
}

macro_rules! small_floats {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// It holds the bits and does no arithmetic.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name(pub u8);
    )*};
}

small_floats! {
    /// OCP 8-bit float with 4 exponent bits.
    E4m3;
    /// OCP 8-bit float with 5 exponent bits.
    E5m2;
    /// 8-bit float with 4 exponent bits, without infinities and -0.
    E4m3Fnuz;
    /// 8-bit float with 5 exponent bits, without infinities and -0.
    E5m2Fnuz;
    /// OCP 8-bit scale: an exponent and nothing else.
    E8m0;
}

/// The bytes of elements as the format has them: little-endian.
pub(crate) fn to_bytes<T: Element>(elements: &[T]) -> Cow<'_, [u8]> {
    let bytes = elements.as_bytes();
    if cfg!(target_endian = "little") || T::NUMBER_BYTES == 1 {
        return Cow::Borrowed(bytes);
    }
    let mut bytes = bytes.to_vec();
    reorder(&mut bytes, T::NUMBER_BYTES);
    Cow::Owned(bytes)
}

/// Lets `fill` write the elements' bytes as the format has them.
pub(crate) fn fill_bytes<T: Element, R>(
    elements: &mut [T],
    fill: impl FnOnce(&mut [u8]) -> R,
) -> R {
    let bytes = elements.as_mut_bytes();
    let result = fill(bytes);
    if cfg!(target_endian = "big") && T::NUMBER_BYTES > 1 {
        reorder(bytes, T::NUMBER_BYTES);
    }
    result
}

fn reorder(bytes: &mut [u8], number_bytes: usize) {
    bytes.chunks_exact_mut(number_bytes).for_each(<[u8]>::reverse);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_little_endian_on_every_machine() {
        assert_eq!(*to_bytes(&[0x0102u16, 3]), [2, 1, 3, 0]);
        assert_eq!(*to_bytes(&[bf16::ONE]), [0x80, 0x3f]);
        assert_eq!(to_bytes(&[[1.0f32, 2.0]])[4..], 2.0f32.to_le_bytes());
        let mut words = [0u32; 2];
        fill_bytes(&mut words, |bytes| bytes.copy_from_slice(&[1, 2, 0, 0, 4, 0, 0, 0]));
        assert_eq!(words, [0x0201, 4]);
    }

    #[test]
    fn sizes_of_the_rust_types_are_those_of_the_element_types() {
        fn check<T: Element>() {
            assert_eq!(8 * size_of::<T>(), T::DTYPE.value_bits(), "{}", T::DTYPE);
        }
        check::<bf16>();
        check::<f16>();
        check::<f32>();
        check::<f64>();
        check::<E4m3>();
        check::<E8m0>();
        check::<i8>();
        check::<u16>();
        check::<i64>();
        check::<[f32; 2]>();
        check::<[f64; 2]>();
    }
}
