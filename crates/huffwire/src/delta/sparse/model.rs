//! Models: how likely words of each class change, and by how much.

use super::super::form::Form;
use super::super::header::WHAT;
use super::tables::HAZARDS;
use crate::error::{Error, Result};
use crate::kernels::deltas::Ticks;
use crate::wire::{Reader, put_varint};

/// Levels, a quarter of an octave apart: at level 54 a step moves a word by one unit in the last place on average.
pub(super) const LEVELS: usize = 168;

/// Most classes: exponents of 8 bits.
pub(super) const CLASSES: usize = 256;

/// Levels of a class: that of its chance of a change, and that of its magnitudes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Levels {
    pub(super) hazard: u8,
    pub(super) magnitude: u8,
}

/// How a block tells its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Model {
    /// By the size of the step, in quarters of an octave: the level that class 0 would have. Each class has a level of
    /// 4 less. Class 0, zeros and subnormal numbers, has a level of its own.
    Step { size: u16, zero: u8 },
    /// By the levels of consecutive classes, from `first` on; other classes have level 0.
    Sent { first: u8, levels: Vec<Levels> },
}

/// The largest size of a step: the lowest level of class 255 is above the highest.
pub(super) const MAX_SIZE: u16 = (4 * CLASSES + LEVELS) as u16;

/// Model of a block, ready for use.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    /// By class: how far a word that does not change moves the clock.
    pub(super) ticks: Ticks,
    /// By class: the level of magnitudes.
    pub(super) magnitudes: [u8; CLASSES],
}

/// How far a word at a level moves the clock.
pub(super) fn ticks(level: u8) -> u16 {
    HAZARDS[usize::from(level).min(HAZARDS.len() - 1)]
}

/// The level of a class of normal numbers, for a step of that size.
pub(super) fn level(size: u16, class: usize) -> u8 {
    (i32::from(size) - 4 * class as i32).clamp(0, LEVELS as i32 - 1) as u8
}

impl Model {
    /// The levels of a class.
    pub(super) fn levels(&self, class: usize) -> Levels {
        let both = |level| Levels { hazard: level, magnitude: level };
        match self {
            Self::Step { zero, .. } if class == 0 => both(*zero),
            Self::Step { size, .. } => both(level(*size, class)),
            Self::Sent { first, levels } => {
                let place = class.checked_sub(usize::from(*first));
                place.and_then(|place| levels.get(place)).copied().unwrap_or_default()
            }
        }
    }

    pub(super) fn tables(&self) -> Tables {
        let levels: [Levels; CLASSES] = std::array::from_fn(|class| self.levels(class));
        Tables {
            ticks: Ticks::new(levels.map(|levels| ticks(levels.hazard))),
            magnitudes: levels.map(|levels| levels.magnitude),
        }
    }

    /// Appends what [`Model::read`] reads.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Step { size, zero } => {
                put_varint(out, (*size).into());
                out.push(*zero);
            }
            Self::Sent { first, levels } => {
                // There is a level, and there are at most 256.
                out.extend_from_slice(&[*first, (levels.len() - 1) as u8]);
                out.extend(levels.iter().flat_map(|levels| [levels.hazard, levels.magnitude]));
            }
        }
    }

    /// Reads a model; `sent` tells which form it has.
    pub(super) fn read(reader: &mut Reader<'_>, form: Form, sent: bool) -> Result<Self> {
        let level = |level: u8| {
            let known = usize::from(level) < LEVELS;
            let error = || Error::malformed(WHAT, 0, format!("level {level}; there are {LEVELS}"));
            known.then_some(level).ok_or_else(error)
        };
        if !sent {
            let size = reader.varint()?;
            if size > MAX_SIZE.into() || form.classes() == 1 {
                return Err(Error::malformed(WHAT, 0, "a step that no block of this type has"));
            }
            return Ok(Self::Step { size: size as u16, zero: level(reader.u8()?)? });
        }
        let [first, last] = reader.array::<2>()?;
        let count = usize::from(last) + 1;
        if usize::from(first) + count > form.classes() {
            return Err(Error::malformed(WHAT, 0, "more classes than words have"));
        }
        let mut levels = Vec::with_capacity(count);
        for _ in 0..count {
            let [hazard, magnitude] = reader.array::<2>()?;
            levels.push(Levels { hazard: level(hazard)?, magnitude: level(magnitude)? });
        }
        Ok(Self::Sent { first, levels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Dtype;

    #[test]
    fn models_are_read_back() {
        let levels = vec![Levels { hazard: 3, magnitude: 167 }, Levels { hazard: 0, magnitude: 9 }];
        for (model, sent) in [
            (Model::Step { size: 500, zero: 7 }, false),
            (Model::Sent { first: 254, levels: levels.clone() }, true),
        ] {
            let mut bytes = Vec::new();
            model.write(&mut bytes);
            let form = Form::of(Dtype::Bf16);
            assert_eq!(
                Model::read(&mut Reader::new(WHAT, &bytes), form, sent).as_ref(),
                Ok(&model)
            );
            for cut in 0..bytes.len() {
                assert!(Model::read(&mut Reader::new(WHAT, &bytes[..cut]), form, sent).is_err());
            }
            let integers = Form::of(Dtype::I8);
            assert!(Model::read(&mut Reader::new(WHAT, &bytes), integers, sent).is_err());
        }
        for (bytes, sent) in
            [(&[0u8, 168][..], false), (&[255, 15, 0], false), (&[0, 0, 0, 168], true)]
        {
            let form = Form::of(Dtype::Bf16);
            assert!(Model::read(&mut Reader::new(WHAT, bytes), form, sent).is_err());
        }
    }

    /// Where steps are short, a word changes as often as a step is long.
    #[test]
    fn hazards_follow_from_the_size_of_a_step() {
        for level in 0..46 {
            let chance = ((f64::from(level) - 54.0) / 4.0).exp2();
            let hazard = -(1.0 - chance).log2() * 8192.0;
            let difference = f64::from(ticks(level)) - hazard;
            assert!(difference.abs() < 1.0, "{level}");
            let unchanged = (-f64::from(ticks(level)) / 8192.0).exp2();
            let cost = -(1.0 - unchanged).log2() * 8192.0;
            assert!(
                (f64::from(super::super::tables::COSTS[usize::from(level)]) - cost).abs() < 1.0
            );
        }
    }

    #[test]
    fn a_step_moves_small_numbers_more_often() {
        let model = Model::Step { size: 54 + 4 * 120, zero: 20 };
        assert_eq!(model.levels(120), Levels { hazard: 54, magnitude: 54 });
        assert_eq!(model.levels(121).hazard, 50);
        assert_eq!((model.levels(0).hazard, model.levels(1).hazard), (20, 167));
        assert_eq!(model.levels(255).hazard, 0);
        assert!(model.tables().ticks.all.iter().all(|ticks| (1..=32767).contains(ticks)));
    }
}
