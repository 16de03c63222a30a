//! Quantized tensors: messages, items, and the streams of all encoders.

use huffwire::gradient::encode::{self, EncoderKind, ValueEncoder};
use huffwire::gradient::item::{ItemReader, KindHeader};
use huffwire::gradient::message::{self, FloatParts, Header, Options, Origin};
use huffwire::gradient::quantize::{
    Keep, Linear, Natural, Norm, Qsgd, Quantizer, Sign, SignScale, Sparsify, TernGrad, WHOLE,
};
use huffwire::{CodebookSet, Decoder, Dtype, Expected};

use super::Recipe;
use super::forge::mend_message;

/// Messages that claim more are not decoded: the caller of the library decides what is too much.
const LARGEST: usize = 1 << 18;

/// Any bytes as a message of a quantized tensor, as the entries of an item, as a stream of each encoder.
pub fn quantized(data: &[u8]) {
    any_message(data);
    let mut mended = data.to_vec();
    mend_message(&mut mended, None);
    any_message(&mended);
    any_item(data);
    for kind in EncoderKind::all() {
        any_stream(&*kind.encoder((-4, 4)), data);
    }

    let mut recipe = Recipe(data);
    let quantizer = quantizer(&mut recipe);
    let kinds: Vec<EncoderKind> = EncoderKind::all().collect();
    let kind = kinds[usize::from(recipe.byte()) % kinds.len()];
    let seed = recipe.byte().into();
    let bytes = recipe.tensor(Dtype::F32);
    let floats = bytes.as_chunks::<4>().0.iter().map(|float| f32::from_le_bytes(*float));
    let floats: Vec<f32> = floats.map(|v| if v.is_finite() { v } else { 1.0 }).collect();
    // Floats may be too large for what the quantizer does with them.
    let Ok(quantized) = quantizer.quantize(&floats, seed) else { return };
    let shape = [floats.len() as u64];
    let mut message = Vec::new();
    let origin = Origin { dtype: Dtype::F32, shape: &shape };
    // Checksums would find what is changed below.
    let options = Options::default().encoder(kind).checksums(false);
    if message::encode(&quantized, origin, &options, &mut message).is_err() {
        return;
    }
    let (_, decoded) = decode(&message).expect("a message");
    assert!(decoded == quantized, "{quantizer:?} and {kind}");
    decoded.dequantize().expect("values of this quantizer");
    let edits = recipe.0;
    let mut changed = message.clone();
    recipe.edit(&mut changed);
    mend_message(&mut changed, None);
    any_message(&changed);

    let mut stream = Vec::new();
    let encoder = kind.encoder(quantizer.alphabet());
    // Without elements the message needed no encoder, and this one may not be for such values.
    if encoder.encode(quantized.values.view(), &mut stream).is_ok() {
        Recipe(edits).edit(&mut stream);
        any_stream(&*encoder, &stream);
    }
}

/// Four bytes.
fn quantizer(recipe: &mut Recipe<'_>) -> Quantizer {
    let [which, a, b, c] = [(); 4].map(|()| recipe.byte());
    let bucket = if b == 0 { WHOLE } else { b.into() };
    let share = f64::from(u16::from(c) + 1) / 256.0;
    match which % 7 {
        0 => {
            let norm = if c & 1 == 0 { Norm::L2 } else { Norm::Max };
            let levels = (u32::from(a) + 1) << (c >> 3 & 15);
            Quantizer::Qsgd(Qsgd { levels, bucket, norm })
        }
        1 => {
            let clip = (a > 0).then(|| f32::from(a) / 50.0);
            Quantizer::TernGrad(TernGrad { clip, bucket })
        }
        2 => Quantizer::Natural(Natural),
        3 => {
            let scales = [SignScale::One, SignScale::Mean, SignScale::Means];
            Quantizer::Sign(Sign { scale: scales[usize::from(a % 3)], bucket })
        }
        4 => Quantizer::Sparsify(Sparsify { keep: Keep::Top, share }),
        5 => Quantizer::Sparsify(Sparsify { keep: Keep::Random, share }),
        _ => Quantizer::Linear(Linear { bucket }),
    }
}

fn decode(message: &[u8]) -> huffwire::Result<(Header, huffwire::gradient::quantize::Quantized)> {
    message::decode(message, &Expected::anything(), &mut Decoder::builtin())
}

fn any_message(message: &[u8]) {
    let Ok(header) = message::read_header(message, None) else {
        assert!(decode(message).is_err());
        return;
    };
    if header.elements() > LARGEST || header.scales > LARGEST {
        return;
    }
    match decode(message) {
        Ok((again, quantized)) => {
            assert_eq!(again, header);
            assert_eq!(quantized.values.view().len(), header.elements());
            let floats = quantized.dequantize();
            if let Ok(floats) = &floats {
                assert!(floats.len() == header.elements() && floats.iter().all(|v| v.is_finite()));
            }
            assert_eq!(by_parts(message, &header).is_ok(), floats.is_ok());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The floats of a message, block by block.
fn by_parts(message: &[u8], header: &Header) -> huffwire::Result<()> {
    let decoder = &mut Decoder::builtin();
    let mut parts = FloatParts::open(message, &Expected::anything(), decoder)?;
    let mut bytes = 0;
    while let Some(part) = parts.next_part()? {
        bytes += part.len();
    }
    assert_eq!(bytes, header.elements() * header.dtype.unit_bytes());
    Ok(())
}

/// A kind header, whose length is the first byte, and a block behind it.
fn any_item(bytes: &[u8]) {
    let [length, units, bytes @ ..] = bytes else { return };
    let Some((kind_header, block)) = bytes.split_at_checked(usize::from(*length)) else { return };
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16, Dtype::U8] {
        let mut decoder = Decoder::builtin();
        let (units_claimed, set) = (u64::from(*units), CodebookSet::builtin().id());
        let kind_header = KindHeader { dtype, units: units_claimed, set, bytes: kind_header };
        let reader = ItemReader::new(&kind_header, &mut decoder);
        if let Ok(mut reader) = reader {
            let mut out = vec![0; usize::from(*units) * dtype.unit_bytes()];
            let _ = reader.restore_block(0, block, &mut out);
        }
    }
}

/// Both widths take their own ways, and agree.
fn any_stream(encoder: &dyn ValueEncoder, stream: &[u8]) {
    let Some(count) = encode::count(stream).ok().filter(|count| *count <= LARGEST) else { return };
    let (mut narrow, mut wide) = (vec![9i8; count], vec![9i32; count]);
    let narrow_result = encoder.decode(stream, narrow[..].as_mut().into());
    let wide_result = encoder.decode(stream, wide[..].as_mut().into());
    if narrow_result.is_ok() {
        wide_result.expect("what fits a byte fits more");
        assert!(narrow.iter().zip(&wide).all(|(&narrow, &wide)| i32::from(narrow) == wide));
    }
}
