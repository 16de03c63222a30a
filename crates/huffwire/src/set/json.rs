//! Codebook sets as JSON: for people, for look-up tables in hardware, and for sets that other programs make.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Binding, CodebookSet, SetBuilder};
use crate::codebook::{Alphabet, CodeLimit, Codebook, ESCAPE_SLOT, Lengths, ZERO_SLOT};
use crate::dtype::Dtype;
use crate::error::{Error, Result};

const FORMAT: &str = "huffwire codebook set";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonSet {
    format: String,
    version: u32,
    name: String,
    /// Written for people; checked when it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    codebooks: Vec<JsonBook>,
    bindings: Vec<JsonBinding>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonBook {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// `centred`, or `plain` with a width.
    alphabet: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u8>,
    /// The longest code, in bits: 8 or 12.
    limit: u8,
    /// Code words by symbol (window slot in a centred book), first bit first.
    codes: BTreeMap<u8, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    escape: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zero: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonBinding {
    pattern: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dtype: Option<String>,
    layout: String,
    plane: u8,
    codebooks: Vec<u8>,
}

impl CodebookSet {
    /// The set as JSON, with the code words written out; [`CodebookSet::from_json`] reads it back.
    #[must_use]
    pub fn to_json(&self) -> String {
        let bindings = self.bindings().iter().map(|binding| JsonBinding {
            pattern: binding.pattern.clone(),
            dtype: binding.dtype.map(|dtype| dtype.name().to_owned()),
            layout: binding.layout.name().to_owned(),
            plane: binding.plane,
            codebooks: binding.books.clone(),
        });
        let set = JsonSet {
            format: FORMAT.to_owned(),
            version: VERSION,
            name: self.name().to_owned(),
            id: Some(self.id().to_string()),
            codebooks: self.books().iter().map(to_json).collect(),
            bindings: bindings.collect(),
        };
        // Strings, numbers and lists always serialize.
        serde_json::to_string_pretty(&set).unwrap_or_default()
    }

    /// Reads what [`CodebookSet::to_json`] wrote, or what another program wrote in the same form: ids may be
    /// left out, code words must be the canonical ones for their lengths.
    ///
    /// # Errors
    /// [`Error::InvalidCodebook`] that says which part is not valid.
    pub fn from_json(json: &str) -> Result<Self> {
        let set: JsonSet =
            serde_json::from_str(json).map_err(|error| Error::codebook(error.to_string()))?;
        if set.format != FORMAT {
            return Err(Error::codebook(format!("the format is {:?}, not {FORMAT:?}", set.format)));
        }
        if set.version != VERSION {
            let (found, supported) = (set.version, VERSION);
            return Err(Error::UnknownVersion { what: "a codebook set", found, supported });
        }
        let mut builder = SetBuilder::new(&set.name);
        for (number, book) in set.codebooks.iter().enumerate() {
            let in_book = |detail: String| Error::codebook(format!("codebook {number}: {detail}"));
            let lengths = from_json(book).map_err(|error| in_book(error.to_string()))?;
            if usize::from(builder.add(lengths)?) != number {
                return Err(in_book("the same content as an earlier one".into()));
            }
        }
        for binding in set.bindings {
            let dtype = binding.dtype.map(|name| name.parse::<Dtype>()).transpose();
            builder.bind(Binding {
                pattern: binding.pattern,
                dtype: dtype.map_err(|error| Error::codebook(error.to_string()))?,
                layout: binding.layout.parse().map_err(|error: String| Error::codebook(error))?,
                plane: binding.plane,
                books: binding.codebooks,
            })?;
        }
        let fitted = builder.build();
        check_id("the set", set.id.as_deref(), &fitted.id().to_string())?;
        Ok(fitted)
    }
}

fn to_json(book: &Codebook) -> JsonBook {
    let lengths = book.lengths();
    let word = |slot: usize| book.code_string(slot as u8);
    let direct = lengths.ordinary_lengths().iter().enumerate().filter(|(_, length)| **length > 0);
    JsonBook {
        id: Some(lengths.id().to_string()),
        alphabet: match lengths.alphabet() {
            Alphabet::Centred => "centred".to_owned(),
            Alphabet::Plain { .. } => "plain".to_owned(),
        },
        width: match lengths.alphabet() {
            Alphabet::Centred => None,
            Alphabet::Plain { width } => Some(width),
        },
        limit: lengths.limit().bits(),
        codes: direct.map(|(slot, _)| (slot as u8, word(slot))).collect(),
        escape: lengths.escape_slot().map(|slot| word(slot.into())),
        zero: (lengths.zero() > 0).then(|| word(ZERO_SLOT)),
    }
}

fn from_json(json: &JsonBook) -> Result<Lengths> {
    let alphabet = match (json.alphabet.as_str(), json.width) {
        ("centred", None) => Alphabet::Centred,
        ("plain", Some(width @ 1..=8)) => Alphabet::Plain { width },
        _ => {
            return Err(Error::codebook(
                "alphabet must be centred, or plain with a width of 1 to 8",
            ));
        }
    };
    let limit = match json.limit {
        8 => CodeLimit::Bits8,
        12 => CodeLimit::Bits12,
        _ => return Err(Error::codebook("limit must be 8 or 12 bits")),
    };
    let length = |word: &str| u8::try_from(word.len()).unwrap_or(u8::MAX);
    let mut direct = vec![0; alphabet.symbols()];
    for (&symbol, word) in &json.codes {
        let outside = || Error::codebook(format!("symbol {symbol} lies outside the alphabet"));
        *direct.get_mut(usize::from(symbol)).ok_or_else(outside)? = length(word);
    }
    let escape = json.escape.as_deref().map_or(0, length);
    let zero = json.zero.as_deref().map_or(0, length);
    let lengths = Lengths::new(alphabet, limit, &direct, escape, zero)?;
    let book = Codebook::new(lengths);
    let special = [
        (lengths.escape_slot().unwrap_or(ESCAPE_SLOT as u8), json.escape.as_ref()),
        (ZERO_SLOT as u8, json.zero.as_ref()),
    ];
    let special = special.iter().filter_map(|(slot, word)| Some((slot, (*word)?)));
    for (&slot, word) in json.codes.iter().chain(special) {
        let canonical = book.code_string(slot);
        if *word != canonical {
            return Err(Error::codebook(format!(
                "the code of symbol {slot} is {word}, the canonical one of that length {canonical}"
            )));
        }
    }
    check_id("the codebook", json.id.as_deref(), &lengths.id().to_string())?;
    Ok(lengths)
}

fn check_id(what: &str, stated: Option<&str>, computed: &str) -> Result<()> {
    match stated {
        Some(id) if id != computed => Err(Error::codebook(format!(
            "{what} says it is {id}, its content is {computed}: it was changed; remove the id if \
             that was meant"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_set_survives_json() {
        let set = CodebookSet::builtin();
        let json = set.to_json();
        assert_eq!(CodebookSet::from_json(&json).unwrap(), *set);
    }

    #[test]
    fn changed_content_is_refused() {
        let json = CodebookSet::builtin().to_json();
        for (from, to) in [
            ("\"version\": 1", "\"version\": 2"),
            ("\"centred\"", "\"plain\""),
            ("\"limit\": 8", "\"limit\": 12"),
            ("\"name\"", "\"nom\""),
            ("\"width\": 7", "\"width\": 9"),
            ("\"00\"", "\"01\""),
            ("\"plane\": 0", "\"plane\": 200"),
        ] {
            let changed = json.replacen(from, to, 1);
            assert_ne!(changed, json, "{from}");
            assert!(CodebookSet::from_json(&changed).is_err(), "{from}");
        }
        assert!(CodebookSet::from_json("[1, 2").is_err());
    }
}
