//! What can be wrong with an input, apart from not being readable.

/// An input that is not what it should be. Each message names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// No reader for this kind of file.
    #[error(
        "{path}: this kind of file is unknown; for a raw file pass the type of its elements, \
         such as --dtype bf16, or --dtype u8 for bytes of any kind"
    )]
    UnknownKind {
        /// The file.
        path: String,
    },
    /// The bytes at the start are no safetensors header.
    #[error("{path}: this is no safetensors file: {detail}")]
    NotSafetensors {
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// The header is JSON, but what it says of the tensors cannot be.
    #[error(
        "{path}: the safetensors header is not valid: {source}; to compress the file as mere \
         bytes pass --dtype u8"
    )]
    SafetensorsHeader {
        /// The file.
        path: String,
        /// What the safetensors library says.
        source: serde_json::Error,
    },
    /// The tensors do not end where the file ends.
    #[error(
        "{path}: the safetensors header announces {announced} bytes of tensors and {found} bytes \
         follow it; the file was cut or is damaged"
    )]
    SafetensorsSize {
        /// The file.
        path: String,
        /// Bytes of tensors by the header.
        announced: u64,
        /// Bytes after the header.
        found: u64,
    },
    /// The index of a sharded model is not one.
    #[error("{path}: this is no index of a sharded model: {detail}")]
    NotIndex {
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// A shard's name would lead out of the folder.
    #[error(
        "{path}: the index names a shard {name:?}, which is no plain file name; a model's shards \
         lie in the folder of its index"
    )]
    ShardName {
        /// The index.
        path: String,
        /// The name in `weight_map`.
        name: String,
    },
    /// The header of a `.npy` file cannot be read.
    #[error("{path}: this is no .npy file: {detail}")]
    NotNpy {
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// The array does not end where the file ends.
    #[error(
        "{path}: the .npy header announces {announced} bytes of data and {found} bytes follow it; \
         the file was cut or is damaged (--dtype u8 compresses it as mere bytes)"
    )]
    NpySize {
        /// The file.
        path: String,
        /// Bytes of data by the header.
        announced: u64,
        /// Bytes after the header.
        found: u64,
    },
    /// The size of a raw file does not go with `--dtype` and `--shape`.
    #[error("{path}: the file has {found} bytes; {wanted}")]
    RawSize {
        /// The file.
        path: String,
        /// Its size.
        found: u64,
        /// What it should have.
        wanted: String,
    },
}
