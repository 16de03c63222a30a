//! Writing deltas that were encoded as messages.

use huffwire::delta;
use huffwire::file::{NewItem, TensorInfo, checksum};
use huffwire::{Dtype, Kind};

use super::deltas::write_kind_header;
use super::{Writer, unwritable};
use crate::error::{Error, Result};

impl Writer {
    /// Adds a delta to the current original: a message that an [`Encoder`](huffwire::Encoder) with the codebooks of this
    /// writer made, without a context. Its blocks are stored as they are.
    ///
    /// ```
    /// use huffwire::{Dtype, Encoder};
    /// use huffwire::file::TensorInfo;
    /// use huffwire_io::{Reader, WriteOptions, Writer};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("delta.hw");
    /// let message = Encoder::builtin().encode_delta_to_vec(Dtype::U8, &[1; 5000], &[2; 5000])?;
    ///
    /// let mut writer = Writer::create(&path, false, WriteOptions::default())?;
    /// writer.begin_original("delta")?;
    /// let info = TensorInfo { name: "bytes".into(), dtype: "U8".into(), shape: vec![5000] };
    /// writer.add_delta(info, &message)?;
    /// writer.finish()?;
    ///
    /// let reader = Reader::open(&path)?;
    /// let item = reader.directory().items().next().unwrap();
    /// assert_eq!(reader.delta_message(item)?, message);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Codec`] for bytes that are no such message; as [`Writer::add_tensor`].
    pub fn add_delta(&mut self, tensor: TensorInfo, message: &[u8]) -> Result<()> {
        let Self { output, options, directory, set, items, failed, .. } = self;
        let label = output.label().to_owned();
        let what = format!("tensor {:?}", tensor.name);
        let codec = |error| Error::codec(&label, what.clone())(error);
        let (header, blocks) = delta::split_message(message, None).map_err(codec)?;
        let ours = options.codebooks.id().short();
        if header.set != ours {
            let what = "the codebook set of a delta";
            let (expected, found) = (format!("{ours:02x?}"), format!("{:02x?}", header.set));
            return Err(codec(huffwire::Error::Unexpected { what, expected, found }));
        }
        let checksums = directory.directory().checksums;
        let check = |entry: &[u8]| checksums.then(|| checksum(entry));

        let dtype: Dtype = header.dtype;
        let new = NewItem { tensor: Some(tensor), kind: Kind::Delta, dtype, set: *set };
        directory.begin_item(new).map_err(|error| unwritable(output, &error))?;
        // Until the end is reached.
        let failed_before = std::mem::replace(failed, true);
        *items += 1;
        write_kind_header(directory, output)?;
        let mut left = header.raw_bytes().map_err(codec)?;
        for block in blocks {
            let raw_bytes = left.min(delta::block_bytes(dtype));
            left -= raw_bytes;
            let pushed = directory.push_block(raw_bytes, block.len(), check(block));
            pushed.map_err(|error| unwritable(output, &error))?;
            output.write(block)?;
        }
        *failed = failed_before;
        Ok(())
    }
}
