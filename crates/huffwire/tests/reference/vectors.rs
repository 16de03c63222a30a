//! The vectors of `test_vectors/`: every valid one is decoded to what it holds, every other one is refused with the
//! error that its manifest names.

use std::sync::Arc;

use huffwire::{CodebookSet, Result};
use serde_json::Value;

use crate::read;

/// The bytes of a file of the vectors.
fn bytes(path: &Value) -> Vec<u8> {
    let path = read::folder("test_vectors").join(path.as_str().expect("a path"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a vector holds: nothing (a set), a tensor, or originals with their names.
type Decoded = Vec<(String, Vec<u8>)>;

fn decode(vector: &Value) -> Result<Decoded> {
    let coded = bytes(&vector["file"]);
    let sets = vector["sets"].as_array().unwrap().iter();
    let sets: Vec<_> =
        sets.map(|set| Arc::new(CodebookSet::from_bytes(&bytes(set)).unwrap())).collect();
    match vector["kind"].as_str().unwrap() {
        "set" => {
            let set = CodebookSet::from_bytes(&coded)?;
            assert_eq!(Some(set.id().to_string().as_str()), vector["id"].as_str());
            Ok(Vec::new())
        }
        "message" if vector["base"].is_string() => {
            let base = bytes(&vector["base"]);
            let tensor = read::delta(&coded, &sets, vector["context"].as_u64(), &base)?;
            Ok(vec![(String::new(), tensor)])
        }
        "message" => {
            let tensor = read::message(&coded, &sets, vector["context"].as_u64())?;
            Ok(vec![(String::new(), tensor)])
        }
        "file" => {
            let bases = vector["bases"].as_object().into_iter().flatten();
            let bases = bases.map(|(name, path)| (name.clone(), bytes(path))).collect();
            read::file(&coded, &sets, &bases)
        }
        other => panic!("a vector of kind {other}"),
    }
}

/// What is wrong with a vector, if anything is.
fn wrong(vector: &Value) -> Option<String> {
    let decoded = match (decode(vector), vector["error"].as_str()) {
        (Ok(_), Some(error)) => return Some(format!("it was read, error {error} was expected")),
        (Err(error), expected) => {
            let other = Some(read::name(&error)) != expected;
            return other.then(|| format!("{error}, not {expected:?}"));
        }
        (Ok(decoded), None) => decoded,
    };
    let expected: Decoded = match vector["kind"].as_str() {
        Some("message") => vec![(String::new(), bytes(&vector["output"]))],
        Some("file") => {
            let originals = vector["originals"].as_object().unwrap().iter();
            originals.map(|(name, path)| (name.clone(), bytes(path))).collect()
        }
        _ => Vec::new(),
    };
    (decoded != expected).then(|| "it holds something else".to_owned())
}

#[test]
fn every_vector_is_decoded_or_refused_as_its_manifest_says() {
    let manifest: Value = serde_json::from_slice(&bytes(&"manifest.json".into())).unwrap();
    let vectors = manifest["vectors"].as_array().unwrap();
    assert!(vectors.len() > 300, "only {} vectors", vectors.len());
    let failures: Vec<_> = vectors
        .iter()
        .filter_map(|vector| Some(format!("{}: {}", vector["name"], wrong(vector)?)))
        .collect();
    let (failed, all) = (failures.len(), vectors.len());
    assert!(failures.is_empty(), "{failed} of {all}:\n{}", failures.join("\n"));
}
