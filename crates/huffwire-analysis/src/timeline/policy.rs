//! The policy by which codebooks in use are replaced ([`huffwire::refresh`]), on the tensors of a run.
//!
//! Each tensor of a step is a message. A file stands for all steps up to the next file: its tensors are sent once for each
//! of them. Only samples are read.

use std::cell::Cell;
use std::sync::Arc;

use huffwire::refresh::{Limits, Refreshable, Refresher, TensorBooks, TensorSample};
use huffwire::{CodebookSet, EncodeOptions, SymbolRule};

use crate::error::{Error, Result};
use crate::input::Tensor;
use crate::result::Judgement;

/// Judgements without a proposal after which the same tensors would bring nothing new.
const ENOUGH: usize = 2;
/// The most judgements in a step, and the most messages that are looked at. The steps that a file stands for are as many as
/// the names of files say.
const MOST_JUDGEMENTS: usize = 64;
const MOST_MESSAGES: u64 = 1 << 22;
/// How often the tensors of a step are looked at for a number of samples.
const ROUNDS: usize = 8;

/// The tensors of a step.
pub(super) struct Traffic<'a> {
    pub(super) step: u64,
    /// For how many steps they stand.
    pub(super) steps: u64,
    pub(super) tensors: Vec<Tensor<'a>>,
}

impl Traffic<'_> {
    fn bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes).sum()
    }

    /// How often the tensors are sent: once for each step, as long as there are not too many messages.
    fn passes(&self) -> u64 {
        let most = MOST_MESSAGES.checked_div(self.tensors.len() as u64);
        most.map_or(0, |most| self.steps.min(most.max(1)))
    }
}

/// What becomes of codebooks, step by step.
pub(super) struct Replay {
    refresher: Refresher<SampledBooks>,
    /// By step, the codebooks in use when it begins.
    pub(super) sets: Vec<Arc<CodebookSet>>,
    pub(super) judgements: Vec<Judgement>,
}

/// The policy, and what encoders do with its codebooks.
#[derive(Clone, Copy)]
pub(super) struct Policy {
    pub(super) limits: Limits,
    pub(super) rule: SymbolRule,
}

impl Policy {
    /// The codebooks that samples of some tensors make.
    pub(super) fn sampled(&self, traffic: &Traffic<'_>) -> Result<Arc<CodebookSet>> {
        let builtin = self.books(CodebookSet::builtin());
        let mut refresher = self.sampler(builtin.clone(), traffic);
        observe(&mut refresher, traffic, self.limits.samples)?;
        Ok(Arc::clone(builtin.0.refit(refresher.samples())?.set()))
    }

    /// The regret of codebooks as a judgement finds it in samples of some tensors; `None` if there are too few samples.
    pub(super) fn estimate(
        &self,
        set: &Arc<CodebookSet>,
        traffic: &Traffic<'_>,
    ) -> Result<Option<f64>> {
        let mut refresher = self.sampler(self.books(Arc::clone(set)), traffic);
        observe(&mut refresher, traffic, self.limits.samples)?;
        refresher.judge_now()?;
        Ok(refresher.regret().map(|regret| 100.0 * regret.share()))
    }

    /// Begins with some codebooks.
    pub(super) fn replay(&self, start: Arc<CodebookSet>) -> Replay {
        let refresher = Refresher::new(self.books(start), self.limits);
        Replay { refresher, sets: Vec::new(), judgements: Vec::new() }
    }

    fn books(&self, set: Arc<CodebookSet>) -> SampledBooks {
        SampledBooks(TensorBooks::new(set).encoding(EncodeOptions::default().rule(self.rule)))
    }

    /// A refresher whose samples are spread over the tensors of a step.
    fn sampler(&self, books: SampledBooks, traffic: &Traffic<'_>) -> Refresher<SampledBooks> {
        let interval = traffic.bytes() / self.limits.samples.max(1) as u64;
        let interval = usize::try_from(interval).unwrap_or(usize::MAX);
        Refresher::new(books, Limits { interval, ..self.limits })
    }
}

impl Replay {
    /// What the policy makes of the codebooks in the next step.
    pub(super) fn step(&mut self, traffic: &Traffic<'_>) -> Result<()> {
        let refresher = &mut self.refresher;
        self.sets.push(Arc::clone(refresher.books().0.set()));
        let (mut judged, mut without) = (0, 0);
        for passed in 0..traffic.passes() {
            observe_once(refresher, traffic)?;
            if !refresher.is_due() {
                continue;
            }
            let proposal = refresher.judge()?;
            let regret = refresher.regret().map_or(0.0, |regret| regret.share());
            self.judgements.push(Judgement {
                step: traffic.step.saturating_add(passed),
                regret_percent: 100.0 * regret,
                refreshed: proposal.is_some(),
                saved_bytes: proposal.as_ref().map(|proposal| proposal.saved_bytes),
                shipping_bytes: proposal.as_ref().map(|proposal| proposal.shipping_bytes),
            });
            judged += 1;
            match proposal {
                Some(proposal) => refresher.switch(proposal.books),
                None => without += 1,
            }
            if without >= ENOUGH || judged >= MOST_JUDGEMENTS {
                break;
            }
        }
        Ok(())
    }
}

/// Shows all tensors to a refresher, again and again until it has so many samples.
fn observe(
    refresher: &mut Refresher<SampledBooks>,
    traffic: &Traffic<'_>,
    samples: usize,
) -> Result<()> {
    for _ in 0..ROUNDS {
        observe_once(refresher, traffic)?;
        if refresher.samples().len() >= samples {
            break;
        }
    }
    Ok(())
}

fn observe_once(refresher: &mut Refresher<SampledBooks>, traffic: &Traffic<'_>) -> Result<()> {
    let failed = Cell::new(None);
    for &tensor in &traffic.tensors {
        refresher.observe(&Sent { tensor, failed: &failed });
        if let Some(error) = failed.take() {
            return Err(error);
        }
    }
    Ok(())
}

/// Codebooks in use for tensors that are not in memory.
#[derive(Clone)]
struct SampledBooks(TensorBooks);

/// A tensor that is sent.
struct Sent<'a> {
    tensor: Tensor<'a>,
    /// Why a sample could not be read.
    failed: &'a Cell<Option<Error>>,
}

impl Refreshable for SampledBooks {
    type Message<'a> = Sent<'a>;
    type Sample = TensorSample;

    fn size(message: &Sent<'_>) -> usize {
        usize::try_from(message.tensor.bytes).unwrap_or(usize::MAX)
    }

    fn sample_size(sample: &TensorSample) -> usize {
        TensorBooks::sample_size(sample)
    }

    fn sample(message: &Sent<'_>, place: u64) -> Option<TensorSample> {
        let Tensor { info, dtype, bytes, .. } = message.tensor;
        let range = TensorBooks::sample_range(dtype, bytes, place)?;
        let mut sample = vec![0; (range.end - range.start) as usize];
        if let Err(error) = message.tensor.read_into(range.start, &mut sample) {
            message.failed.set(Some(error));
            return None;
        }
        TensorBooks::sample(&huffwire::Tensor::new(dtype, &sample).named(&info.name), 0)
    }

    fn bits(&self, samples: &[TensorSample]) -> huffwire::Result<u64> {
        self.0.bits(samples)
    }

    fn refit(&self, samples: &[TensorSample]) -> huffwire::Result<Self> {
        self.0.refit(samples).map(Self)
    }

    fn shipping_bytes(&self) -> usize {
        self.0.shipping_bytes()
    }
}
