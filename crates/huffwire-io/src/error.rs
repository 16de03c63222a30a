//! What can go wrong with files of tensors.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use huffwire::{ContentHash, SetId};

/// Shorthand for a result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every failure of this crate.
///
/// The message of an error says which file it is about, what happened, and what to do about it. The
/// field `path` is the file's path as the caller gave it, or a name such as `standard input` for what
/// has no path. The message includes that of the cause, which [`source`](std::error::Error::source) also
/// returns.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused to open, read or write a file.
    #[error("{path}: {what}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What failed, and a remedy where there is one.
        what: Cow<'static, str>,
        /// What the system says.
        source: io::Error,
    },
    /// The coded data are damaged, or the codebooks are not those that the data were coded with.
    #[error("{path}: {}{source}", place(what))]
    Codec {
        /// The file.
        path: String,
        /// The part of the file, such as a tensor and a block of it; empty if it is the whole file.
        what: String,
        /// What the library says.
        source: huffwire::Error,
    },
    /// A folder where a file is needed.
    #[error("{path}: this is a folder; give a file")]
    IsFolder {
        /// The folder.
        path: String,
    },
    /// The name of the file cannot be stored.
    #[error(
        "{path}: the name of this file cannot be stored, because it is not UTF-8 or contains \
         control characters, ':' or '\\'; rename the file"
    )]
    FileName {
        /// The file.
        path: String,
    },
    /// The kind of the file is unknown.
    #[error(
        "{path}: this kind of file is unknown; known are .safetensors, .safetensors.index.json and \
         .npy. A file of any other kind can be compressed as raw elements of a given type"
    )]
    UnknownFormat {
        /// The file.
        path: String,
    },
    /// The file is not of the kind that its name promises, or it is damaged.
    #[error("{path}: this is not a valid {format} file: {detail}")]
    InvalidFormat {
        /// The file.
        path: String,
        /// The kind of file: `safetensors`, `.npy`, `safetensors index`.
        format: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A file that the index of a model names cannot be used.
    #[error("{path}: a file that it names: {source}")]
    Shard {
        /// The index.
        path: String,
        /// What is wrong with the file that it names.
        source: Box<Error>,
    },
    /// The tensors do not end where the file ends.
    #[error(
        "{path}: the {format} header announces {announced} bytes of tensors, but {found} bytes follow \
         it: the file was cut or is damaged; fetch or copy it again"
    )]
    FileSize {
        /// The file.
        path: String,
        /// The kind of file: `safetensors` or `.npy`.
        format: &'static str,
        /// Bytes of tensors that the header announces.
        announced: u64,
        /// Bytes that follow the header.
        found: u64,
    },
    /// A stream ended too early.
    #[error(
        "{path}: it ended after {found} bytes, where its header announces {announced}: what writes it has failed, \
         or its source is cut"
    )]
    TooShort {
        /// The stream.
        path: String,
        /// Bytes that the header announces, with itself.
        announced: u64,
        /// Bytes that came.
        found: u64,
    },
    /// A stream goes on where it should have ended.
    #[error("{path}: it goes on after the {announced} bytes that its header announces")]
    TooLong {
        /// The stream.
        path: String,
        /// Bytes that the header announces, with itself.
        announced: u64,
    },
    /// The size of a raw file does not fit the element type and the shape given for it.
    #[error("{path}: the file has {bytes} bytes, which {detail}")]
    RawSize {
        /// The file.
        path: String,
        /// Size of the file in bytes.
        bytes: u64,
        /// What does not fit.
        detail: String,
    },
    /// A file changed its size while it was read.
    #[error(
        "{path}: it had {before} bytes, and {after} after it was read: another program writes to it; \
         wait until that is done"
    )]
    Changed {
        /// The file.
        path: String,
        /// Its size in bytes when it was opened.
        before: u64,
        /// Its size in bytes later.
        after: u64,
    },
    /// There is not enough memory for a part of a file.
    #[error("{path}: there is not enough memory for {what} of {bytes} bytes")]
    OutOfMemory {
        /// The file.
        path: String,
        /// What does not fit.
        what: String,
        /// How many bytes were needed.
        bytes: u64,
    },
    /// Something is larger than the limit that the caller set, or than any valid file can have.
    #[error("{path}: {what} has {bytes} bytes, and the limit is {limit}")]
    TooLarge {
        /// The file.
        path: String,
        /// What is too large.
        what: String,
        /// Its size in bytes.
        bytes: u64,
        /// The largest size allowed, in bytes.
        limit: u64,
    },
    /// A file holds no codebooks.
    #[error("{path}: this file holds no codebooks: {detail}")]
    NoCodebooks {
        /// The file.
        path: String,
        /// Why not.
        detail: String,
    },
    /// The codebooks that a file was compressed with are not at hand.
    #[error(
        "{path}: the file was compressed with codebook set {wanted}, which is neither embedded in the \
         file nor built in; give the codebook file that it was compressed with"
    )]
    CodebooksMissing {
        /// The .hw file.
        path: String,
        /// The codebook set that the file names.
        wanted: SetId,
    },
    /// A tensor is a delta, and the base that it was made for is not at hand.
    #[error(
        "{path}: {what} is a delta, which can only be restored with the base that it was made for; give that base"
    )]
    BaseMissing {
        /// The .hw file.
        path: String,
        /// The tensor, as messages call it.
        what: String,
    },
    /// A tensor is a delta, and the base has nothing that it can be a delta of.
    #[error("{path}: {what} is a delta, and the base {base} {detail}")]
    NotInBase {
        /// The .hw file.
        path: String,
        /// The tensor, as messages call it.
        what: String,
        /// The base.
        base: String,
        /// What the base lacks.
        detail: String,
    },
    /// A base has other bytes than those that a delta was made for.
    #[error("{path}: {what}, with the base {base}: {source}")]
    WrongBase {
        /// The .hw file.
        path: String,
        /// The tensor and the block of it, as messages call them.
        what: String,
        /// The base.
        base: String,
        /// [`huffwire::Error::WrongBase`], with the hashes.
        source: Box<huffwire::Error>,
    },
    /// A base cannot be read, or is damaged. The delta may be all right.
    #[error("{path}: {what} needs the base {base}: {source}")]
    BaseUnreadable {
        /// The .hw file.
        path: String,
        /// The tensor and the block of it, as messages call them.
        what: String,
        /// The base.
        base: String,
        /// What is wrong with the base.
        source: Box<Error>,
    },
    /// A delta is not one of what another one makes.
    #[error(
        "{path}: {what} does not follow {base}: it was made for a base with the hash {expected}, and what {base} makes has \
         the hash {found}; a delta between them is missing, or they are out of order"
    )]
    BrokenChain {
        /// The delta.
        path: String,
        /// The tensor and the block of it, as messages call them.
        what: String,
        /// The delta that was given as what is before it.
        base: String,
        /// The hash of the base that the delta was made for.
        expected: ContentHash,
        /// The hash of what the delta before it makes.
        found: ContentHash,
    },
    /// A chain has more deltas than can be read through.
    #[error(
        "{path}: a chain of more than {limit} deltas, and no more are read through at a time; fold some of them into one"
    )]
    LongChain {
        /// The first delta that is too many.
        path: String,
        /// How many there can be.
        limit: usize,
    },
    /// A file stands in a chain of deltas and is no delta.
    #[error(
        "{path}: this is no .hw file: only the first base can be another file, all behind it are deltas"
    )]
    NotADelta {
        /// The file.
        path: String,
    },
    /// The codebooks given are not those that the file was compressed with.
    #[error(
        "{path}: the file was compressed with codebook set {wanted}, but {given} holds set {found}; \
         give the codebook file that it was compressed with"
    )]
    OtherCodebooks {
        /// The .hw file.
        path: String,
        /// The codebook set that the file names.
        wanted: SetId,
        /// Where the other set comes from.
        given: String,
        /// The set found there.
        found: SetId,
    },
    /// A .hw file has no tensor of that name.
    #[error("{path}: there is no tensor {name:?} among its {tensors}{}", did_you_mean(similar))]
    NoSuchTensor {
        /// The .hw file.
        path: String,
        /// The name.
        name: String,
        /// Number of tensors in the file.
        tensors: usize,
        /// Names that resemble it.
        similar: Vec<String>,
    },
    /// A range of elements cannot be taken out of a tensor.
    #[error("{path}: tensor {name:?}: {detail}")]
    Range {
        /// The .hw file.
        path: String,
        /// The tensor.
        name: String,
        /// Why not.
        detail: String,
    },
    /// A tensor cannot be written as a `.npy` file.
    #[error(
        "its {bytes} bytes are not what a .npy array of type {descr} and {dimensions} dimensions has; \
         write the raw bytes instead"
    )]
    NotAnArray {
        /// Size of the tensor in bytes.
        bytes: u64,
        /// The type as NumPy writes it.
        descr: String,
        /// Number of dimensions.
        dimensions: usize,
    },
    /// The output file exists and must not be replaced.
    #[error("{path}: already exists and is not to be replaced")]
    Exists {
        /// The output file.
        path: String,
    },
    /// The output would replace an input.
    #[error("{path}: input and output are the same file ({input}); choose another output")]
    SameFile {
        /// The output.
        path: String,
        /// The input.
        input: String,
    },
    /// Two inputs would become one output.
    #[error("{path}: two inputs would become this file: {} and {}", inputs[0], inputs[1])]
    SameOutput {
        /// The output.
        path: String,
        /// The inputs.
        inputs: [String; 2],
    },
    /// Something in the place of a symbolic link that is not to be replaced.
    #[error("{path}: already exists and is no link, or another one")]
    NoLink {
        /// The link that was to be made.
        path: String,
    },
    /// An output would replace another one of the same run.
    #[error(
        "{path}: this run has made a file of this name before; names that differ only in case, or in how an accent is \
         written, can be one name in this folder"
    )]
    MadeBefore {
        /// The output.
        path: String,
    },
    /// The folder for the results lies in a folder that is worked on.
    #[error("{path}: this folder for the output lies in the folder {input}, or is the same")]
    Nested {
        /// The folder for the results.
        path: String,
        /// The folder that is worked on.
        input: String,
    },
    /// The name of a file does not say that it is a .hw file.
    #[error("{path}: the name does not end in .hw")]
    NoEnding {
        /// The file.
        path: String,
    },
    /// Something that is neither a file nor a folder nor a link.
    #[error("{path}: this is {what}, which is not read")]
    Special {
        /// Where it lies.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// A file was changed while it was read, or after.
    #[error("{path}: it was changed or replaced while it was read")]
    Modified {
        /// The file.
        path: String,
    },
    /// Input that is no ordinary file, and so is never removed.
    #[error("{path}: it is a pipe, a device or the like, and only files are removed")]
    NotRemovable {
        /// The input.
        path: String,
    },
    /// A symbolic link where only a file is removed.
    #[error("{path}: it is a symbolic link, and somebody else may count on what it leads to")]
    Link {
        /// The link.
        path: String,
    },
    /// A .hw file does not hold what a file holds.
    #[error("{path}: it is not what {hw} holds: byte {offset} differs")]
    Differs {
        /// The file.
        path: String,
        /// The .hw file.
        hw: String,
        /// The first byte that differs.
        offset: u64,
    },
    /// Standard output is a terminal, and the output is binary.
    #[error("standard output is a terminal and the output is binary; choose an output file")]
    Terminal,
    /// What was added to a [`Writer`](crate::Writer) cannot be part of a .hw file.
    #[error("{path}: {detail}")]
    Unwritable {
        /// The .hw file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// Threads cannot be started.
    #[error("{threads} threads cannot be started: {detail}; ask for fewer")]
    Threads {
        /// How many the caller wants; 0 stands for one for each core.
        threads: usize,
        /// What the system says.
        detail: String,
    },
}

impl Error {
    pub(crate) fn io(
        path: &str,
        what: impl Into<Cow<'static, str>>,
    ) -> impl FnOnce(io::Error) -> Self {
        let (path, what) = (path.to_owned(), what.into());
        move |source| Self::Io { path, what, source }
    }

    pub(crate) fn codec(
        path: &str,
        what: impl Into<String>,
    ) -> impl FnOnce(huffwire::Error) -> Self {
        let (path, what) = (path.to_owned(), what.into());
        move |source| Self::Codec { path, what, source }
    }

    pub(crate) fn invalid(path: &str, format: &'static str, detail: impl Into<String>) -> Self {
        Self::InvalidFormat { path: path.to_owned(), format, detail: detail.into() }
    }

    pub(crate) fn folder(path: &Path) -> Self {
        Self::IsFolder { path: path.display().to_string() }
    }
}

fn place(what: &str) -> String {
    if what.is_empty() { String::new() } else { format!("{what}: ") }
}

fn did_you_mean(similar: &[String]) -> String {
    if similar.is_empty() {
        return String::new();
    }
    let quoted: Vec<String> = similar.iter().map(|name| format!("{name:?}")).collect();
    format!("; did you mean {}?", quoted.join(" or "))
}
