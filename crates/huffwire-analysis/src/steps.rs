//! Which step of a run each file is from.

use std::collections::BTreeMap;

/// Files in the order of their steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Steps {
    /// By step, in ascending order: its number, and the files that are from it.
    pub(crate) all: Vec<(u64, Vec<usize>)>,
    /// Whether the numbers are those of the files; else files are counted from 0.
    pub(crate) named: bool,
}

impl Steps {
    /// The steps of files with these numbers. Where one of them has no number, or all have the same one, each file is a
    /// step.
    pub(crate) fn of(numbers: impl Iterator<Item = Option<u64>> + Clone) -> Self {
        let mut by_number: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        let mut named = true;
        for (file, number) in numbers.clone().enumerate() {
            match number {
                Some(number) => by_number.entry(number).or_default().push(file),
                None => named = false,
            }
        }
        if named && by_number.len() > 1 {
            return Self { all: by_number.into_iter().collect(), named };
        }
        let all = numbers.enumerate().map(|(file, _)| (file as u64, vec![file])).collect();
        Self { all, named: false }
    }
}

/// The number of a step in a file's name: behind the word `step`, or else the last number in the name, or in the folder
/// that it is in, that is no part of a word such as `bf16`.
pub(crate) fn step_of(name: &str) -> Option<u64> {
    let last = |is_meant: fn(&str) -> bool| {
        let parts = name.rsplit(['/', '\\']);
        let last_of_part = |part: &str| {
            let meant = |(start, _): &(usize, u64)| is_meant(&part[..*start]);
            numbers(part).into_iter().rfind(meant)
        };
        parts.filter_map(last_of_part).map(|(_, number)| number).next()
    };
    let behind_step = |before: &str| {
        let before = before.trim_end_matches(['-', '_', '.', '=', ' ']).as_bytes();
        before.last_chunk::<4>().is_some_and(|word| word.eq_ignore_ascii_case(b"step"))
    };
    let alone = |before: &str| !before.ends_with(char::is_alphabetic);
    last(behind_step).or_else(|| last(alone)).or_else(|| last(|_| true))
}

/// Runs of digits: where they begin, and what they are. Those that no u64 holds are none.
fn numbers(text: &str) -> Vec<(usize, u64)> {
    let mut found: Vec<(usize, u64)> = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (c.is_ascii_digit(), start) {
            (true, None) => start = Some(at),
            (false, Some(first)) => {
                found.extend(text[first..at].parse().map(|number| (first, number)));
                start = None;
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_steps() {
        for (name, step) in [
            ("step-100.safetensors", Some(100)),
            ("run2/weights-100-bf16.safetensors", Some(100)),
            ("runs/Step_000500/gradients-2.safetensors", Some(500)),
            ("step.7-of-9.npy", Some(7)),
            ("checkpoint500.hw", Some(500)),
            ("500/model.safetensors.index.json", Some(500)),
            ("model-bf16.safetensors", Some(16)),
            ("model.safetensors", None),
            ("99999999999999999999999.npy", None),
            ("", None),
        ] {
            assert_eq!(step_of(name), step, "{name}");
        }
    }

    #[test]
    fn files_of_one_step_belong_together() {
        let steps = |names: &[&'static str]| Steps::of(names.iter().map(|name| step_of(name)));
        let found = steps(&["w-20.hw", "w-3.hw", "g-20.hw"]);
        assert_eq!(found, Steps { all: vec![(3, vec![1]), (20, vec![0, 2])], named: true });
        for names in [["a-1.hw", "b-1.hw"], ["a.hw", "a-1.hw"]] {
            let expected = Steps { all: vec![(0, vec![0]), (1, vec![1])], named: false };
            assert_eq!(steps(&names), expected);
        }
    }
}
