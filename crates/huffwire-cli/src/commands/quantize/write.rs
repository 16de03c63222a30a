//! The .hwq file, or what it would be.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use huffwire::Encoder;
use huffwire::gradient::encode::EncoderKind;
use huffwire::gradient::file::{Coding, Writer};
use huffwire::gradient::message::{self, MessageSizes, Origin};
use huffwire::gradient::quantize::Quantized;
use huffwire_io::{Input, Output};
use serde::Deserialize;

use super::report::KeptReport;
use super::tensor::Tensor;
use crate::args::OutputArgs;
use crate::files;

/// Where messages go.
pub(super) struct Target {
    /// `None` when there is only to be a report.
    output: Option<Output>,
    writer: Writer,
    bytes: u64,
}

impl Target {
    pub(super) fn new(args: &OutputArgs, inputs: &[Input]) -> Result<Self> {
        let origins: Vec<_> = inputs.iter().map(|input| input.file.origin()).collect();
        let output = args.output.as_deref();
        let output = output.map(|path| files::create(path, args.force, &origins)).transpose()?;
        let writer = Writer::new(metadata(inputs)?)?;
        let mut this = Self { output, writer, bytes: 0 };
        this.write(&this.writer.header())?;
        Ok(this)
    }

    /// Adds a quantized tensor. Its message is decoded and compared before.
    pub(super) fn quantized(
        &mut self,
        tensor: &Tensor<'_>,
        quantized: &Quantized,
        encoder: EncoderKind,
    ) -> Result<MessageSizes> {
        let shape = &tensor.info.shape;
        let origin = Origin { dtype: tensor.element(), shape };
        let mut bytes = Vec::new();
        let sizes = message::encode(quantized, origin, encoder, &mut bytes)?;
        let (_, decoded) = message::decode(&bytes)?;
        ensure!(
            decoded == *quantized,
            "{encoder}: decoding does not restore the quantized values; this is a bug in huffwire"
        );
        self.writer.push(
            &tensor.info.name,
            &tensor.dtype(),
            shape,
            Coding::Quantized,
            bytes.len(),
        )?;
        self.write(&bytes)?;
        Ok(sizes)
    }

    /// Adds a tensor without loss.
    pub(super) fn keep(&mut self, tensor: &Tensor<'_>) -> Result<KeptReport> {
        let (name, dtype) = (&tensor.info.name, tensor.dtype());
        let bytes = Encoder::builtin().encode_to_vec(tensor.element(), &tensor.read()?)?;
        self.writer.push(name, &dtype, &tensor.info.shape, Coding::Kept, bytes.len())?;
        self.write(&bytes)?;
        Ok(KeptReport {
            name: name.clone(),
            dtype,
            raw_bytes: tensor.bytes(),
            coded_bytes: bytes.len() as u64,
        })
    }

    /// Completes the file; returns its size.
    pub(super) fn finish(mut self) -> Result<u64> {
        let end = self.writer.finish();
        self.write(&end)?;
        if let Some(output) = self.output {
            output.finish()?;
        }
        Ok(self.bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        match &mut self.output {
            Some(output) => Ok(output.write(bytes)?),
            None => Ok(()),
        }
    }
}

/// The part of a safetensors header that is about no tensor.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__", default)]
    metadata: BTreeMap<String, String>,
}

/// The metadata of safetensors files; of shards that say different things the first one counts.
fn metadata(inputs: &[Input]) -> Result<Vec<(String, String)>> {
    let mut metadata = BTreeMap::new();
    for input in inputs {
        let is_shard = input.name.to_ascii_lowercase().ends_with(".safetensors");
        let Some(header) = input.pieces.first().filter(|_| is_shard) else { continue };
        if header.tensor.is_some() {
            continue;
        }
        let text = input.file.read(header.range.clone())?;
        // Behind the length of the header.
        let header: Header = serde_json::from_slice(text.get(8..).unwrap_or_default())?;
        for (key, value) in header.metadata {
            metadata.entry(key).or_insert(value);
        }
    }
    Ok(metadata.into_iter().collect())
}
