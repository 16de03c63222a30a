//! The timeline against what is known of its steps.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says that something does not hold")]

use huffwire::refresh::Limits;
use huffwire::{Dtype, SymbolRule};
use huffwire_analysis::{
    Analysis, Codebooks, Curve, Error, File, InMemory, Options, Timeline, analyze, bytes_to_read,
};
use huffwire_io::Workers;
use huffwire_testing::{Random, float};

/// Values around so many octaves, as weights have them.
fn weights(octave: f64, seed: u64) -> Vec<u8> {
    float::to_bf16_bytes(&Random::new(seed).tensor(60_000, octave, 0.5))
}

/// Values of six exponents far from each other, as no built-in codebook expects them.
fn apart(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let elements = (0..60_000).map(|_| {
        let exponent = 100 + 5 * random.below(6) as u16;
        let rest = random.below(256) as u16;
        (rest >> 7 << 15 | exponent << 7 | rest & 0x7f).to_le_bytes()
    });
    elements.flatten().collect()
}

/// A step of two layers.
fn step<'a>((name, layers): &(&str, [&'a [u8]; 2])) -> File<'a> {
    let tensor = |number: usize| {
        let (name, bytes) = (format!("layers.{number}.up"), layers[number]);
        InMemory::new(&name, Dtype::Bf16, &[bytes.len() as u64 / 2], bytes)
    };
    File::in_memory(name, vec![tensor(0), tensor(1)])
}

/// Analyzes steps, of which the first ones are calibrated on.
fn analyzed(steps: &[(&str, [&[u8]; 2])], calibrate_on: usize, limits: Limits) -> Analysis {
    let mut files: Vec<File<'_>> = steps.iter().map(step).collect();
    let rest = files.split_off(calibrate_on);
    let options = Options { timeline: Some(limits), ..Options::default() };
    analyze(&rest, &files, &options, &Workers::new(2).unwrap(), &mut |_| Ok(())).unwrap()
}

fn limits() -> Limits {
    Limits { every: 40, interval: 1 << 10, samples: 16, ..Limits::default() }
}

fn curve(timeline: &Timeline, codebooks: Codebooks) -> &Curve {
    timeline.total.curves.iter().find(|curve| curve.codebooks == codebooks).unwrap()
}

fn regrets(timeline: &Timeline, codebooks: Codebooks) -> Vec<f64> {
    curve(timeline, codebooks).regret_percent.iter().map(|regret| regret.unwrap()).collect()
}

#[test]
fn a_scale_that_drifts_costs_uncentred_codebooks_alone() {
    let (a, b, c) = (weights(-6.0, 1), weights(-6.0, 2), weights(-3.0, 3));
    let (d, e, f) = (weights(-3.0, 4), weights(2.0, 5), weights(2.0, 6));
    let steps = [("step-0", [&a[..], &b]), ("step-100", [&c, &d]), ("step-300", [&e, &f])];
    let analysis = analyzed(&steps, 0, limits());
    let timeline = analysis.timeline.unwrap();
    assert_eq!(timeline.calibrated_at, Some(0));
    let since: Vec<_> = timeline.steps.iter().map(|step| step.since).collect();
    assert_eq!(since, [Some(0), Some(100), Some(300)]);
    assert_eq!(regrets(&timeline, Codebooks::Calibrated)[0], 0.0);
    for codebooks in [Codebooks::Calibrated, Codebooks::Several, Codebooks::BuiltIn] {
        let worst = regrets(&timeline, codebooks).into_iter().fold(0.0, f64::max);
        assert!(worst < 1.0, "{codebooks:?} {worst}");
    }
    let uncentred = regrets(&timeline, Codebooks::Uncentred);
    assert!(uncentred[0] < 1.0 && uncentred[1] > 30.0 && uncentred[2] > 30.0, "{uncentred:?}");
    // Nothing drifts that a policy could mend.
    let refreshed = timeline.refresh.courses.iter().flat_map(|course| &course.judgements);
    assert!(refreshed.clone().count() >= 2 && refreshed.clone().all(|found| !found.refreshed));
    // The same value for a kind, which is the only one, as for all tensors.
    assert_eq!(timeline.kinds.len(), 1);
    let kind = &timeline.kinds[0].course.curves[Codebooks::Uncentred as usize];
    assert_eq!(kind.regret_percent, curve(&timeline, Codebooks::Uncentred).regret_percent);
}

#[test]
fn the_policy_replaces_codebooks_that_tensors_have_left() {
    let (a, b) = (weights(-6.0, 1), weights(-6.0, 2));
    let (c, d, e, f) = (apart(3), apart(4), apart(5), apart(6));
    let steps = [("w-10", [&a[..], &b]), ("w-200", [&c, &d]), ("w-400", [&e, &f])];
    let timeline = analyzed(&steps, 0, limits()).timeline.unwrap();
    let old = regrets(&timeline, Codebooks::Calibrated);
    assert!(old[1] > 50.0 && old[2] > 50.0, "{old:?}");
    assert!(regrets(&timeline, Codebooks::BuiltIn)[2] > 20.0);
    for (course, codebooks) in timeline
        .refresh
        .courses
        .iter()
        .zip([Codebooks::SampledRefreshed, Codebooks::BuiltInRefreshed])
    {
        let refreshed: Vec<_> = course.judgements.iter().filter(|found| found.refreshed).collect();
        assert!(!refreshed.is_empty(), "{:?}", course.judgements);
        for found in refreshed {
            assert!((200..400).contains(&found.step), "{found:?}");
            assert!(found.saved_bytes.unwrap() > found.shipping_bytes.unwrap() as f64);
        }
        let regret = regrets(&timeline, codebooks);
        assert!(regret[1] > 20.0 && regret[2] < 5.0, "{codebooks:?} {regret:?}");
    }
    // Samples tell when all is well, and when it is not.
    let estimates: Vec<f64> =
        timeline.steps.iter().map(|step| step.estimated_regret_percent.unwrap()).collect();
    assert!(estimates[0].abs() < 2.0 && estimates[2] > 5.0, "{estimates:?}");
}

#[test]
fn calibration_files_may_be_of_a_later_step() {
    let (a, b) = (weights(-6.0, 1), weights(-6.0, 2));
    let layers = [&a[..], &b];
    let steps = [("step-200", layers), ("step-100", layers), ("step-300", layers)];
    let timeline = analyzed(&steps, 1, limits()).timeline.unwrap();
    assert_eq!(timeline.calibrated_at, Some(200));
    let since: Vec<_> = timeline.steps.iter().map(|step| step.since).collect();
    assert_eq!(since, [Some(-100), Some(100)]);
    assert!(regrets(&timeline, Codebooks::Calibrated).iter().all(|regret| *regret == 0.0));
}

#[test]
fn names_without_numbers_are_steps_in_their_order() {
    let (a, b) = (weights(-6.0, 1), weights(-6.0, 2));
    let layers = [&a[..], &b];
    let analysis = analyzed(&[("x", layers), ("y", layers)], 0, limits());
    let steps: Vec<u64> = analysis.timeline.unwrap().steps.iter().map(|step| step.step).collect();
    assert_eq!(steps, [0, 1]);
    assert!(analysis.notes.iter().any(|note| note.contains("order of the files")));
    let tensor = || vec![InMemory::new("x", Dtype::Bf16, &[30_000], &a)];
    let options = Options { timeline: Some(limits()), ..Options::default() };
    let one = [File::in_memory("step-1", tensor())];
    let error = analyze(&one, &[], &options, &Workers::caller(), &mut |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("several steps"), "{error}");
    // Whoever is told of progress can stop the analysis.
    let error =
        analyze(&one, &[], &options, &Workers::caller(), &mut |_| Err(Error::Stopped)).unwrap_err();
    assert!(matches!(error, Error::Stopped));
}

#[test]
fn steps_may_be_as_far_apart_as_numbers_can() {
    let values = weights(-6.0, 1);
    for bytes in [&values[..2], &values] {
        let step = |name: &str, bytes| {
            let shape = [u64::try_from(<[u8]>::len(bytes)).unwrap() / 2];
            File::in_memory(name, vec![InMemory::new("x", Dtype::Bf16, &shape, bytes)])
        };
        // Nothing is sent from step 1 on, and one tensor for all steps between the others.
        let files =
            [step("step-1", &[]), step("step-2", bytes), step("step-18446744073709551615", bytes)];
        let options = Options { timeline: Some(Limits::default()), ..Options::default() };
        let analysis = analyze(&files, &[], &options, &Workers::caller(), &mut |_| Ok(())).unwrap();
        let timeline = analysis.timeline.unwrap();
        let steps: Vec<_> = timeline.steps.iter().map(|step| (step.step, step.since)).collect();
        assert_eq!(steps, [(1, Some(0)), (2, Some(1)), (u64::MAX, None)]);
        let judged = timeline.refresh.courses.iter().map(|course| course.judgements.len());
        assert!(judged.into_iter().all(|judged| (judged > 0) == (bytes.len() > 2)));
    }
}

#[test]
fn a_step_that_is_told_counts_before_that_of_the_name() {
    let values = weights(-6.0, 1);
    let layers = [&values[..]; 2];
    let files = [("step-9", layers), ("x", layers)].map(|each| step(&each));
    let [nine, x] = files;
    let calibrate_on = [step(&("step-7", layers)).at_step(3)];
    let files = [nine.at_step(5), x.at_step(4)];
    let options = Options { timeline: Some(limits()), ..Options::default() };
    let workers = Workers::caller();
    let analysis = analyze(&files, &calibrate_on, &options, &workers, &mut |_| Ok(())).unwrap();
    let timeline = analysis.timeline.unwrap();
    let steps: Vec<_> = timeline.steps.iter().map(|step| (step.step, step.files[0])).collect();
    assert_eq!((timeline.calibrated_at, steps), (Some(3), vec![(4, 1), (5, 0)]));
}

#[test]
fn notes_count_kinds_and_not_their_rows() {
    let values = weights(-6.0, 1);
    let layers = [&values[..]; 2];
    let files = [("step-1", layers), ("step-2", layers)].map(|each| step(&each));
    let other = vec![InMemory::new("other", Dtype::Bf16, &[30_000], &values[..60_000])];
    let calibrate_on = [File::in_memory("step-0", other)];
    let rules = vec![SymbolRule::Auto, SymbolRule::Bytes, SymbolRule::BytePlanes];
    let options = Options { rules, timeline: Some(limits()), ..Options::default() };
    let workers = Workers::caller();
    let analysis = analyze(&files, &calibrate_on, &options, &workers, &mut |_| Ok(())).unwrap();
    assert_eq!(analysis.kinds.len(), 3);
    let told: Vec<&String> =
        analysis.notes.iter().filter(|note| note.contains("calibrate on")).collect();
    assert!(
        told.len() == 2 && told.iter().all(|note| note.starts_with("1 kinds have")),
        "{told:?}"
    );
}

#[test]
fn a_timeline_can_be_stopped() {
    let values = weights(-6.0, 1);
    let layers = [&values[..]; 2];
    let files = [("step-1", layers), ("step-2", layers)].map(|each| step(&each));
    let options = Options { timeline: Some(limits()), ..Options::default() };
    let mut left = bytes_to_read(&files, &[], &options);
    // Everything is read before codebooks are followed.
    let mut stop = |bytes| {
        let is_read = left == 0;
        left -= bytes;
        if is_read { Err(Error::Stopped) } else { Ok(()) }
    };
    let error = analyze(&files, &[], &options, &Workers::caller(), &mut stop).unwrap_err();
    assert!(matches!(error, Error::Stopped));
}

#[test]
fn kinds_without_room_in_a_set_leave_the_rest_of_the_timeline() {
    // Eight planes of bytes for each of 26 kinds.
    let kinds: Vec<(String, Vec<u8>)> = (b'a'..=b'z')
        .map(|name| (char::from(name).to_string(), huffwire_testing::noise(8 * 300, name.into())))
        .collect();
    let file = |step: &str| {
        let tensors = kinds.iter();
        let tensors = tensors.map(|(name, bytes)| InMemory::new(name, Dtype::F64, &[300], bytes));
        File::in_memory(step, tensors.collect())
    };
    let files = [file("step-1"), file("step-2")];
    let rules = vec![SymbolRule::BytePlanes];
    let options = Options { rules, timeline: Some(Limits::default()), ..Options::default() };
    let analysis = analyze(&files, &[], &options, &Workers::caller(), &mut |_| Ok(())).unwrap();
    let timeline = analysis.timeline.unwrap();
    assert!(timeline.refresh.courses.is_empty());
    assert!(
        analysis.notes.iter().any(|note| note.contains("no codebooks")),
        "{:?}",
        analysis.notes
    );
    assert_eq!(regrets(&timeline, Codebooks::Calibrated), [0.0, 0.0]);
}
