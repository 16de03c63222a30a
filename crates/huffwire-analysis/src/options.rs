//! What is to be analyzed, and how.

use std::num::NonZeroU32;
use std::str::FromStr;

use huffwire::calibrate::kind_of;
use huffwire::refresh::Limits;
use huffwire::{Binding, Dtype, Layout, SymbolRule};
use serde::Serialize;

use crate::error::{Error, Result};

/// The most shards that a tensor can be cut into.
pub const MAX_SHARDS: u32 = 1024;

/// Options of an analysis.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Names of kinds by patterns on tensor names; the first that matches counts. Tensors that no pattern matches are of
    /// the kind that [`kind_of`] says.
    pub kinds: Vec<KindName>,
    /// How many shards each tensor is cut into, at most [`MAX_SHARDS`].
    pub shards: NonZeroU32,
    /// The axis that is cut; negative ones count from the last, which is -1.
    pub axis: i64,
    /// What the symbols are. Rules that mean the same for a type count once.
    pub rules: Vec<SymbolRule>,
    /// Smaller float types that bf16, f16 and f32 tensors are converted to, beside their own type:
    /// e4m3, e5m2, e3m2, e2m3 or e2m1.
    pub derived: Vec<Dtype>,
    /// How values are scaled before they are converted.
    pub scaling: Scaling,
    /// Which part of a kind is left out when the codebook for this part is made. `None`: files if the kind is in
    /// several, else layers, else shards. Without effect where there are files to calibrate on.
    pub leave_out: Option<LeaveOut>,
    /// How codebooks age: files are steps of a run, and these are the limits of the policy by which codebooks are replaced.
    /// `None`: this is not looked at.
    pub timeline: Option<Limits>,
    /// The most shards that are counted and reported alone: of all kinds in all their forms, and as many of the files to
    /// calibrate on. `None`: 20,000 of these, 8192 for calibration, 4096 of a kind, and 1024 of a tensor in all its forms.
    /// Each takes up to 4 KiB of memory (8 KiB for types of 64 bits); on each thread, so does each shard of a tensor.
    pub shards_alone: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kinds: Vec::new(),
            shards: NonZeroU32::MIN,
            axis: -1,
            rules: vec![SymbolRule::Auto],
            derived: Vec::new(),
            scaling: Scaling::Tensor,
            leave_out: None,
            timeline: None,
            shards_alone: None,
        }
    }
}

impl Options {
    /// Checks what types cannot.
    pub(crate) fn check(&self) -> Result<()> {
        if self.shards.get() > MAX_SHARDS {
            return Err(Error::Options(format!(
                "{} shards: a tensor can be cut into at most {MAX_SHARDS}",
                self.shards
            )));
        }
        if self.rules.is_empty() {
            return Err(Error::Options("no symbol rule is given".to_owned()));
        }
        let odd = self.derived.iter().find(|dtype| !crate::derive::can_derive(**dtype));
        odd.map_or(Ok(()), |dtype| {
            Err(Error::Options(format!(
                "{dtype}: tensors can be converted to e4m3, e5m2, e3m2, e2m3 and e2m1 only"
            )))
        })
    }

    /// The kind of a tensor.
    pub(crate) fn kind(&self, tensor: &str) -> String {
        let named = self.kinds.iter().find(|kind| kind.pattern.matches(tensor));
        named.map_or_else(|| kind_of(tensor), |kind| kind.name.clone())
    }

    /// The forms in which a tensor of this type is analyzed.
    pub(crate) fn forms(&self, dtype: Dtype) -> Vec<Form> {
        let mut forms = Vec::new();
        self.add_rules(&mut forms, dtype, None);
        if crate::derive::can_read(dtype) {
            for &derived in &self.derived {
                self.add_rules(&mut forms, derived, Some(self.scaling));
            }
            if !self.derived.is_empty() && self.scaling == Scaling::Block {
                // The scales are the same for all derived types but for a constant.
                let rule = SymbolRule::Auto;
                forms.push(Form { dtype: Dtype::E8m0, rule, scaling: Some(Scaling::Block) });
            }
        }
        forms
    }

    fn add_rules(&self, forms: &mut Vec<Form>, dtype: Dtype, scaling: Option<Scaling>) {
        let layouts = |rule| dtype.layouts(rule).collect::<Vec<Layout>>();
        for (at, &rule) in self.rules.iter().enumerate() {
            if !self.rules[..at].iter().any(|&before| layouts(before) == layouts(rule)) {
                forms.push(Form { dtype, rule, scaling });
            }
        }
    }
}

/// Name for the tensors that a pattern matches.
#[derive(Debug, Clone, PartialEq)]
pub struct KindName {
    pattern: Binding,
    name: String,
}

impl FromStr for KindName {
    type Err = String;

    /// `PATTERN=NAME`; `*` in the pattern stands for any characters.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.rsplit_once('=') {
            Some((pattern, name)) if !pattern.is_empty() && !name.is_empty() => {
                // The library's own patterns.
                let pattern = Binding {
                    pattern: pattern.to_owned(),
                    dtype: None,
                    layout: Layout::Bytes,
                    plane: 0,
                    books: Vec::new(),
                };
                Ok(Self { pattern, name: name.to_owned() })
            }
            _ => Err("a kind looks like '*.down_proj.*=FFN2'".to_owned()),
        }
    }
}

/// Scaling of values before they are converted to a smaller type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scaling {
    /// The largest finite magnitude of the tensor becomes the largest value of the type.
    Tensor,
    /// 32 consecutive values share a power of two, kept as an e8m0 scale (OCP Microscaling Formats 1.0, section 6.3).
    Block,
}

/// Part of a kind that is left out when the codebook for it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaveOut {
    /// The tensors of one file.
    Files,
    /// The tensors of one layer: those with the same first number in their names.
    Layers,
    /// The shards with one number; where tensors are not cut, each tensor is one.
    Shards,
}

/// Form in which a tensor is analyzed: as which type, and by which symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) dtype: Dtype,
    pub(crate) rule: SymbolRule,
    /// How the values were scaled; `None` for the tensor's own type.
    pub(crate) scaling: Option<Scaling>,
}

impl Form {
    /// Bits of a unit before it is coded. A converted value of 6 bits counts as 6 bits, though a byte holds it.
    pub(crate) const fn raw_bits(self) -> f64 {
        match (self.scaling, self.dtype) {
            (Some(_), Dtype::E3m2 | Dtype::E2m3) => 6.0,
            _ => 8.0 * self.dtype.unit_bytes() as f64,
        }
    }
}

/// Names of symbol rules, as on the command line.
pub(crate) const fn rule_name(rule: SymbolRule) -> &'static str {
    match rule {
        SymbolRule::Auto => "auto",
        SymbolRule::Bytes => "bytes",
        SymbolRule::BytePlanes => "byte-planes",
    }
}

/// The layer of a tensor: the first number in its name.
pub(crate) fn layer_of(tensor: &str) -> Option<u64> {
    let start = tensor.find(|c: char| c.is_ascii_digit())?;
    let digits = &tensor[start..];
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_first_name_that_matches() {
        let kinds = ["*.down_proj.*=FFN2", "*proj*=any"].map(|kind| kind.parse().unwrap());
        let options = Options { kinds: kinds.to_vec(), ..Options::default() };
        assert_eq!(options.kind("layers.3.down_proj.weight"), "FFN2");
        assert_eq!(options.kind("layers.3.up_proj.weight"), "any");
        assert_eq!(options.kind("layers.3.norm"), "layers.*.norm");
        for text in ["", "a", "=a", "a="] {
            assert!(text.parse::<KindName>().unwrap_err().contains("FFN2"), "{text}");
        }
    }

    #[test]
    fn layers_are_the_first_numbers() {
        assert_eq!(layer_of("model.layers.17.mlp.2"), Some(17));
        assert_eq!(layer_of("lm_head"), None);
        assert_eq!(layer_of("x.99999999999999999999999.y"), None);
    }

    #[test]
    fn rules_that_mean_the_same_count_once() {
        use SymbolRule::{Auto, BytePlanes, Bytes};
        let options = Options { rules: vec![Auto, Bytes, BytePlanes], ..Options::default() };
        let rules = |dtype| options.forms(dtype).iter().map(|form| form.rule).collect::<Vec<_>>();
        assert_eq!(rules(Dtype::Bf16), [Auto, Bytes, BytePlanes]);
        assert_eq!(rules(Dtype::I8), [Auto]);
        assert_eq!(rules(Dtype::I32), [Auto, Bytes]);
    }

    #[test]
    fn blocks_of_values_have_scales() {
        let options = Options {
            derived: vec![Dtype::E4m3, Dtype::E2m1],
            scaling: Scaling::Block,
            ..Options::default()
        };
        let dtypes: Vec<Dtype> = options.forms(Dtype::Bf16).iter().map(|form| form.dtype).collect();
        assert_eq!(dtypes, [Dtype::Bf16, Dtype::E4m3, Dtype::E2m1, Dtype::E8m0]);
        assert_eq!(options.forms(Dtype::I8).len(), 1);
        assert!(Options { derived: vec![Dtype::F16], ..options }.check().is_err());
    }
}
