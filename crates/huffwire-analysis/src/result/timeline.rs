//! The life of codebooks over the steps of a run, as it is in JSON.

use huffwire::refresh::Limits;
use serde::Serialize;

use super::{rounded, rounded_option, rounded_options};

/// How codebooks age. Lists have an entry for each step.
///
/// The regret of codebooks is what they spend on symbols above what one new codebook for each kind would spend, made
/// from the very tensors of the step: bits of the old ones, divided by bits of the new ones, less 1. Bits that no
/// codebook saves, such as signs and mantissas, count in neither.
#[derive(Debug, Clone, Serialize)]
pub struct Timeline {
    /// The step that the calibrated codebooks were made from; `None` if the names of the calibration files have no
    /// numbers.
    pub calibrated_at: Option<u64>,
    /// The steps, in ascending order.
    pub steps: Vec<Step>,
    /// All tensors, by the first symbol rule.
    pub total: Course,
    /// Each kind, in each symbol rule.
    pub kinds: Vec<KindCourse>,
    /// When the policy judges, and when it replaces codebooks.
    pub refresh: Refresh,
}

/// A step of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Its number.
    pub step: u64,
    /// Steps since the calibration; negative before it.
    pub since: Option<i64>,
    /// Numbers of the files with its tensors.
    pub files: Vec<usize>,
    /// The regret of the codebooks `sampled`, as the policy estimates it from samples of this step. `None` if there are too
    /// few samples.
    #[serde(serialize_with = "rounded_option")]
    pub estimated_regret_percent: Option<f64>,
}

/// What codebooks make of the tensors of each step. An entry is `None` where the step has no such tensors.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Course {
    /// Saved by new codebooks, made from the tensors of the step.
    #[serde(serialize_with = "rounded_options")]
    pub fresh_saving_percent: Vec<Option<f64>>,
    /// What other codebooks do.
    pub curves: Vec<Curve>,
}

/// What codebooks make of the tensors of each step.
#[derive(Debug, Clone, Serialize)]
pub struct Curve {
    /// Which codebooks.
    pub codebooks: Codebooks,
    /// Their regret, in percent.
    #[serde(serialize_with = "rounded_options")]
    pub regret_percent: Vec<Option<f64>>,
    /// What they save of the tensors, in percent.
    #[serde(serialize_with = "rounded_options")]
    pub saving_percent: Vec<Option<f64>>,
}

/// Codebooks whose regret is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codebooks {
    /// The best of the built-in ones for each shard.
    BuiltIn,
    /// One for each kind, made from all tensors of the calibration.
    Calibrated,
    /// Up to four for each kind, of which each shard takes the best.
    Several,
    /// One for each kind, for exponents as they are: a tensor of another scale needs other codes.
    Uncentred,
    /// Those that the policy makes from samples of the calibration, with the built-in ones beside them.
    Sampled,
    /// The same, replaced whenever the policy says so.
    SampledRefreshed,
    /// The built-in ones, replaced whenever the policy says so.
    BuiltInRefreshed,
}

impl Codebooks {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::BuiltIn,
        Self::Calibrated,
        Self::Several,
        Self::Uncentred,
        Self::Sampled,
        Self::SampledRefreshed,
        Self::BuiltInRefreshed,
    ];

    /// The name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Calibrated => "calibrated",
            Self::Several => "several",
            Self::Uncentred => "uncentred",
            Self::Sampled => "sampled",
            Self::SampledRefreshed => "sampled-refreshed",
            Self::BuiltInRefreshed => "built-in-refreshed",
        }
    }
}

/// The course of a kind.
#[derive(Debug, Clone, Serialize)]
pub struct KindCourse {
    /// The kind.
    pub name: String,
    /// Number of the model.
    pub model: usize,
    /// The element type.
    pub dtype: String,
    /// The symbol rule.
    pub symbols: String,
    /// What codebooks make of it.
    #[serde(flatten)]
    pub course: Course,
}

/// The policy by which codebooks are replaced, and what it did.
#[derive(Debug, Clone, Serialize)]
pub struct Refresh {
    /// The regret above which codebooks are replaced, in percent.
    #[serde(serialize_with = "rounded")]
    pub regret_percent: f64,
    /// Messages from one judgement or switch to the next, at least; every tensor of a step is a message.
    pub every: u64,
    /// Bytes of tensors from one sample to the next, on average.
    pub interval: usize,
    /// Samples that a judgement is made from.
    pub samples: usize,
    /// What the policy did, by the codebooks that it began with.
    pub courses: Vec<RefreshCourse>,
}

impl Refresh {
    /// A policy with these limits, and what it did.
    pub(crate) const fn new(limits: Limits, courses: Vec<RefreshCourse>) -> Self {
        let Limits { regret, every, interval, samples } = limits;
        Self { regret_percent: 100.0 * regret, every, interval, samples, courses }
    }
}

/// What the policy did in a run.
#[derive(Debug, Clone, Serialize)]
pub struct RefreshCourse {
    /// The codebooks that the run began with.
    pub began_with: Codebooks,
    /// In the order of the steps.
    pub judgements: Vec<Judgement>,
}

/// A judgement of the policy.
#[derive(Debug, Clone, Serialize)]
pub struct Judgement {
    /// The step after which it was made.
    pub step: u64,
    /// The regret that it found in its samples, in percent.
    #[serde(serialize_with = "rounded")]
    pub regret_percent: f64,
    /// Whether codebooks were replaced.
    pub refreshed: bool,
    /// Bytes that the new codebooks are expected to save in [`Refresh::every`] messages, where they were replaced.
    #[serde(serialize_with = "rounded_option")]
    pub saved_bytes: Option<f64>,
    /// Bytes of the new codebooks.
    pub shipping_bytes: Option<usize>,
}
