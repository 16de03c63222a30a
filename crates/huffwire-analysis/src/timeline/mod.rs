//! How codebooks age over the steps of a run: their regret, step by step.
//!
//! Books made from the tensors of the first step, or from calibration files, and the built-in ones are priced on the
//! histograms of all later steps, beside a book made for each kind from the tensors of the step itself. `policy.rs` has
//! the codebooks that the policy of [`huffwire::refresh`] would have used.

mod books;
mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use huffwire::calibrate::{self, Collector};
use huffwire::refresh::Limits;
use huffwire::stats::saving_percent;
use huffwire::{CodebookSet, SetId};
use huffwire_io::Workers;

use crate::collect::{Collection, Key, Progress, Shard};
use crate::error::{Error, Result};
use crate::input::{File, Tensor};
use crate::options::{Form, Options, rule_name};
use crate::result::{Codebooks, Course, Curve, KindCourse, Refresh, RefreshCourse, Step, Timeline};
use crate::steps::Steps;
use books::Books;
use policy::{Policy, Replay, Traffic};

/// Books for a kind, where it has several.
const SEVERAL: usize = 4;
/// What a job counts as in a batch of jobs, which have no elements.
const JOB_BYTES: usize = 1 << 18;

/// What a timeline is made from.
pub(crate) struct Run<'a> {
    pub(crate) files: &'a [File<'a>],
    pub(crate) calibrate_on: &'a [File<'a>],
    pub(crate) counted: &'a Collection,
    pub(crate) calibration: &'a Collection,
    pub(crate) options: &'a Options,
}

/// Codebook sets whose regret is followed, by step.
struct Sets {
    sampled: Arc<CodebookSet>,
    sampled_refreshed: Vec<Arc<CodebookSet>>,
    builtin_refreshed: Vec<Arc<CodebookSet>>,
}

impl Run<'_> {
    /// Follows codebooks over the steps; also what the reader must know. `progress` is told of 0 bytes now and then, so that
    /// it can stop this.
    ///
    /// # Errors
    /// [`Error::Options`] for files of fewer than two steps; those of `progress`.
    pub(crate) fn timeline(
        &self,
        limits: Limits,
        workers: &Workers,
        progress: &mut Progress<'_>,
    ) -> Result<(Timeline, Vec<String>)> {
        let steps = Steps::of(self.files.iter().map(File::step));
        if steps.all.len() < 2 {
            return Err(Error::Options(
                "a timeline needs files of several steps; one file is one step".to_owned(),
            ));
        }
        let tensors: Vec<Vec<Tensor<'_>>> = self.files.iter().map(File::tensors).collect();
        let traffic = traffic(&steps, &tensors);
        let policy = Policy { limits, rule: self.options.rules[0] };
        let mut notes = Vec::new();
        let (sets, estimates, refresh) = match self.policy(&policy, &traffic, workers, progress) {
            Ok((sets, estimates, refresh)) => (Some(sets), estimates, refresh),
            // A set has room for 192 books, and samples may be of many kinds with many planes.
            Err(Error::Codec(why @ huffwire::Error::InvalidCodebook(_))) => {
                notes.push(format!(
                    "the refresh policy can make no codebooks for these tensors: {why}"
                ));
                (None, vec![None; steps.all.len()], Refresh::new(limits, Vec::new()))
            }
            Err(error) => return Err(error),
        };

        let keys: Vec<&Key> = self.counted.kinds.keys().collect();
        let own_type = keys.into_iter().filter_map(|key| {
            let form = *self.options.forms(key.source).get(key.form)?;
            form.scaling.is_none().then_some((key, form))
        });
        let work = |&(key, form): &(&Key, Form), slot: &mut Option<Sums>| {
            *slot = Some(self.follow(key, form, &steps, sets.as_ref())?);
            Ok::<(), Error>(())
        };
        let (mut kinds, mut total) = (Vec::new(), Sums::new(steps.all.len()));
        let mut uncalibrated = BTreeSet::new();
        workers.run(JOB_BYTES, own_type, work, |(key, form), slot| {
            progress(0)?;
            let Some(sums) = slot.take() else { return Ok(()) };
            if sums.of(Codebooks::Calibrated).iter().all(Option::is_none) {
                // A kind has a row for each symbol rule.
                uncalibrated.insert((key.model, &key.name, key.source.name()));
            } else if key.form == 0 {
                total.add(&sums);
            }
            kinds.push(KindCourse {
                name: key.name.clone(),
                model: key.model,
                dtype: form.dtype.name().to_owned(),
                symbols: rule_name(form.rule).to_owned(),
                course: sums.course(),
            });
            Ok(())
        })?;
        let calibrated_at = self.calibrated_at(&steps);
        let since = |step: u64| {
            let since = i128::from(step) - i128::from(calibrated_at?);
            i64::try_from(since).ok()
        };
        let timeline = Timeline {
            calibrated_at,
            steps: (steps.all.iter().zip(estimates))
                .map(|((step, files), estimate)| Step {
                    step: *step,
                    since: since(*step),
                    files: files.clone(),
                    estimated_regret_percent: estimate,
                })
                .collect(),
            total: total.course(),
            kinds,
            refresh,
        };
        if !steps.named {
            notes.push(
                "the names of the files do not tell their steps, so these are counted in the order of the files"
                    .to_owned(),
            );
        }
        if !uncalibrated.is_empty() {
            notes.push(format!(
                "{} kinds have no tensors to calibrate on, and are left out of the course of all tensors",
                uncalibrated.len()
            ));
        }
        Ok((timeline, notes))
    }

    /// The step of the calibration: the last one that the names of its files tell, or else the first step of all.
    fn calibrated_at(&self, steps: &Steps) -> Option<u64> {
        if self.calibrate_on.is_empty() {
            return steps.all.first().map(|(step, _)| *step);
        }
        let numbers = self.calibrate_on.iter().map(File::step);
        numbers.collect::<Option<Vec<u64>>>()?.into_iter().max()
    }

    /// What the policy does over the steps, and what it finds.
    fn policy(
        &self,
        policy: &Policy,
        traffic: &[Traffic<'_>],
        workers: &Workers,
        progress: &mut Progress<'_>,
    ) -> Result<(Sets, Vec<Option<f64>>, Refresh)> {
        let sampled = if self.calibrate_on.is_empty() {
            policy.sampled(&traffic[0])?
        } else {
            let tensors = self.calibrate_on.iter().flat_map(File::tensors).collect();
            policy.sampled(&Traffic { step: 0, steps: 1, tensors })?
        };
        let starts = [Arc::clone(&sampled), CodebookSet::builtin()];
        let replays = starts.map(|start| Mutex::new(policy.replay(start)));
        for step in traffic {
            let work = |replay: &&Mutex<Replay>, (): &mut ()| {
                replay.lock().unwrap_or_else(PoisonError::into_inner).step(step)
            };
            workers.run(JOB_BYTES, replays.iter(), work, |_, ()| progress(0))?;
        }
        let mut estimates = Vec::new();
        let work = |step: &&Traffic<'_>, slot: &mut Option<f64>| {
            *slot = policy.estimate(&sampled, step)?;
            Ok::<(), Error>(())
        };
        workers.run(JOB_BYTES, traffic.iter(), work, |_, slot| {
            estimates.push(*slot);
            progress(0)
        })?;
        let mut sets = Vec::new();
        let began = [Codebooks::Sampled, Codebooks::BuiltIn];
        let mut courses = Vec::new();
        for (began_with, replay) in began.into_iter().zip(replays) {
            let replay = replay.into_inner().unwrap_or_else(PoisonError::into_inner);
            courses.push(RefreshCourse { began_with, judgements: replay.judgements });
            sets.push(replay.sets);
        }
        let builtin_refreshed = sets.pop().unwrap_or_default();
        let sampled_refreshed = sets.pop().unwrap_or_default();
        let sets = Sets { sampled, sampled_refreshed, builtin_refreshed };
        Ok((sets, estimates, Refresh::new(policy.limits, courses)))
    }

    /// Prices all codebooks on the tensors of a kind, step by step.
    fn follow(&self, key: &Key, form: Form, steps: &Steps, sets: Option<&Sets>) -> Result<Sums> {
        let shards = &self.counted.kinds[key];
        let of_step = |step: usize| -> Vec<&Shard> {
            let files = &steps.all[step].1;
            shards.iter().filter(|shard| files.contains(&(shard.place.file as usize))).collect()
        };
        let calibration: Vec<&Shard> = if self.calibrate_on.is_empty() {
            of_step(0)
        } else {
            self.calibration.kinds.get(key).into_iter().flatten().collect()
        };
        let fixed = [
            (Codebooks::BuiltIn, Books::of_set(&CodebookSet::builtin(), form)),
            (Codebooks::Calibrated, Books::fitted(&calibration, form, false)),
            (Codebooks::Several, several(&calibration, form)?),
            (Codebooks::Uncentred, Books::fitted(&calibration, form, true)),
        ];
        // The policy works by the first rule.
        let sets = sets.filter(|_| key.form == 0);
        let mut made = SetBooks { form, all: BTreeMap::new() };
        let mut sums = Sums::new(steps.all.len());
        for step in 0..steps.all.len() {
            let shards = of_step(step);
            let fresh = Books::fitted(&shards, form, false);
            for shard in shards {
                let priced = books::Shard::new(&shard.profile, form);
                sums.raw[step] += priced.units * priced.raw;
                sums.kept[step] += priced.units * priced.kept;
                add(&mut sums.fresh[step], spent(&priced, &fresh));
                for (codebooks, books) in &fixed {
                    add(&mut sums.of_mut(*codebooks)[step], spent(&priced, books));
                }
                let Some(sets) = sets else { continue };
                // Most of the time all three are the same set.
                let mut known: BTreeMap<SetId, Option<f64>> = BTreeMap::new();
                for (codebooks, set) in [
                    (Codebooks::Sampled, &sets.sampled),
                    (Codebooks::SampledRefreshed, &sets.sampled_refreshed[step]),
                    (Codebooks::BuiltInRefreshed, &sets.builtin_refreshed[step]),
                ] {
                    let of_set = || spent(&priced, made.of(set));
                    let bits = *known.entry(set.id()).or_insert_with(of_set);
                    add(&mut sums.of_mut(codebooks)[step], bits);
                }
            }
        }
        Ok(sums)
    }
}

/// What codebooks spend on a shard; `None` if they can code no tensor. A shard that does not fit their layout stays as it is.
fn spent(shard: &books::Shard, books: &Books) -> Option<f64> {
    let bits = || shard.bits(books).unwrap_or(shard.raw);
    (!books.is_empty()).then(|| shard.units * bits())
}

fn add(sum: &mut Option<f64>, bits: Option<f64>) {
    if let Some(bits) = bits {
        *sum = Some(sum.unwrap_or(0.0) + bits);
    }
}

/// Books of sets for the tensors of a kind, made once for each set. An encoder considers all that fit, whatever the tensor
/// is called.
struct SetBooks {
    form: Form,
    all: BTreeMap<SetId, Books>,
}

impl SetBooks {
    fn of(&mut self, set: &CodebookSet) -> &Books {
        let form = self.form;
        self.all.entry(set.id()).or_insert_with(|| Books::of_set(set, form))
    }
}

/// Several books for a kind, from groups of similar shards.
fn several(shards: &[&Shard], form: Form) -> Result<Books> {
    let mut collector = Collector::new(form.rule);
    for shard in shards {
        collector.push("*", shard.profile.profile(form.dtype, form.rule))?;
    }
    let options = calibrate::Options {
        books_per_kind: Some(SEVERAL),
        builtin: false,
        ..calibrate::Options::default()
    };
    Ok(Books::of_set(&collector.build(&options)?.set, form))
}

/// Bits of the tensors of each step.
struct Sums {
    raw: Vec<f64>,
    kept: Vec<f64>,
    fresh: Vec<Option<f64>>,
    /// By [`Codebooks::ALL`].
    others: [Vec<Option<f64>>; Codebooks::ALL.len()],
}

impl Sums {
    fn new(steps: usize) -> Self {
        let none = || vec![None; steps];
        Self {
            raw: vec![0.0; steps],
            kept: vec![0.0; steps],
            fresh: none(),
            others: Codebooks::ALL.map(|_| none()),
        }
    }

    fn of(&self, codebooks: Codebooks) -> &[Option<f64>] {
        &self.others[codebooks as usize]
    }

    fn of_mut(&mut self, codebooks: Codebooks) -> &mut Vec<Option<f64>> {
        &mut self.others[codebooks as usize]
    }

    /// Adds a kind. What codebooks are not for stays as it is.
    fn add(&mut self, kind: &Self) {
        for step in 0..self.raw.len() {
            if kind.raw[step] == 0.0 {
                continue;
            }
            self.raw[step] += kind.raw[step];
            self.kept[step] += kind.kept[step];
            let or_raw = |bits: Option<f64>| bits.or(Some(kind.raw[step]));
            add(&mut self.fresh[step], or_raw(kind.fresh[step]));
            for (sum, bits) in self.others.iter_mut().zip(&kind.others) {
                add(&mut sum[step], or_raw(bits[step]));
            }
        }
    }

    fn course(&self) -> Course {
        let saving = |bits: &[Option<f64>]| -> Vec<Option<f64>> {
            let pairs = bits.iter().zip(&self.raw);
            pairs.map(|(bits, raw)| Some(saving_percent(*raw, (*bits)?))).collect()
        };
        let regret = |bits: &[Option<f64>]| -> Vec<Option<f64>> {
            let of_step = |step: usize| {
                let (bits, fresh, kept) = (bits[step]?, self.fresh[step]?, self.kept[step]);
                // As the library has it: where new codebooks take no bits at all, it is the bits spent.
                Some(100.0 * (bits - fresh) / (fresh - kept).max(1.0))
            };
            (0..bits.len()).map(of_step).collect()
        };
        let curve = |codebooks: Codebooks| {
            let bits = self.of(codebooks);
            Curve { codebooks, regret_percent: regret(bits), saving_percent: saving(bits) }
        };
        Course {
            fresh_saving_percent: saving(&self.fresh),
            curves: Codebooks::ALL.map(curve).into(),
        }
    }
}

/// What is sent in each step.
fn traffic<'a>(steps: &Steps, tensors: &[Vec<Tensor<'a>>]) -> Vec<Traffic<'a>> {
    let numbers: Vec<u64> = steps.all.iter().map(|(step, _)| *step).collect();
    let mut gaps: Vec<u64> = numbers.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.extend(gaps.last().copied());
    let all = steps.all.iter().zip(gaps).map(|((step, files), steps)| {
        let tensors = files.iter().flat_map(|file| &tensors[*file]).copied();
        let tensors = tensors.filter(|tensor| tensor.bytes > 0).collect();
        Traffic { step: *step, steps, tensors }
    });
    all.collect()
}
