//! Typed slices, and the types that are coded as others.

use std::fmt::Debug;

use super::*;
use half::{bf16, f16};
use huffwire::{E4m3, E4m3Fnuz, E5m2, E5m2Fnuz, E8m0, Element};
use zerocopy::IntoBytes;

/// A slice of a type comes back, from the same message as its bytes; any other type is refused.
fn check<T: Element + Debug>(units: usize, seed: u64) {
    let mut elements = vec![T::new_zeroed(); units];
    for (element, index) in elements.iter_mut().zip(0..) {
        let mut random = Random::new(seed ^ index);
        // Any bits, NaNs too; now and then all zero.
        if !random.bits().is_multiple_of(3) {
            element.as_mut_bytes().fill_with(|| random.bits() as u8);
        }
    }
    let tensor = Tensor::of(&elements);
    assert_eq!(tensor.dtype(), T::DTYPE);
    let mut encoder = encoder(blocks_of(10));
    let message = encoder.encode_tensor_to_vec(&tensor).unwrap();
    // The same elements as bytes, in little-endian order.
    assert!(message == encoder.encode_to_vec(T::DTYPE, tensor.bytes()).unwrap());
    let mut decoder = Decoder::builtin();
    let decoded: Vec<T> = decoder.decode_elements(&message).unwrap();
    assert!(decoded.as_bytes() == elements.as_bytes(), "{}", T::DTYPE);
    let mut out = vec![T::new_zeroed(); units];
    let header = decoder.decode_into(&message, &mut out).unwrap();
    assert!(out.as_bytes() == elements.as_bytes(), "{}", T::DTYPE);
    assert_eq!(header.dtype, T::DTYPE);
    // Too few, too many.
    for wrong in [units + 1, units.wrapping_sub(1)] {
        if wrong > units + 1 {
            continue;
        }
        let mut out = vec![T::new_zeroed(); wrong];
        let error = decoder.decode_into(&message, &mut out).unwrap_err();
        assert!(matches!(error, Error::OutputLength { .. }), "{error}");
        assert!(out.as_bytes().iter().all(|&byte| byte == POISON));
    }
    refuses::<i64>(&message, T::DTYPE);
    refuses::<bf16>(&message, T::DTYPE);
    refuses::<u8>(&message, T::DTYPE);
}

/// A message of another type is refused, also where the sizes are the same.
fn refuses<T: Element + Debug>(message: &[u8], dtype: Dtype) {
    if T::DTYPE == dtype {
        return;
    }
    let what = "the element type of a message";
    let (expected, found) = (T::DTYPE.to_string(), dtype.to_string());
    let error = Error::Unexpected { what, expected, found };
    assert_eq!(Decoder::builtin().decode_elements::<T>(message).unwrap_err(), error);
    let mut out = [T::new_zeroed(); 3];
    assert_eq!(Decoder::builtin().decode_into(message, &mut out), Err(error));
    assert!(out.as_bytes().iter().all(|&byte| byte == POISON));
}

macro_rules! all_elements {
    ($check:ident($($argument:expr),*)) => {
        $check::<bf16>($($argument),*);
        $check::<f16>($($argument),*);
        $check::<f32>($($argument),*);
        $check::<f64>($($argument),*);
        $check::<E4m3>($($argument),*);
        $check::<E5m2>($($argument),*);
        $check::<E4m3Fnuz>($($argument),*);
        $check::<E5m2Fnuz>($($argument),*);
        $check::<E8m0>($($argument),*);
        $check::<i8>($($argument),*);
        $check::<u8>($($argument),*);
        $check::<i16>($($argument),*);
        $check::<u16>($($argument),*);
        $check::<i32>($($argument),*);
        $check::<u32>($($argument),*);
        $check::<i64>($($argument),*);
        $check::<u64>($($argument),*);
        $check::<[f32; 2]>($($argument),*);
        $check::<[f64; 2]>($($argument),*);
    };
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20) })]

    #[test]
    fn slices_of_every_type_come_back(units in 0..900usize, seed in any::<u64>()) {
        all_elements!(check(units, seed));
    }

    /// A type that is coded as another one comes back as itself, and its blocks are those of the other.
    #[test]
    fn every_type_comes_back_as_itself(units in 0..3000usize, seed in any::<u64>()) {
        for dtype in Dtype::all() {
            let bytes = tensor(dtype, units, seed);
            let message = encoder(blocks_of(10)).encode_to_vec(dtype, &bytes).unwrap();
            let (header, decoded) = Decoder::builtin().decode_to_vec(&message).unwrap();
            prop_assert_eq!(header.dtype, dtype);
            prop_assert_eq!(header.units as usize, bytes.len() / dtype.unit_bytes());
            prop_assert!(decoded == bytes);
            let coded_as = encoder(blocks_of(10)).encode_to_vec(dtype.coding(), &bytes).unwrap();
            let [ours, others] = [&message, &coded_as].map(|message| {
                let entries = forge::entries_of(message).into_iter();
                entries.map(|entry| message[entry].to_vec()).collect::<Vec<_>>()
            });
            prop_assert_eq!(ours, others);
        }
    }
}

/// The memory of a NaN is what poisoned floats look like.
#[test]
fn poisoned_floats_are_not_numbers() {
    let mut floats = [1.0f32, 2.0];
    assert!(Decoder::builtin().decode_into(b"no message", &mut floats).is_err());
    assert!(floats.iter().all(|float| float.is_nan()));
    let mut halves = [f16::ONE; 3];
    assert!(Decoder::builtin().decode_into(b"no message", &mut halves).is_err());
    assert!(halves.iter().all(|float| float.is_nan()));
    let mut brains = [bf16::ONE; 3];
    assert!(Decoder::builtin().decode_into(b"no message", &mut brains).is_err());
    assert!(brains.iter().all(|float| float.is_nan()));
}

#[test]
fn half_a_complex_number_is_refused() {
    for dtype in [Dtype::Complex32, Dtype::Complex64, Dtype::Complex128] {
        let bytes = 3 * dtype.unit_bytes();
        let zeros = vec![0; bytes];
        let expected = Error::PartialElement { dtype, bytes };
        let mut encoder = Encoder::builtin();
        assert_eq!(encoder.encode_to_vec(dtype, &zeros), Err(expected.clone()));
        let mut out = vec![0; encoder.bound(dtype, 3)];
        assert_eq!(encoder.encode(dtype, &zeros, &mut out), Err(expected.clone()));
        assert!(expected.to_string().contains(dtype.name()));
    }
}
