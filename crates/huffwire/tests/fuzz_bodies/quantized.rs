//! Quantized tensors: messages, files, and the streams of all encoders.

use huffwire::gradient::encode::{self, EncoderKind, ValueEncoder};
use huffwire::gradient::file::{self, Coding, Directory, HEADER_BYTES, TRAILER_BYTES, Writer};
use huffwire::gradient::message::{self, Header, Origin};
use huffwire::gradient::quantize::{
    Keep, Linear, Natural, Norm, Qsgd, Quantizer, Sign, SignScale, Sparsify, TernGrad, WHOLE,
};
use huffwire::{Decoder, Dtype};

use super::Recipe;
use super::forge::{crc32c, mend_quantized};

/// Messages that claim more are not decoded: the caller of the library decides what is too much.
const LARGEST: usize = 1 << 18;

/// Any bytes as a message of a quantized tensor, as a file of them, as a stream of each encoder.
pub fn quantized(data: &[u8]) {
    any_message(data);
    let mut mended = data.to_vec();
    mend_quantized(&mut mended);
    any_message(&mended);
    any_file(data);
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
    if message::encode(&quantized, origin, kind, &mut message).is_err() {
        return;
    }
    let (_, decoded) = message::decode(&message).expect("a message");
    assert!(decoded == quantized, "{quantizer:?} and {kind}");
    decoded.dequantize().expect("values of this quantizer");
    let edits = recipe.0;
    let mut changed = message.clone();
    recipe.edit(&mut changed);
    mend_quantized(&mut changed);
    any_message(&changed);

    let mut stream = Vec::new();
    let encoder = kind.encoder(quantizer.alphabet());
    // Without elements the message needed no encoder, and this one may not be for such values.
    if encoder.encode(quantized.values.view(), &mut stream).is_ok() {
        Recipe(edits).edit(&mut stream);
        any_stream(&*encoder, &stream);
    }

    changed_file(&message, &shape, Recipe(edits));
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

fn any_message(message: &[u8]) {
    let Ok(header) = Header::read(message) else {
        assert!(message::decode(message).is_err());
        return;
    };
    if header.elements() > LARGEST {
        return;
    }
    match message::decode(message) {
        Ok((again, quantized)) => {
            assert_eq!(again, header);
            assert_eq!(quantized.values.view().len(), header.elements());
            if let Ok(floats) = quantized.dequantize() {
                assert!(floats.len() == header.elements() && floats.iter().all(|v| v.is_finite()));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
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

/// A file of a quantized tensor and one that is none, changed in its directory.
fn changed_file(message: &[u8], shape: &[u64], mut edits: Recipe<'_>) {
    let mut writer = Writer::new(vec![("a".to_owned(), "b".to_owned())]).expect("one key");
    let mut bytes = writer.header().to_vec();
    writer.push("q", "F32", shape, Coding::Quantized, message.len()).expect("a new name");
    writer.push("k", "U8", &[0], Coding::Kept, message.len()).expect("a new name");
    bytes.extend_from_slice(message);
    bytes.extend_from_slice(message);
    let at = bytes.len();
    let mut end = writer.finish();
    end.truncate(end.len() - TRAILER_BYTES);
    edits.edit(&mut end);
    bytes.extend_from_slice(&end);
    bytes.extend_from_slice(&(at as u64).to_le_bytes());
    bytes.extend_from_slice(&(end.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&crc32c(&end).to_le_bytes());
    bytes.extend_from_slice(b"HWQE");
    any_file(&bytes);
}

fn any_file(bytes: &[u8]) {
    let _ = file::read_header(bytes);
    let Some(trailer) = bytes.last_chunk::<TRAILER_BYTES>() else { return };
    let Ok((range, check)) = file::read_trailer(trailer, bytes.len() as u64) else { return };
    let directory = &bytes[range.start as usize..range.end as usize];
    let Ok(directory) = Directory::read(directory, range.start, check) else { return };
    let mut at = HEADER_BYTES as u64;
    for entry in &directory.entries {
        assert_eq!(entry.range.start, at);
        at = entry.range.end;
        let message = &bytes[entry.range.start as usize..entry.range.end as usize];
        match entry.coding {
            Coding::Quantized => any_message(message),
            Coding::Kept => {
                let size =
                    huffwire::message::Header::read(message, None).and_then(|h| h.raw_bytes());
                if size.is_ok_and(|size| size <= LARGEST) {
                    let _ = Decoder::builtin().decode_to_vec(message);
                }
            }
        }
    }
    assert_eq!(at, range.start);
}
