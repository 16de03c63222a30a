//! A model in several `.safetensors` files, held together by `model.safetensors.index.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{InputError, Original, Piece, safetensors};
use crate::input_file::{InputFile, as_file};

/// Indexes of the largest models have a few megabytes.
const MAX_INDEX_BYTES: u64 = 100_000_000;

/// The part of an index that says where tensors lie. What else is in it is kept, but not read.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Opens the index and the shards beside it.
pub(super) fn open(file: InputFile, name: String, path: &Path) -> Result<Vec<Original>> {
    let label = file.label().to_owned();
    let not_index = |detail: String| InputError::NotIndex { path: label.clone(), detail };
    let bytes = file.bytes();
    if bytes > MAX_INDEX_BYTES {
        return Err(not_index(format!("it has {bytes} bytes")).into());
    }
    let content = file.read(0..bytes)?;
    let index: Index =
        serde_json::from_slice(&content).map_err(|error| not_index(error.to_string()))?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    if let Some(bad) = shards.iter().find(|s| !huffwire::file::is_plain_name(s) || **s == name) {
        return Err(InputError::ShardName { path: label, name: bad.clone() }.into());
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut originals = vec![Original { name, file, pieces: vec![Piece::verbatim(0..bytes)] }];
    for shard in shards {
        let file = InputFile::open(&as_file(folder.join(&shard)));
        let original = file.and_then(|file| safetensors::open(file, shard));
        originals.push(original.with_context(|| format!("{label}: a shard that it names"))?);
    }
    Ok(originals)
}
