//! What a receiver knows of a message beforehand.

use super::*;

#[test]
fn another_type_is_refused_by_name() {
    let bytes = tensor(Dtype::F32, 700, 1);
    let message = encoder(blocks_of(10)).encode_to_vec(Dtype::F32, &bytes).unwrap();
    for dtype in Dtype::all() {
        let decoded = decode(&message, &Expected::anything().dtype(dtype), bytes.len());
        if dtype == Dtype::F32 {
            assert!(decoded.as_ref() == Ok(&bytes));
            continue;
        }
        let what = "the element type of a message";
        let (expected, found) = (dtype.to_string(), "f32".to_owned());
        assert_eq!(decoded, Err(Error::Unexpected { what, expected, found }));
    }
}

#[test]
fn more_bytes_than_allowed_are_refused() {
    for dtype in [Dtype::U8, Dtype::E3m2Packed, Dtype::Complex64] {
        let bytes = tensor(dtype, 1000, 2);
        let message = encoder(blocks_of(10)).encode_to_vec(dtype, &bytes).unwrap();
        let allowed = Expected::anything().dtype(dtype).max_bytes(bytes.len());
        assert!(decode(&message, &allowed, bytes.len()).as_ref() == Ok(&bytes));
        for limit in [0, 1, bytes.len() - 1] {
            let (what, found) = ("the tensor of a message", bytes.len() as u64);
            let remedy = "allow more if the sender can be trusted";
            let expected = Error::TooLarge { what, found, limit: limit as u64, remedy };
            let refused = decode(&message, &Expected::anything().max_bytes(limit), bytes.len());
            assert_eq!(refused, Err(expected));
        }
    }
}

/// A few bytes can stand for any number of equal elements.
#[test]
fn a_vast_tensor_in_a_short_message_is_refused() {
    let bytes = vec![0; 5 << 20];
    let message = encoder(blocks_of(20)).encode_to_vec(Dtype::F32, &bytes).unwrap();
    assert!(message.len() < 200, "{} bytes", message.len());
    let error = decode(&message, &Expected::anything().max_bytes(1 << 16), 1 << 16).unwrap_err();
    assert!(matches!(error, Error::TooLarge { found: 0x50_0000, limit: 0x1_0000, .. }), "{error}");
}
