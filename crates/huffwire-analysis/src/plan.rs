//! Which shards are counted alone, and which together with others of their kind: so that the memory of an analysis does
//! not grow with the files.
//!
//! The shapes in the files tell how many shards each kind has before anything is read.

use std::collections::BTreeMap;

use huffwire::Dtype;

use crate::cut::Cut;
use crate::input::{File, Tensor};
use crate::options::{LeaveOut, Options, layer_of};

/// The most rows of a result: kinds of tensors in all their forms.
pub(crate) const ROWS: usize = 8192;
/// The most groups of shards of a row, and as many as all rows together have where they are not two each.
const GROUPS: usize = 64;
const ALL_GROUPS: usize = 8192;
/// The name of the kind of all tensors that are of no kind of their own.
pub(crate) const OTHERS: &str = "*";

/// The most shards that are counted alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MostAlone {
    /// Of a kind.
    of_kind: u64,
    /// Of a tensor, in all its forms: each thread has histograms for all of them.
    of_tensor: u64,
    /// Of all kinds in all their forms.
    of_all: u64,
}

impl MostAlone {
    /// Of the files that are analyzed: each of these shards is reported, too.
    pub(crate) const fn analyzed(options: &Options) -> Self {
        Self::new(options, 20_000)
    }

    /// Of the files to calibrate on.
    pub(crate) const fn calibration(options: &Options) -> Self {
        Self::new(options, 8192)
    }

    const fn new(options: &Options, of_all: u64) -> Self {
        match options.shards_alone {
            Some(most) => Self { of_kind: most, of_tensor: most, of_all: most },
            None => Self { of_kind: 4096, of_tensor: 1024, of_all },
        }
    }
}

/// Tensors that are counted alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) model: usize,
    pub(crate) name: String,
    /// The type in the file.
    pub(crate) source: Dtype,
}

/// How the shards of a tensor are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// Each alone.
    Alone,
    /// All in the group of this number.
    InGroup(u32),
    /// In so many groups, by the number of the shard.
    ByShard(u32),
}

/// How the shards of all kinds are counted.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    kinds: BTreeMap<Kind, Census>,
    /// The most groups of a row.
    groups: u32,
    /// Tensors that are of the kind [`OTHERS`], since there are too many kinds.
    pub(crate) others: u64,
}

/// What the shapes tell of a kind.
#[derive(Debug)]
struct Census {
    shards: u64,
    /// Shards of the tensor that has the most.
    most_shards: u64,
    first_file: u32,
    first_layer: Option<u64>,
    several_files: bool,
    several_layers: bool,
    is_cut: bool,
    is_alone: bool,
    /// The groups of the first parts that were met; there are no more than groups.
    groups: BTreeMap<u64, u32>,
    /// Tensors that were given a group.
    placed: u64,
}

impl Plan {
    /// Plans the counting of files. `models` has a number for each file.
    pub(crate) fn of(
        files: &[File<'_>],
        models: &[usize],
        options: &Options,
        most: MostAlone,
    ) -> Self {
        let mut plan = Self::default();
        // No type has more forms than this one.
        let most_kinds = ROWS / options.forms(Dtype::F32).len().max(1);
        for (file, held) in files.iter().enumerate() {
            for tensor in held.tensors().iter().filter(|tensor| tensor.bytes > 0) {
                let mut kind = own_kind(models[file], tensor, options);
                if plan.kinds.len() >= most_kinds && !plan.kinds.contains_key(&kind) {
                    kind.name = OTHERS.to_owned();
                    plan.others += 1;
                }
                let (shards, layer) =
                    (Cut::of(tensor, options).shards(), layer_of(&tensor.info.name));
                let census = plan.kinds.entry(kind).or_insert(Census::new(file as u32, layer));
                census.shards += u64::from(shards);
                census.most_shards = census.most_shards.max(shards.into());
                census.several_files |= census.first_file != file as u32;
                census.several_layers |= census.first_layer != layer;
                census.is_cut |= shards > 1;
            }
        }
        let (mut left, mut grouped_rows) = (most.of_all, 0);
        for (kind, census) in &mut plan.kinds {
            let rows = options.forms(kind.source).len();
            let shards = census.shards.saturating_mul(rows as u64);
            let of_tensor = census.most_shards * rows as u64;
            census.is_alone = census.shards <= most.of_kind
                && of_tensor <= most.of_tensor.max(rows as u64)
                && shards <= left;
            if census.is_alone {
                left -= shards;
            } else {
                grouped_rows += rows;
            }
        }
        plan.groups = (ALL_GROUPS / grouped_rows.max(1)).clamp(2, GROUPS) as u32;
        plan
    }

    /// The kind of a tensor in a file of this model.
    pub(crate) fn kind(&self, model: usize, tensor: &Tensor<'_>, options: &Options) -> Kind {
        let kind = own_kind(model, tensor, options);
        if self.kinds.contains_key(&kind) { kind } else { Kind { name: OTHERS.to_owned(), ..kind } }
    }

    /// How the shards of the next tensor of a kind are counted. Parts that are left out in turn lie in groups of their
    /// own, as long as there are enough of these.
    pub(crate) fn place(
        &mut self,
        kind: &Kind,
        file: u32,
        layer: Option<u64>,
        options: &Options,
    ) -> Counting {
        let Some(census) = self.kinds.get_mut(kind).filter(|census| !census.is_alone) else {
            return Counting::Alone;
        };
        let part = match census.parts(options) {
            LeaveOut::Files => u64::from(file),
            LeaveOut::Layers => layer.map_or(0, |layer| layer.saturating_add(1)),
            LeaveOut::Shards if census.is_cut => return Counting::ByShard(self.groups),
            LeaveOut::Shards => census.placed,
        };
        census.placed += 1;
        let next = census.groups.len() as u32;
        let group = if next < self.groups {
            *census.groups.entry(part).or_insert(next)
        } else {
            let known = census.groups.get(&part).copied();
            known.unwrap_or((part % u64::from(self.groups)) as u32)
        };
        Counting::InGroup(group)
    }
}

impl Census {
    const fn new(first_file: u32, first_layer: Option<u64>) -> Self {
        Self {
            shards: 0,
            most_shards: 0,
            first_file,
            first_layer,
            several_files: false,
            several_layers: false,
            is_cut: false,
            is_alone: false,
            groups: BTreeMap::new(),
            placed: 0,
        }
    }

    /// Which parts of the kind groups are made of.
    fn parts(&self, options: &Options) -> LeaveOut {
        let may = |way| options.leave_out.is_none_or(|only| only == way);
        if self.several_files && may(LeaveOut::Files) {
            LeaveOut::Files
        } else if self.several_layers && may(LeaveOut::Layers) {
            LeaveOut::Layers
        } else {
            LeaveOut::Shards
        }
    }
}

fn own_kind(model: usize, tensor: &Tensor<'_>, options: &Options) -> Kind {
    Kind { model, name: options.kind(&tensor.info.name), source: tensor.dtype }
}
