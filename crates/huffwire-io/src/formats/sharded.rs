//! A model in several `.safetensors` files, held together by `model.safetensors.index.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::safetensors;
use crate::error::{Error, Result};
use crate::input::{Input, InputFile, Piece};

pub(super) const ENDING: &str = ".safetensors.index.json";
const FORMAT: &str = "safetensors index";

/// Indexes of the largest models have a few megabytes.
const MAX_INDEX_BYTES: u64 = 100_000_000;

/// The part of an index that says where tensors lie. What else is in it is kept, but not read.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Opens the files that the index names, which lie in `folder`. The index comes first.
pub(super) fn cut(file: InputFile, name: String, folder: &Path) -> Result<Vec<Input>> {
    let invalid = |detail: String| Error::invalid(file.label(), FORMAT, detail);
    let bytes = file.bytes();
    if bytes > MAX_INDEX_BYTES {
        return Err(invalid(format!("it has {bytes} bytes, where {MAX_INDEX_BYTES} are allowed")));
    }
    let content = file.read(0..bytes)?;
    let index: Index =
        serde_json::from_slice(&content).map_err(|error| invalid(error.to_string()))?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    let is_bad = |shard: &&String| !huffwire::file::is_plain_name(shard) || **shard == name;
    if let Some(bad) = shards.iter().find(is_bad) {
        return Err(invalid(format!(
            "it names a file {bad:?}, which is no plain file name; a model's files lie in the folder of \
             its index"
        )));
    }
    let mut inputs = Vec::new();
    for shard in shards {
        let opened = InputFile::open(&folder.join(&shard));
        let input = opened.and_then(|file| safetensors::cut(file, shard));
        inputs.push(input.map_err(|error| Error::Shard {
            path: file.label().to_owned(),
            source: Box::new(error),
        })?);
    }
    inputs.insert(0, Input { name, file, pieces: vec![Piece::verbatim(0..bytes)] });
    Ok(inputs)
}
