//! Codebooks from one batch, used on the next, compared with what could be had.

use std::sync::Arc;

use anyhow::{Result, ensure};
use huffwire::calibrate::{Collector, Ideal, KindReport, Options, Profile};
use huffwire::stats::saving_percent;
use huffwire::{Choice, CodebookSet, Decoder, Dtype, EncodeOptions, Encoder, SymbolRule, Tensor};
use rayon::prelude::*;
use serde::Serialize;

use super::shards::{Shard, role_name};
use huffwire_demo::Role;

/// One line of the comparison: the tensors of one role under one symbol rule.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) tensors: &'static str,
    pub(super) symbols: &'static str,
    pub(super) shards: usize,
    pub(super) raw_bytes: u64,
    /// At the entropy of each shard.
    pub(super) shannon_saving_percent: f64,
    /// A Huffman code for each shard, codebooks and headers not counted.
    pub(super) huffman_saving_percent: f64,
    /// Codebooks from the earlier batch, everything counted that would be sent.
    pub(super) fixed_saving_percent: f64,
    /// The built-in codebooks, counted likewise; `None` where they do not know these symbols.
    pub(super) builtin_saving_percent: Option<f64>,
    /// Mean KL divergence of the shards of the earlier batch from the average of their kind.
    pub(super) mean_kl_bits: f64,
}

/// What became of one shard.
struct Coded {
    role: Role,
    ideal: Ideal,
    fixed_bytes: usize,
    builtin_bytes: Option<usize>,
}

/// Calibrates on the shards of one batch and codes those of the next; fails unless every shard
/// comes back bit for bit.
pub(super) fn measure(rule: SymbolRule, before: &[Shard], now: &[Shard]) -> Result<Vec<Row>> {
    let mut collector = Collector::new(rule);
    for (shard, profile) in before.iter().zip(profiles(rule, before)?) {
        collector.push(&shard.kind, profile)?;
    }
    let options = Options { builtin: false, ..Options::default() };
    let calibration = collector.build(&options)?;
    let fixed = Arc::new(calibration.set);
    let coded: Vec<Coded> = now
        .par_iter()
        .zip(profiles(rule, now)?)
        .map(|(shard, profile)| {
            Ok(Coded {
                role: shard.role,
                ideal: profile.ideal(),
                fixed_bytes: round_trip(&fixed, rule, Choice::Named, shard)?,
                builtin_bytes: match rule {
                    SymbolRule::Auto => {
                        let builtin = CodebookSet::builtin();
                        Some(round_trip(&builtin, rule, Choice::default(), shard)?)
                    }
                    _ => None,
                },
            })
        })
        .collect::<Result<_>>()?;
    let roles = [Role::Weight, Role::Activation, Role::Gradient];
    Ok(roles.map(|role| row(rule, role, &coded, &calibration.kinds)).into())
}

fn profiles(rule: SymbolRule, shards: &[Shard]) -> Result<Vec<Profile>> {
    let profile = |shard: &Shard| {
        let mut profile = Profile::new(Dtype::Bf16, rule);
        profile.add(&shard.bytes)?;
        Ok(profile)
    };
    shards.par_iter().map(profile).collect()
}

/// Bytes of the message that would be sent for a shard.
fn round_trip(
    set: &Arc<CodebookSet>,
    rule: SymbolRule,
    choice: Choice,
    shard: &Shard,
) -> Result<usize> {
    let options = EncodeOptions::default().rule(rule).choice(choice);
    let mut encoder = Encoder::new(Arc::clone(set), options)?;
    let tensor = Tensor::new(Dtype::Bf16, &shard.bytes).named(&shard.kind);
    let message = encoder.encode_tensor_to_vec(&tensor)?;
    let mut restored = vec![0; shard.bytes.len()];
    Decoder::new(Arc::clone(set)).decode(&message, &mut restored)?;
    ensure!(restored == shard.bytes, "a shard of {} came back changed", shard.kind);
    Ok(message.len())
}

fn row(rule: SymbolRule, role: Role, coded: &[Coded], kinds: &[KindReport]) -> Row {
    let tensors = role_name(role);
    let coded: Vec<&Coded> = coded.iter().filter(|coded| coded.role == role).collect();
    let raw: u64 = coded.iter().map(|coded| coded.ideal.raw_bytes).sum();
    let saved = |bytes: f64| saving_percent(raw as f64, bytes);
    let builtin: Option<usize> = coded.iter().map(|coded| coded.builtin_bytes).sum();
    let kinds = kinds.iter().filter(|kind| kind.kind.starts_with(tensors));
    let weigh = |(kl, shards): (f64, usize), kind: &KindReport| {
        (kl + kind.mean_kl_bits * kind.shards as f64, shards + kind.shards)
    };
    let (kl, shards) = kinds.fold((0.0, 0), weigh);
    Row {
        tensors,
        symbols: if rule == SymbolRule::Bytes { "bytes" } else { "auto" },
        shards: coded.len(),
        raw_bytes: raw,
        shannon_saving_percent: saved(coded.iter().map(|c| c.ideal.shannon_bytes).sum()),
        huffman_saving_percent: saved(coded.iter().map(|c| c.ideal.huffman_bytes).sum()),
        fixed_saving_percent: saved(coded.iter().map(|c| c.fixed_bytes as f64).sum()),
        builtin_saving_percent: builtin.map(|bytes| saved(bytes as f64)),
        mean_kl_bits: kl / shards.max(1) as f64,
    }
}
