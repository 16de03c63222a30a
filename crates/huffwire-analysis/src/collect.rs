//! Counting: files to the histograms of their shards, in bounded memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use huffwire::calibrate::{Profile, Scratch};
use huffwire::{Dtype, Layout};
use huffwire_io::Workers;

use crate::cut::Cut;
use crate::derive;
use crate::error::{Error, Result};
use crate::input::{File, Tensor as Source};
use crate::options::{Form, Options, Scaling, layer_of};
use crate::packed::{PackedProfile, Weighted};
use crate::plan::{Counting, Kind, MostAlone, Plan};

/// Bytes of elements counted at a time.
const BLOCK_BYTES: u64 = 1 << 18;
/// Bytes of elements counted at a time where a tensor is cut into shards: each gets a part of it.
const CUT_BLOCK_BYTES: u64 = 1 << 20;

/// Told the bytes read since its last call; an error ends the reading.
pub(crate) type Progress<'a> = dyn FnMut(u64) -> Result<()> + 'a;

/// Which tensors share a row of the result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) model: usize,
    pub(crate) name: String,
    /// The type in the file.
    pub(crate) source: Dtype,
    /// Number of the form among those of the type.
    pub(crate) form: usize,
}

/// What was counted of a shard, or of a group of shards of a kind, and where it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Shard {
    /// Of a group, the place of the first of its shards; the number of the shard is then that of the group.
    pub(crate) place: Place,
    /// Shards that were counted together.
    pub(crate) shards: u64,
    /// The group, where shards of the kind are counted together.
    pub(crate) group: Option<Group>,
    pub(crate) profile: PackedProfile,
}

impl Shard {
    /// The counts of a plane, with the weight that they have in an average; `None` if the shard does not fit the layout.
    pub(crate) fn weighted(&self, layout: Layout, plane: usize) -> Option<Weighted<'_>> {
        Some(Weighted { counts: self.profile.counts(layout, plane)?, shards: self.shards })
    }
}

/// Where a shard comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the file.
    pub(crate) file: u32,
    /// Number of the tensor in the file.
    pub(crate) tensor: u32,
    pub(crate) layer: Option<u64>,
    /// Number of the shard in the tensor.
    pub(crate) shard: u32,
}

/// Group of shards that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    /// Number of the file, where files are not counted together.
    file: Option<u32>,
    number: u32,
}

/// Everything that was counted.
#[derive(Debug, Default)]
pub(crate) struct Collection {
    pub(crate) kinds: BTreeMap<Key, Vec<Shard>>,
    /// Tensors that are of no kind of their own.
    pub(crate) others: u64,
    /// Tensors without values.
    pub(crate) empty: u64,
    /// Tensors that could not be cut into shards.
    pub(crate) whole: u64,
}

/// A tensor of a file.
struct Tensor<'a> {
    file: usize,
    number: u32,
    source: Source<'a>,
    kind: Arc<Kind>,
    counting: Counting,
    /// Largest finite magnitude, where it is needed.
    largest: f32,
}

/// A part of a tensor.
struct Job<'a> {
    tensor: &'a Tensor<'a>,
    /// How the tensor is cut, where its shards are counted apart.
    cut: Arc<Cut>,
    /// Counted from the start of the tensor.
    range: Range<u64>,
}

/// Memory of a thread, and the result of a job: the profiles of the shards that it has parts of, or of their groups.
#[derive(Default)]
struct Slot {
    bytes: Vec<u8>,
    gathered: Vec<Vec<u8>>,
    memory: Memory,
    profiles: Vec<(u32, Vec<Profile>)>,
    largest: f32,
}

/// Memory for counting some bytes.
#[derive(Default)]
struct Memory {
    values: Vec<f32>,
    codes: Vec<u8>,
    scratch: Scratch,
}

/// Bytes that [`collect()`] will read.
pub(crate) fn bytes_to_read(files: &[File<'_>], options: &Options) -> u64 {
    let times = |tensor: &Source<'_>| 1 + u64::from(is_measured(tensor, options));
    files.iter().flat_map(File::tensors).map(|tensor| times(&tensor) * tensor.bytes).sum()
}

/// Counts the symbols of all tensors; `most` says how many shards are counted alone. `models` has a number for each file.
pub(crate) fn collect(
    files: &[File<'_>],
    models: &[usize],
    options: &Options,
    most: MostAlone,
    workers: &Workers,
    progress: &mut Progress<'_>,
) -> Result<Collection> {
    let mut plan = Plan::of(files, models, options, most);
    let mut collection = Collection { others: plan.others, ..Collection::default() };
    let mut last: Option<Arc<Kind>> = None;
    for (file, held) in files.iter().enumerate() {
        let mut tensors = Vec::new();
        for (number, source) in held.tensors().into_iter().enumerate() {
            if source.bytes == 0 {
                collection.empty += 1;
                continue;
            }
            let is_whole = Cut::of(&source, options).shards() == 1;
            collection.whole += u64::from(options.shards.get() > 1 && is_whole);
            let kind = plan.kind(models[file], &source, options);
            // Tensors of one kind often follow each other.
            let kind = match last.take().filter(|last| **last == kind) {
                Some(last) => last,
                None => Arc::new(kind),
            };
            last = Some(Arc::clone(&kind));
            let counting = plan.place(&kind, file as u32, layer_of(&source.info.name), options);
            let number = number as u32;
            tensors.push(Tensor { file, number, source, kind, counting, largest: 0.0 });
        }
        measure(&mut tensors, options, workers, progress)?;
        count(&tensors, options, workers, progress, &mut collection)?;
        held.check_length()?;
    }
    Ok(collection)
}

/// Whether the largest value of a tensor must be known before it is counted.
fn is_measured(tensor: &Source<'_>, options: &Options) -> bool {
    let by_tensor = !options.derived.is_empty() && options.scaling == Scaling::Tensor;
    by_tensor && derive::can_read(tensor.dtype)
}

/// Finds the largest values of the tensors that are converted by them.
fn measure(
    tensors: &mut [Tensor<'_>],
    options: &Options,
    workers: &Workers,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let mut found = vec![0f32; tensors.len()];
    let wanted = |tensor: &&Tensor<'_>| is_measured(&tensor.source, options);
    // Empty tensors have numbers, too.
    let numbers = tensors.iter().zip(0..).map(|(tensor, at)| (tensor.number, at));
    let place: BTreeMap<u32, usize> = numbers.collect();
    let jobs = tensors.iter().filter(wanted).flat_map(|tensor| jobs(tensor, options));
    let work = |job: &Job<'_>, slot: &mut Slot| {
        job.read(&mut slot.bytes)?;
        let values = &mut slot.memory.values;
        derive::read(job.tensor.source.dtype, &slot.bytes, values);
        slot.largest = derive::largest(values);
        Ok::<(), Error>(())
    };
    workers.run(BLOCK_BYTES as usize, jobs, work, |job, slot| {
        let largest = &mut found[place[&job.tensor.number]];
        *largest = largest.max(slot.largest);
        progress(job.range.end - job.range.start)
    })?;
    for (tensor, largest) in tensors.iter_mut().zip(found) {
        tensor.largest = largest;
    }
    Ok(())
}

fn count(
    tensors: &[Tensor<'_>],
    options: &Options,
    workers: &Workers,
    progress: &mut Progress<'_>,
    collection: &mut Collection,
) -> Result<()> {
    let work = |job: &Job<'_>, slot: &mut Slot| {
        job.read(&mut slot.bytes)?;
        job.count(options, slot)
    };
    // The shards of the tensor that is being read.
    let mut shards: BTreeMap<u32, Vec<Profile>> = BTreeMap::new();
    let block = if options.shards.get() > 1 { CUT_BLOCK_BYTES } else { BLOCK_BYTES };
    let jobs = tensors.iter().flat_map(|tensor| jobs(tensor, options));
    workers.run(block as usize, jobs, work, |job, slot| {
        for (shard, profiles) in slot.profiles.drain(..) {
            match shards.get_mut(&shard) {
                None => drop(shards.insert(shard, profiles)),
                Some(all) => all.iter_mut().zip(&profiles).for_each(|(all, part)| all.merge(part)),
            }
        }
        progress(job.range.end - job.range.start)?;
        if job.range.end == job.tensor.source.bytes {
            for (shard, profiles) in std::mem::take(&mut shards) {
                collection.add(job, shard, &profiles, options);
            }
        }
        Ok(())
    })
}

impl Collection {
    /// Adds a shard of a tensor, or all shards of a tensor in one group, by the forms of its type.
    fn add(&mut self, job: &Job<'_>, shard: u32, profiles: &[Profile], options: &Options) {
        let tensor = job.tensor;
        let place = Place {
            file: tensor.file as u32,
            tensor: tensor.number,
            layer: layer_of(&tensor.source.info.name),
            shard,
        };
        // A timeline tells files apart.
        let file = options.timeline.map(|_| place.file);
        let all = job.cut.shards();
        let (shards, group) = match tensor.counting {
            Counting::Alone => (1, None),
            Counting::InGroup(number) => (all, Some(Group { file, number })),
            Counting::ByShard(groups) => {
                ((all - shard).div_ceil(groups), Some(Group { file, number: shard }))
            }
        };
        let Kind { model, name, source } = &*tensor.kind;
        let forms = options.forms(*source);
        for (form, (profile, Form { rule, .. })) in profiles.iter().zip(forms).enumerate() {
            let key = Key { model: *model, name: name.clone(), source: *source, form };
            let counted = self.kinds.entry(key).or_default();
            // In a timeline the groups of the last file are the last ones.
            let same = |held: &&mut Shard| group.is_some() && held.group == group;
            match counted.iter_mut().rev().find(same) {
                Some(held) => {
                    held.shards += u64::from(shards);
                    held.profile.merge(profile, rule);
                }
                None => {
                    let (shards, profile) = (shards.into(), PackedProfile::new(profile));
                    counted.push(Shard { place, shards, group, profile });
                }
            }
        }
    }
}

/// The parts of a tensor, in order.
fn jobs<'a>(tensor: &'a Tensor<'a>, options: &Options) -> impl Iterator<Item = Job<'a>> + use<'a> {
    let cut = Arc::new(Cut::of(&tensor.source, options));
    // Whole blocks of values that share a scale.
    let values = 32 * tensor.source.dtype.unit_bytes() as u64;
    // Whole blocks of a .hw file, so that each is decoded once.
    let block = Some(tensor.source.block_bytes()).filter(|block| block.is_multiple_of(values));
    let block = block.unwrap_or(values);
    let row = cut.row();
    let step = if cut.shards() == 1 || matches!(tensor.counting, Counting::InGroup(_)) {
        (BLOCK_BYTES / block).max(1) * block
    } else if row <= CUT_BLOCK_BYTES {
        CUT_BLOCK_BYTES / row * row
    } else {
        (CUT_BLOCK_BYTES / block).max(1) * block
    };
    let bytes = tensor.source.bytes;
    let starts = (0..bytes).step_by(step as usize);
    starts.map(move |start| Job {
        tensor,
        cut: Arc::clone(&cut),
        range: start..bytes.min(start + step),
    })
}

impl Job<'_> {
    fn read(&self, bytes: &mut Vec<u8>) -> Result<()> {
        bytes.resize((self.range.end - self.range.start) as usize, 0);
        self.tensor.source.read_into(self.range.start, bytes)
    }

    /// Counts the bytes that were read, shard by shard or group by group.
    fn count(&self, options: &Options, slot: &mut Slot) -> Result<()> {
        let Slot { bytes, gathered, memory, profiles, .. } = slot;
        let dtype = self.tensor.source.dtype;
        let forms = options.forms(dtype);
        profiles.clear();
        let shards = self.cut.shards();
        let parts = match self.tensor.counting {
            Counting::Alone => shards,
            Counting::InGroup(_) => 1,
            Counting::ByShard(groups) => shards.min(groups),
        };
        if parts == 1 {
            profiles.push((0, self.profiles(bytes, &forms, memory)?));
            return Ok(());
        }
        gathered.resize_with(parts as usize, Vec::new);
        gathered.iter_mut().for_each(Vec::clear);
        for (shard, run) in self.cut.runs(self.range.clone()) {
            gathered[(shard % parts) as usize].extend_from_slice(&bytes[run]);
        }
        for (shard, bytes) in gathered.iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
            profiles.push((shard as u32, self.profiles(bytes, &forms, memory)?));
        }
        Ok(())
    }

    /// A profile of some bytes for each form.
    fn profiles(&self, bytes: &[u8], forms: &[Form], memory: &mut Memory) -> Result<Vec<Profile>> {
        let Memory { values, codes, scratch } = memory;
        let dtype = self.tensor.source.dtype;
        if forms.iter().any(|form| form.scaling.is_some()) {
            derive::read(dtype, bytes, values);
        }
        let profile = |form: &Form| {
            let mut profile = Profile::new(form.dtype, form.rule);
            codes.clear();
            match form.scaling {
                None => {
                    profile.add_with(bytes, scratch)?;
                    return Ok(profile);
                }
                Some(Scaling::Tensor) => {
                    derive::by_tensor(form.dtype, self.tensor.largest, values, codes);
                }
                Some(Scaling::Block) if form.dtype == Dtype::E8m0 => {
                    derive::block_scales(values, codes);
                }
                Some(Scaling::Block) => derive::by_block(form.dtype, values, codes),
            }
            profile.add_with(codes, scratch)?;
            Ok(profile)
        };
        forms.iter().map(profile).collect()
    }
}
