//! Analyses of more shards and kinds than are counted alone.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says that something does not hold")]

use huffwire::Dtype;
use huffwire_analysis::{Analysis, File, InMemory, LeaveOut, Options, analyze};
use huffwire_io::Workers;
use huffwire_testing::noise;

fn analyzed(files: &[File<'_>], options: &Options) -> Analysis {
    analyze(files, &[], options, &Workers::caller(), &mut |_| Ok(())).unwrap()
}

fn bytes<'a>(name: &str, values: &'a [u8]) -> InMemory<'a> {
    InMemory::new(name, Dtype::U8, &[values.len() as u64], values)
}

#[test]
fn too_many_shards_are_counted_in_groups_of_what_is_left_out_in_turn() {
    // 5120 shards, more than 4096.
    let skewed = |seed| -> Vec<u8> { noise(4096, seed).iter().map(|byte| byte & 15).collect() };
    let values = [1, 2, 3, 4, 5].map(skewed);
    let tensors = || (0..).zip(&values).map(|(at, values)| bytes(&format!("x.{at}"), values));
    let files = [File::in_memory("x", tensors().collect())];
    let whole = analyzed(&files, &Options::default());
    assert_eq!((whole.kinds[0].shards, whole.kinds[0].groups), (5, None));
    assert_eq!(whole.kinds[0].per_shard.as_ref().map(Vec::len), Some(5));

    let mut options = Options { shards: 1024.try_into().unwrap(), ..Options::default() };
    let cut = analyzed(&files, &options);
    let (cut_kind, whole_kind) = (&cut.kinds[0], &whole.kinds[0]);
    assert_eq!((cut_kind.shards, cut_kind.groups), (5120, Some(5)));
    assert_eq!((cut.total.shards, cut.total.bytes), (5120, 5 * 4096));
    assert!(cut_kind.per_shard.is_none());
    assert!(cut.notes.iter().any(|note| note.contains("groups")), "{:?}", cut.notes);
    // Every group is a layer, which is a tensor here: figures are those of whole tensors.
    assert_eq!(cut_kind.fixed_from, Some("other layers"));
    assert_eq!(cut_kind.fixed_saving_percent, whole_kind.fixed_saving_percent);
    assert_eq!(cut_kind.shannon_saving_percent, whole_kind.shannon_saving_percent);
    assert_eq!(cut_kind.max_kl_bits, whole_kind.max_kl_bits);

    options.leave_out = Some(LeaveOut::Shards);
    let by_shard = analyzed(&files, &options);
    let kind = &by_shard.kinds[0];
    assert_eq!((kind.shards, kind.groups, kind.values), (5120, Some(64), 5 * 4096));
    assert_eq!(kind.fixed_from, Some("other shards"));
    // The same bits on any number of threads.
    let on_threads =
        analyze(&files, &[], &options, &Workers::new(3).unwrap(), &mut |_| Ok(())).unwrap();
    assert_eq!(format!("{by_shard:?}"), format!("{on_threads:?}"));
}

#[test]
fn groups_weigh_as_much_as_their_shards() {
    // 3 layers of 1 shard each, and one of 1024: by one shard more than are counted alone.
    let flat = |layer: usize| vec![layer as u8; 2];
    let (few, many) = ([flat(1), flat(2), flat(3)], noise(2 * 1024, 7));
    let mut tensors: Vec<InMemory<'_>> = (0..)
        .zip(&few)
        .map(|(at, values)| InMemory::new(&format!("x.{at}"), Dtype::U8, &[2, 1], values))
        .collect();
    tensors.push(InMemory::new("x.3", Dtype::U8, &[2, 1024], &many));
    let files = [File::in_memory("x", tensors)];
    let shards = 1024.try_into().unwrap();
    let options = Options { shards, shards_alone: Some(1026), ..Options::default() };
    let analysis = analyzed(&files, &options);
    let kind = &analysis.kinds[0];
    assert_eq!((kind.shards, kind.groups), (1027, Some(4)));
    // Groups of equal values save everything, and noise almost nothing.
    assert!(kind.shannon_saving_percent < 5.0, "{}", kind.shannon_saving_percent);
    assert!(kind.mean_kl_bits < 0.1, "{}", kind.mean_kl_bits);
}

#[test]
fn an_option_says_how_many_shards_are_counted_alone() {
    // 5120 shards in two forms: more than are counted alone without the option.
    let values = [1, 2, 3, 4, 5].map(|seed| noise(4096, seed));
    let tensors = (0..).zip(&values).map(|(at, values)| {
        InMemory::new(&format!("x.{at}"), Dtype::Bf16, &[values.len() as u64 / 2], values)
    });
    let files = [File::in_memory("x", tensors.collect())];
    let rules = vec![huffwire::SymbolRule::Auto, huffwire::SymbolRule::Bytes];
    let shards = 1024.try_into().unwrap();
    for (most, groups) in [(2 * 5120, None), (2 * 5120 - 1, Some(5))] {
        let options = Options {
            shards,
            rules: rules.clone(),
            shards_alone: Some(most),
            ..Options::default()
        };
        let workers = Workers::caller();
        let analysis = analyze(&files, &files, &options, &workers, &mut |_| Ok(())).unwrap();
        assert_eq!(analysis.kinds.len(), 2);
        for kind in &analysis.kinds {
            assert_eq!((kind.shards, kind.groups), (5120, groups));
            assert_eq!(kind.per_shard.is_none(), groups.is_some());
        }
    }
}

#[test]
fn too_many_kinds_share_one_and_the_largest_have_planes() {
    let letters = |mut number: usize| -> String {
        let mut name = "k".to_owned();
        for _ in 0..4 {
            name.push(char::from(b'a' + (number % 26) as u8));
            number /= 26;
        }
        name
    };
    let values = noise(9100, 1);
    let tensors =
        (0..9000).map(|at| bytes(&letters(at), &values[at..][..if at < 4 { 64 } else { 8 }]));
    let analysis = analyzed(&[File::in_memory("x", tensors.collect())], &Options::default());
    assert_eq!(analysis.kinds.len(), 8193);
    assert_eq!(analysis.total.bytes, 9000 * 8 + 4 * 56);
    let others = analysis.kinds.iter().find(|kind| kind.name == "*").unwrap();
    assert_eq!((others.shards, others.values), (9000 - 8192, 8 * (9000 - 8192)));
    assert!(analysis.notes[0].contains("808 tensors"), "{:?}", analysis.notes);
    let described: Vec<u64> = analysis
        .kinds
        .iter()
        .filter(|kind| !kind.planes.is_empty())
        .map(|kind| kind.bytes)
        .collect();
    assert_eq!(described.len(), 256);
    assert_eq!(described.iter().filter(|bytes| **bytes == 64).count(), 4);
    assert!(!others.planes.is_empty());
}

#[test]
fn shards_of_a_tensor_in_many_forms_are_counted_in_groups() {
    let values = noise(4096, 1);
    let tensor = InMemory::new("x", Dtype::Bf16, &[2048], &values);
    let files = [File::in_memory("x", vec![tensor])];
    let mut options = Options { shards: 1024.try_into().unwrap(), ..Options::default() };
    let alone = &analyzed(&files, &options).kinds[0];
    assert_eq!((alone.shards, alone.groups), (1024, None));
    options.rules.push(huffwire::SymbolRule::Bytes);
    for kind in &analyzed(&files, &options).kinds {
        assert_eq!((kind.shards, kind.groups, kind.values), (1024, Some(64), 2048));
    }
}

#[test]
fn groups_of_a_timeline_are_of_one_step() {
    let (ones, noise) = (vec![1; 4096 * 4], noise(4096 * 4, 3));
    let step = |name: &str, values| File::in_memory(name, vec![bytes("x", values)]);
    let files = [
        step("step-1", &ones),
        step("step-2", &noise),
        step("step-3", &noise),
        step("step-4", &ones),
        step("step-5", &noise),
    ];
    let timeline = Some(huffwire::refresh::Limits::default());
    for leave_out in [None, Some(LeaveOut::Shards)] {
        let shards = 1024.try_into().unwrap();
        let options = Options { shards, timeline, leave_out, ..Options::default() };
        let analysis = analyzed(&files, &options);
        let groups = if leave_out.is_none() { 5 } else { 5 * 64 };
        assert_eq!((analysis.kinds[0].shards, analysis.kinds[0].groups), (5120, Some(groups)));
        let course = &analysis.timeline.as_ref().unwrap().kinds[0].course;
        let savings: Vec<f64> = course.fresh_saving_percent.iter().flatten().copied().collect();
        assert_eq!(savings.len(), 5);
        for (saving, is_constant) in savings.iter().zip([true, false, false, true, false]) {
            assert_eq!(*saving > 90.0, is_constant, "{savings:?}");
            assert_eq!(*saving < 10.0, !is_constant, "{savings:?}");
        }
    }
}
