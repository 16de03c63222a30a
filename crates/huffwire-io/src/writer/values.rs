//! Writing items of quantized values.

use std::sync::Arc;

use huffwire::file::{NewItem, TensorInfo, checksum};
use huffwire::gradient::item::{ItemReader, ItemWriter, KindHeader, Options, Origin};
use huffwire::gradient::quantize::Quantized;
use huffwire::gradient::{Values, ValuesMut};
use huffwire::{CodebookSet, Decoder, Dtype, Kind};

use super::{Writer, unwritable};
use crate::error::{Error, Result};

/// Sizes of an item of quantized values, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ValueSizes {
    /// The whole item: its kind header and its blocks.
    pub coded: u64,
    /// The scales in the kind header.
    pub scales: u64,
    /// The codebooks in the blocks.
    pub codebooks: u64,
}

/// A block of values, coded, and what it decodes to.
#[derive(Default)]
struct Block {
    coded: Vec<u8>,
    codebook: usize,
    narrow: Vec<i8>,
    wide: Vec<i32>,
}

impl Block {
    /// Whether the block decodes to these values.
    fn holds(
        &mut self,
        values: Values<'_>,
        index: usize,
        reader: &ItemReader,
    ) -> huffwire::Result<bool> {
        match values {
            Values::I8(values) => {
                self.narrow.resize(values.len(), 0);
                reader.decode_block(index, &self.coded, ValuesMut::I8(&mut self.narrow))?;
                Ok(self.narrow == values)
            }
            Values::I32(values) => {
                self.wide.resize(values.len(), 0);
                reader.decode_block(index, &self.coded, ValuesMut::I32(&mut self.wide))?;
                Ok(self.wide == values)
            }
        }
    }
}

impl Writer {
    /// Adds a quantized tensor to the current original. A reader restores floats of the type `dtype`, which is f32,
    /// bf16 or f16, from it: near those that were quantized, but not the same.
    ///
    /// The set of a [`BitmapBooks`](huffwire::gradient::encode::BitmapBooks) becomes part of the file. Checksums are
    /// those of the file; a file has no context. Each block is decoded again and compared before it is written.
    /// `progress` is called with the number of bytes of floats done since its last call.
    ///
    /// ```
    /// use huffwire::Dtype;
    /// use huffwire::file::TensorInfo;
    /// use huffwire::gradient::item::Options;
    /// use huffwire::gradient::quantize::{Linear, Quantizer, WHOLE};
    /// use huffwire_io::{Reader, WriteOptions, Writer};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("gradient.hw");
    /// let gradient: Vec<f32> = (0..5000).map(|i| (i as f32 * 0.37).sin()).collect();
    /// let quantized = Quantizer::Linear(Linear { bucket: WHOLE }).quantize(&gradient, 0)?;
    ///
    /// let mut writer = Writer::create(&path, false, WriteOptions::default())?;
    /// writer.begin_original("gradient")?;
    /// let info = TensorInfo { name: "g".into(), dtype: "F32".into(), shape: vec![50, 100] };
    /// writer.add_values(info, Dtype::F32, &quantized, &Options::default(), |_| ())?;
    /// assert!(writer.finish()?.bytes < 5200);
    ///
    /// let restored = Reader::open(&path)?.read_range("g", 1234..1235)?;
    /// let restored = f32::from_le_bytes(restored.try_into().unwrap());
    /// assert!((restored - gradient[1234]).abs() < 0.01);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Codec`] for a type, a shape or options that do not go with the values; as [`Writer::add_tensor`].
    pub fn add_values(
        &mut self,
        tensor: TensorInfo,
        dtype: Dtype,
        quantized: &Quantized,
        options: &Options,
        mut progress: impl FnMut(u64),
    ) -> Result<ValueSizes> {
        let Self { output, options: own, directory, items, failed, .. } = self;
        let label = output.label().to_owned();
        let codec = |error| Error::codec(&label, format!("tensor {:?}", tensor.name))(error);
        let origin = Origin { dtype, shape: &tensor.shape };
        let item = ItemWriter::new(quantized, origin, options).map_err(codec)?;
        let mut decoder = Decoder::builtin();
        let set = directory.add_set(&CodebookSet::builtin(), false);
        if let Some(books) = &options.books {
            directory.add_set(books.set(), books.set().id() != CodebookSet::builtin().id());
            decoder = decoder.with_set(Arc::clone(books.set())).map_err(codec)?;
        }
        let kind_header = KindHeader {
            dtype,
            units: item.header().elements() as u64,
            set: CodebookSet::builtin().id(),
            bytes: item.kind_header(),
        };
        let reader = ItemReader::new(&kind_header, &mut decoder).map_err(codec)?;
        let checksums = directory.directory().checksums;
        let check = |entry: &[u8]| checksums.then(|| checksum(entry));

        let tensor_info = tensor.clone();
        let new = NewItem { tensor: Some(tensor_info), kind: Kind::Values, dtype, set };
        directory.begin_item(new).map_err(|error| unwritable(output, &error))?;
        // Until the end is reached.
        let failed_before = std::mem::replace(failed, true);
        *items += 1;
        let kind_header = item.kind_header();
        let pushed = directory.push_kind_header(kind_header.len(), check(kind_header));
        pushed.map_err(|error| unwritable(output, &error))?;
        output.write(kind_header)?;
        let scales = item.scale_bytes() as u64;
        let mut sizes = ValueSizes { coded: kind_header.len() as u64, scales, codebooks: 0 };

        let values = quantized.values.view();
        let per_block = item.header().block_values(0);
        let encode = |&index: &usize, block: &mut Block| {
            block.coded.clear();
            block.codebook = item.encode_block(index, &mut block.coded).map_err(codec)?.codebook;
            let from = index * per_block;
            let due = values.slice(from, from + per_block);
            if !block.holds(due, index, &reader).map_err(codec)? {
                let detail = format!(
                    "block {index} of tensor {:?} does not decode to the quantized values; this is a bug in \
                     huffwire",
                    tensor.name
                );
                return Err(Error::Unwritable { path: label.clone(), detail });
            }
            Ok(())
        };
        let block_bytes = per_block * dtype.unit_bytes();
        own.workers.run(block_bytes, 0..item.header().blocks(), encode, |&index, block| {
            let raw_bytes = item.header().block_values(index) * dtype.unit_bytes();
            let pushed = directory.push_block(raw_bytes, block.coded.len(), check(&block.coded));
            pushed.map_err(|error| unwritable(output, &error))?;
            output.write(&block.coded)?;
            sizes.coded += block.coded.len() as u64;
            sizes.codebooks += block.codebook as u64;
            progress(raw_bytes as u64);
            Ok::<(), Error>(())
        })?;
        *failed = failed_before;
        Ok(sizes)
    }
}
