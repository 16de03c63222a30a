//! Quantized values: messages of every encoder and every quantizer, and a file with an item of them.

use std::sync::Arc;

use huffwire::file::{self, Directory, NewItem, TensorInfo, Writer};
use huffwire::gradient::Random;
use huffwire::gradient::encode::{BitmapBooks, EncoderKind};
use huffwire::gradient::item::{ItemReader, ItemWriter, KindHeader};
use huffwire::gradient::message::{self, Options, Origin};
use huffwire::gradient::quantize::{
    Keep, Linear, Natural, Norm, Qsgd, Quantized, Quantizer, Sign, SignScale, Sparsify, TernGrad,
    WHOLE,
};
use huffwire::{CodebookSet, Decoder, Dtype, Expected, Kind};

use super::{golden, path, same_as_today};

const ELEMENTS: usize = 900;
const SHAPE: [u64; 2] = [30, 30];

/// A gradient, the same on every machine: floats of many magnitudes, of either sign.
fn floats(seed: u64) -> Vec<f32> {
    let random = Random::new(seed);
    let float = |i: u64| {
        let uniform = random.uniform(2 * i) as f32 - 0.5;
        uniform * 0.5f32.powi(random.below(2 * i + 1, 8) as i32)
    };
    (0..ELEMENTS as u64).map(float).collect()
}

/// A message: its name, what it holds, and how it is coded.
struct Case {
    name: String,
    quantized: Quantized,
    options: Options,
}

/// Every encoder and every quantizer occurs.
fn cases() -> Vec<Case> {
    let qsgd = |levels, bucket, norm| Quantizer::Qsgd(Qsgd { levels, bucket, norm });
    let sign = |scale| Quantizer::Sign(Sign { scale, bucket: 100 });
    let sparsify = |keep| Quantizer::Sparsify(Sparsify { keep, share: 0.125 });
    let quantizers = [
        qsgd(4, 512, Norm::L2),
        // Values of more than a byte, and scales worth coding.
        qsgd(1000, 4, Norm::Max),
        Quantizer::TernGrad(TernGrad { clip: Some(2.5), bucket: WHOLE }),
        Quantizer::TernGrad(TernGrad { clip: None, bucket: 64 }),
        Quantizer::Natural(Natural),
        sign(SignScale::One),
        sign(SignScale::Mean),
        sign(SignScale::Means),
        sparsify(Keep::Top),
        sparsify(Keep::Random),
        Quantizer::Linear(Linear { bucket: WHOLE }),
        Quantizer::Linear(Linear { bucket: 30 }),
    ];
    let kinds: Vec<EncoderKind> = EncoderKind::all().collect();
    // Each encoder with two quantizers; one of the two with checksums, one in a context.
    let mut cases: Vec<Case> = (0..24)
        .map(|i| {
            let (quantizer, kind) = (quantizers[i % 12], kinds[(i + i / 12 * 5) % 12]);
            let options = Options::default().encoder(kind);
            let options = if i < 12 { options } else { options.checksums(false).context(7) };
            case(quantizer, options)
        })
        .collect();
    cases.push(case(quantizers[0], Options::default().books(books(quantizers[0]))));
    cases
}

fn case(quantizer: Quantizer, options: Options) -> Case {
    let kind = options.encoder;
    let name = format!("values-{kind}-{quantizer}.message").replace([' ', '='], "-");
    Case { name, quantized: quantizer.quantize(&floats(1), 1).unwrap(), options }
}

/// Books of other values of the same kind.
fn books(quantizer: Quantizer) -> Arc<BitmapBooks> {
    let set = BitmapBooks::train([quantizer.quantize(&floats(2), 2).unwrap().values.view()])
        .unwrap()
        .set()
        .to_bytes();
    let set = golden("values.codebooks", &set);
    Arc::new(BitmapBooks::from_set(CodebookSet::from_bytes(&set).unwrap()).unwrap())
}

fn encode(case: &Case) -> Vec<u8> {
    let mut bytes = Vec::new();
    let origin = Origin { dtype: Dtype::Bf16, shape: &SHAPE };
    message::encode(&case.quantized, origin, &case.options, &mut bytes).unwrap();
    bytes
}

#[test]
fn every_golden_message_of_values_decodes_to_them_and_is_still_made_the_same() {
    for case in cases() {
        let Case { name, quantized, options } = &case;
        let today = encode(&case);
        let bytes = golden(name, &today);
        let mut expected = Expected::anything();
        expected.context = options.context;
        let mut decoder = Decoder::builtin();
        if let Some(books) = &options.books {
            decoder = decoder.with_set(Arc::clone(books.set())).unwrap();
        }
        let (header, decoded) = message::decode(&bytes, &expected, &mut decoder).unwrap();
        assert!(decoded == *quantized, "{name}");
        assert_eq!((header.encoder, header.dtype), (options.encoder, Dtype::Bf16));
        same_as_today(name, &bytes, &today);
    }
}

#[test]
fn no_golden_message_of_values_is_left_out() {
    let known: Vec<String> = cases().into_iter().map(|case| case.name).collect();
    for entry in std::fs::read_dir(path("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_case = !name.starts_with("values-") || known.contains(&name);
        assert!(is_case, "nothing tests {name}");
    }
}

/// A file of one original with two tensors of quantized values.
fn write_file(cases: &[Case]) -> Vec<u8> {
    let mut writer = Writer::new(true, 17).unwrap();
    let set = writer.add_set(&CodebookSet::builtin(), false);
    let mut bytes = writer.header().to_vec();
    writer.begin_original("gradients").unwrap();
    for Case { name, quantized, options } in cases {
        if let Some(books) = &options.books {
            writer.add_set(books.set(), true);
        }
        let (name, dtype) = (name.clone(), "BF16".to_owned());
        let tensor = Some(TensorInfo { name, dtype, shape: SHAPE.to_vec() });
        let item = NewItem { tensor, kind: Kind::Values, dtype: Dtype::Bf16, set };
        writer.begin_item(item).unwrap();
        let origin = Origin { dtype: Dtype::Bf16, shape: &SHAPE };
        let item = ItemWriter::new(quantized, origin, options).unwrap();
        let header = item.kind_header();
        writer.push_kind_header(header.len(), Some(file::checksum(header))).unwrap();
        bytes.extend_from_slice(header);
        let mut block = Vec::new();
        item.encode_block(0, &mut block).unwrap();
        writer.push_block(2 * ELEMENTS, block.len(), Some(file::checksum(&block))).unwrap();
        bytes.extend_from_slice(&block);
    }
    bytes.extend_from_slice(&writer.finish().unwrap());
    bytes
}

#[test]
fn a_golden_file_of_values_is_read_and_still_written_the_same() {
    let mut cases = cases();
    let cases = cases.split_off(cases.len() - 2);
    let today = write_file(&cases);
    let bytes = golden("values.hw", &today);
    let trailer = &bytes[bytes.len() - file::TRAILER_BYTES..];
    let (range, check) = file::read_trailer(trailer, bytes.len() as u64).unwrap();
    let directory = &bytes[range.start as usize..range.end as usize];
    let directory = Directory::read(&bytes, directory, range.start, check).unwrap();
    let mut decoder = Decoder::builtin();
    for set in directory.sets.iter().filter_map(|set| set.embedded.as_ref()) {
        decoder = decoder.with_set(Arc::clone(set)).unwrap();
    }
    let entry = |entry: file::EntryRef| {
        let bytes = &bytes[entry.offset as usize..][..entry.coded_bytes];
        assert_eq!(entry.checksum, Some(file::checksum(bytes)));
        bytes
    };
    assert_eq!(directory.items().count(), cases.len());
    for (item, case) in directory.items().zip(&cases) {
        assert_eq!((item.kind, item.raw_bytes), (Kind::Values, 2 * ELEMENTS as u64));
        let bytes = entry(item.kind_header().unwrap());
        let set = directory.set_of(item).unwrap();
        let header = KindHeader { dtype: item.dtype, units: item.units(), set, bytes };
        let mut reader = ItemReader::new(&header, &mut decoder).unwrap();
        let mut restored = vec![0; 2 * ELEMENTS];
        for (index, block) in item.blocks().enumerate() {
            reader.restore_block(index, entry(block), &mut restored).unwrap();
        }
        let floats = case.quantized.dequantize().unwrap();
        let expected = floats.iter().flat_map(|float| half::bf16::from_f32(*float).to_le_bytes());
        assert!(restored.iter().copied().eq(expected), "{}", case.name);
    }
    same_as_today("values.hw", &bytes, &today);
}
