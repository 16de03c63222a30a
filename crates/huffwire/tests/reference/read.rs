//! Reads messages and files as a program would, and names errors as the specification does.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use huffwire::file::{self, Directory};
#[cfg(feature = "gradient")]
use huffwire::gradient::{item::ItemReader, item::KindHeader, message::FloatParts};
#[cfg(feature = "gradient")]
use huffwire::message::Header;
use huffwire::{CodebookSet, CodedBlock, Decoder, Error, Expected, Kind, Result};

/// A folder of the repository.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// The name that section 1 of the specification gives to an error.
pub(crate) fn name(error: &Error) -> &'static str {
    match error {
        Error::Truncated { .. } => "truncated",
        Error::Malformed { .. } | Error::PartialElement { .. } => "malformed",
        Error::Checksum { .. } => "checksum",
        Error::UnknownVersion { .. } => "version",
        Error::UnknownKind { .. } => "kind",
        Error::MissingContext | Error::UnexpectedContext => "context",
        Error::SetMismatch { .. } | Error::AmbiguousSet { .. } => "set",
        Error::UnknownCodebook { .. } | Error::InvalidCodebook(_) => "codebook",
        Error::TooLarge { .. } => "too large",
        Error::WrongBase { .. } | Error::BaseLength { .. } => "base",
        Error::WrongResult { .. } => "result",
        Error::InBlock { source, .. } => name(source),
        other => panic!("no error of the format: {other}"),
    }
}

/// A decoder that holds these sets and no others. Without any it holds one without books.
pub(crate) fn decoder(sets: &[Arc<CodebookSet>]) -> Result<Decoder> {
    let none = || Arc::new(huffwire::SetBuilder::new("none").build());
    let first = sets.first().cloned().unwrap_or_else(none);
    let mut rest = sets.iter().skip(1);
    rest.try_fold(Decoder::new(first), |decoder, set| decoder.with_set(Arc::clone(set)))
}

/// The elements of a message.
pub(crate) fn message(
    bytes: &[u8],
    sets: &[Arc<CodebookSet>],
    context: Option<u64>,
) -> Result<Vec<u8>> {
    let mut expected = Expected::anything();
    expected.context = context;
    let mut decoder = decoder(sets)?;
    #[cfg(feature = "gradient")]
    if Header::read(bytes, context)?.kind == Kind::Values {
        let mut parts = FloatParts::open(bytes, &expected, &mut decoder)?;
        let mut floats = Vec::new();
        while let Some(part) = parts.next_part()? {
            floats.extend_from_slice(part);
        }
        return Ok(floats);
    }
    Ok(decoder.decode_expected_to_vec(bytes, &expected)?.1)
}

/// The elements that a delta makes of its base.
pub(crate) fn delta(
    bytes: &[u8],
    sets: &[Arc<CodebookSet>],
    context: Option<u64>,
    base: &[u8],
) -> Result<Vec<u8>> {
    let mut expected = Expected::anything();
    expected.context = context;
    let mut decoder = decoder(sets)?;
    let mut in_place = base.to_vec();
    let applied = decoder.apply_expected_delta(bytes, &expected, &mut in_place);
    let mut copy = vec![0x11; base.len()];
    let decoded = decoder.decode_expected_delta(base, bytes, &expected, &mut copy);
    assert_eq!(applied, decoded);
    assert!(if applied.is_ok() { in_place == copy } else { in_place == base });
    applied.map(|_| copy)
}

/// The bases of deltas, by the names of their tensors.
pub(crate) type Bases = HashMap<String, Vec<u8>>;

/// The originals of a file, with their names.
pub(crate) fn file(
    bytes: &[u8],
    sets: &[Arc<CodebookSet>],
    bases: &Bases,
) -> Result<Vec<(String, Vec<u8>)>> {
    let mut decoder = decoder(sets)?;
    file::read_header(bytes)?;
    let trailer = bytes.len().saturating_sub(file::TRAILER_BYTES).max(file::HEADER_BYTES);
    let (range, check) = file::read_trailer(&bytes[trailer..], bytes.len() as u64)?;
    let (start, end) = (range.start as usize, range.end as usize);
    let directory = Directory::read(bytes, &bytes[start..end], range.start, check)?;
    for set in directory.sets.iter().filter_map(|set| set.embedded.as_ref()) {
        decoder = decoder.with_set(Arc::clone(set))?;
    }
    let mut originals = Vec::new();
    for original in &directory.originals {
        let mut content = Vec::new();
        for item in &original.items {
            #[cfg(feature = "gradient")]
            if item.kind == Kind::Values {
                let set = directory.set_of(item).unwrap();
                content.extend_from_slice(&values(bytes, item, set, &mut decoder)?);
                continue;
            }
            let base = match item.kind {
                Kind::Tensor => None,
                Kind::Delta => Some(base_of(bytes, item, bases)?),
                kind => {
                    let (number, name) = (kind.number(), kind.name());
                    return Err(Error::UnknownKind { number, name });
                }
            };
            for block in item.blocks() {
                let coded = CodedBlock {
                    dtype: item.dtype,
                    set: directory.set_of(item).unwrap(),
                    checksum: block.checksum,
                    bytes: &bytes[block.offset as usize..][..block.coded_bytes],
                };
                let start = content.len();
                content.resize(start + block.raw_bytes, 0);
                let out = &mut content[start..];
                match base {
                    None => decoder.decode_block(&coded, out)?,
                    Some(base) => {
                        let base = &base[block.raw_offset as usize..][..block.raw_bytes];
                        decoder.decode_delta_block(&coded, base, out)?;
                    }
                }
            }
        }
        originals.push((original.name.clone(), content));
    }
    Ok(originals)
}

/// The base of an item that is a delta, whose kind header is checked.
fn base_of<'b>(file: &[u8], item: &file::Item, bases: &'b Bases) -> Result<&'b [u8]> {
    let entry = item.kind_header().unwrap();
    let header = &file[entry.offset as usize..][..entry.coded_bytes];
    if header != huffwire::delta::KIND_HEADER {
        let (what, detail) = ("a delta", "an unknown kind header".into());
        return Err(Error::Malformed { what, offset: 0, detail });
    }
    let found = item.tensor.as_ref().and_then(|tensor| bases.get(&tensor.name));
    let base = found.map_or(&[][..], |base| base);
    if base.len() as u64 != item.raw_bytes {
        let (expected, found) = (item.raw_bytes, base.len() as u64);
        return Err(Error::BaseLength { expected, found });
    }
    Ok(base)
}

/// The restored floats of an item of quantized values.
#[cfg(feature = "gradient")]
fn values(
    file: &[u8],
    item: &file::Item,
    set: huffwire::SetId,
    decoder: &mut Decoder,
) -> Result<Vec<u8>> {
    let entry = |entry: file::EntryRef| {
        let bytes = &file[entry.offset as usize..][..entry.coded_bytes];
        let computed = file::checksum(bytes);
        match entry.checksum.filter(|stored| *stored != computed) {
            Some(stored) => Err(Error::Checksum { what: "an entry", stored, computed }),
            None => Ok(bytes),
        }
    };
    let bytes = entry(item.kind_header().unwrap())?;
    let header = KindHeader { dtype: item.dtype, units: item.units(), set, bytes };
    let mut reader = ItemReader::new(&header, decoder)?;
    let mut content = Vec::new();
    for (index, block) in item.blocks().enumerate() {
        let start = content.len();
        content.resize(start + block.raw_bytes, 0);
        reader.restore_block(index, entry(block)?, &mut content[start..])?;
    }
    Ok(content)
}
