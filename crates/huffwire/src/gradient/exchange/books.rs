//! Built-in codebooks of quantized values. They are made from formulas: a quantizer is given random floats of several
//! distributions, from a uniform one to one with very heavy tails, and there are codebooks for the values of each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::encode::BitmapBooks;
use super::super::quantize::parts::{Part, Scratch};
use super::super::quantize::{Quantizer, without_buckets};
use super::super::random::Random;
use crate::error::Result;
use crate::ids::SetId;

/// Distributions: a sum of so many uniform numbers, raised to a power. Twelve are nearly a normal distribution.
const DISTRIBUTIONS: [(u64, u32); 9] =
    [(1, 1), (3, 1), (12, 1), (12, 2), (12, 3), (12, 4), (12, 6), (12, 8), (12, 12)];

/// Floats of each distribution, at least.
const SAMPLE: usize = 1 << 15;

/// The codebooks for a distribution.
#[derive(Debug)]
pub(super) struct Member {
    /// The share of zeros that they were made for.
    pub(super) zeros: f64,
    pub(super) books: Arc<BitmapBooks>,
}

/// The codebooks for a quantizer, those for the fewest zeros first.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) members: Vec<Member>,
    pub(super) id: SetId,
}

static FAMILIES: Mutex<BTreeMap<String, Arc<Family>>> = Mutex::new(BTreeMap::new());

impl Family {
    /// The codebooks for a quantizer, which are made at the first call.
    pub(super) fn of(quantizer: &Quantizer) -> Result<Arc<Self>> {
        let mut families = FAMILIES.lock().unwrap_or_else(PoisonError::into_inner);
        let name = quantizer.to_string();
        if let Some(family) = families.get(&name) {
            return Ok(Arc::clone(family));
        }
        let family = Arc::new(Self::make(quantizer)?);
        families.insert(name, Arc::clone(&family));
        Ok(family)
    }

    fn make(quantizer: &Quantizer) -> Result<Self> {
        let (bucket, _) = quantizer.buckets().ok_or_else(|| without_buckets(quantizer))?;
        let count = SAMPLE.next_multiple_of(bucket);
        let mut members: Vec<Member> = Vec::new();
        for (uniforms, power) in DISTRIBUTIONS {
            let floats = floats(count, uniforms, power);
            let (mut values, mut scales) = (vec![0; count], Vec::new());
            let part = Part { floats: &floats, error: None, seed: 1, first: 0 };
            let out = (&mut values[..], &mut scales);
            quantizer.quantize_part(part, &mut Scratch::default(), out, None)?;
            super::to_coded(quantizer, &mut values);
            let books = Arc::new(BitmapBooks::train([values[..].into()])?);
            let zeros = values.iter().filter(|value| **value == 0).count() as f64 / count as f64;
            if members.iter().all(|member| member.books.set().id() != books.set().id()) {
                members.push(Member { zeros, books });
            }
        }
        members.sort_by(|a, b| a.zeros.total_cmp(&b.zeros));
        let mut content = b"quantized values: ".to_vec();
        content.extend_from_slice(quantizer.to_string().as_bytes());
        for member in &members {
            content.extend_from_slice(&member.books.set().id().0);
        }
        Ok(Self { id: SetId::of(&content), members })
    }

    /// The number of the codebooks for such a share of zeros.
    pub(super) fn choose(&self, zeros: f64) -> usize {
        let distance = |member: &Member| (member.zeros - zeros).abs();
        let members = self.members.iter().enumerate();
        members
            .min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)))
            .map_or(0, |(number, _)| number)
    }
}

/// Random floats. Only additions and multiplications make them, so they are the same on every machine.
fn floats(count: usize, uniforms: u64, power: u32) -> Vec<f32> {
    let random = Random::new(uniforms << 32 | u64::from(power));
    let float = |index: u64| {
        let sum: f64 = (0..uniforms).map(|i| random.uniform(index * uniforms + i)).sum();
        let float = sum - uniforms as f64 / 2.0;
        let magnitude = (1..power).fold(float.abs(), |product, _| product * float.abs());
        (if float < 0.0 { -magnitude } else { magnitude }) as f32
    };
    (0..count as u64).map(float).collect()
}
