//! What an encoder is asked to do wrongly.

use super::*;

#[test]
fn parts_of_an_element_are_refused() {
    for dtype in Dtype::all().filter(|dtype| dtype.unit_bytes() > 1) {
        let bytes = dtype.unit_bytes() + 1;
        let expected = Error::PartialElement { dtype, bytes };
        let (input, mut coded) = (vec![0; bytes], Vec::new());
        let mut encoder = encoder(true);
        assert_eq!(encoder.encode_to_vec(dtype, &input).as_ref(), Err(&expected));
        assert_eq!(
            encoder.encode_block(&Tensor::new(dtype, &input), &mut coded).as_ref(),
            Err(&expected)
        );
        assert!(coded.is_empty());
        says(&expected, &[dtype.name(), &format!("{bytes} bytes are no whole number")]);
    }
}

#[test]
fn a_small_output_buffer_is_refused() {
    let tensor = tensor(600);
    let needed = message::bound(Dtype::Bf16, 600, 10);
    for available in [0, 15, needed - 1] {
        let mut out = vec![0; available];
        let encoded = encoder(true).encode(Dtype::Bf16, &tensor, &mut out);
        assert_eq!(encoded, Err(Error::OutputTooSmall { needed, available }));
    }
    let mut out = vec![0; needed];
    assert!(encoder(true).encode(Dtype::Bf16, &tensor, &mut out).is_ok());
}

#[test]
fn a_block_larger_than_the_options_allow_is_refused() {
    let encoded = encoder(true).encode_block(&Tensor::new(Dtype::U8, &[0; 1025]), &mut Vec::new());
    let (what, found, limit, remedy) = ("a block", 1025, 1024, "make several blocks of it");
    assert_eq!(encoded, Err(Error::TooLarge { what, found, limit, remedy }));
}

#[test]
fn block_sizes_outside_the_format_are_refused() {
    for block_log2 in [0, 9, 21, 63, 64, 255] {
        let options = EncodeOptions::default().block_log2(block_log2);
        let error = Encoder::new(CodebookSet::builtin(), options).unwrap_err();
        assert!(matches!(error, Error::InvalidOption(_)));
        says(&error, &["block_log2 must lie in 10..=20"]);
    }
}
