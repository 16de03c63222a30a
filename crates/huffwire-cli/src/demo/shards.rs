//! Splitting tensors as tensor parallelism does: along the last dimension.

use huffwire::calibrate::kind_of;

use huffwire_demo::{Batch, Dump, Role};

/// A shard should not get smaller than this, or the few bytes around each would tell more about
/// the shard's size than about its content.
const MIN_VALUES: usize = 1 << 14;
/// As many accelerators as one machine usually has.
const MAX_SHARDS: usize = 8;

/// A part of a tensor.
#[derive(Debug)]
pub(super) struct Shard {
    /// What the tensor is.
    pub(super) role: Role,
    /// Role and name without the number of the layer: tensors that share a codebook.
    pub(super) kind: String,
    /// bf16 values, little-endian.
    pub(super) bytes: Vec<u8>,
}

/// The shards of all tensors of a batch.
pub(super) fn of(batch: &Batch) -> Vec<Shard> {
    batch.dumps.iter().flat_map(split).collect()
}

/// What people call tensors of a role.
pub(super) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Weight => "weights",
        Role::Activation => "activations",
        Role::Gradient => "gradients",
    }
}

fn split(dump: &Dump) -> Vec<Shard> {
    let [_, columns] = dump.shape;
    let count = [MAX_SHARDS, 4, 2]
        .into_iter()
        .find(|&count| dump.values.len() / count >= MIN_VALUES && columns.is_multiple_of(count));
    let count = count.unwrap_or(1);
    let kind = kind_of(&format!("{}/{}", role_name(dump.role), dump.name));
    let width = columns / count;
    let shard = |index: usize| {
        let rows = dump.values.chunks_exact(columns.max(1));
        let values = rows.flat_map(|row| &row[index * width..(index + 1) * width]);
        let bytes = values.flat_map(|value| value.to_le_bytes()).collect();
        Shard { role: dump.role, kind: kind.clone(), bytes }
    };
    (0..count).map(shard).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(rows: usize, columns: usize) -> Dump {
        Dump {
            name: "model.layers.3.mlp.down_proj.weight".to_owned(),
            role: Role::Weight,
            layer: 3,
            shape: [rows, columns],
            values: (0..rows * columns).map(|i| (i % columns) as u16).collect(),
        }
    }

    #[test]
    fn shards_are_columns_and_not_too_small() {
        let shards = split(&dump(256, 256));
        assert_eq!(shards.len(), 4);
        assert_eq!(shards[0].kind, "weights/model.layers.*.mlp.down_proj.weight");
        assert_eq!(shards[3].bytes[..4], [192, 0, 193, 0]);
        assert!(shards.iter().all(|shard| shard.bytes.len() == 2 * MIN_VALUES));
        assert_eq!(split(&dump(128, 128)).len(), 1);
        assert_eq!(split(&dump(1024, 1024)).len(), MAX_SHARDS);
    }
}
