//! Deltas: what changed since a base.

use crate::common::{Folder, bf16, npy, safetensors};

/// The same with the lowest bit of one word in 50 flipped.
fn step(bytes: &[u8], seed: usize) -> Vec<u8> {
    let words = bytes.as_chunks::<2>().0.iter().enumerate();
    words.flat_map(|(i, &[low, high])| [low ^ u8::from(i % 50 == seed), high]).collect()
}

/// Files `0.safetensors` to `3.safetensors`, and the deltas from one to the next.
fn folder() -> Folder {
    let folder = Folder::new();
    let mut w = bf16(60_000, 1);
    for number in 0..4 {
        let name = format!("{number}.safetensors");
        folder.write(&name, &safetensors(&[("w", "BF16", &[200, 300], &w)]));
        if number > 0 {
            let (base, out) = (format!("{}.safetensors", number - 1), format!("{number}.hw"));
            folder.ok(&["compress", &name, "--base", &base, "-o", &out, "-q"]);
        }
        w = step(&w, number + 3);
    }
    folder
}

#[test]
fn a_delta_is_made_told_of_checked_and_applied() {
    let folder = folder();
    assert!(folder.read("1.hw").len() < 3000, "{}", folder.read("1.hw").len());
    let again = folder.ok(&["compress", "1.safetensors", "--base", "0.safetensors", "-o", "x.hw"]);
    let text = String::from_utf8(again).unwrap();
    for mention in ["2.000 % of 60000 words change", " bits for each; ", " times smaller"] {
        assert!(text.contains(mention), "{mention}: {text}");
    }
    assert!(folder.read("x.hw") == folder.read("1.hw"));

    // No base is needed to look at it.
    let text = String::from_utf8(folder.ok(&["inspect", "1.hw"])).unwrap();
    for mention in ["1 tensor stored as what changed", "2.000 % changed", "bits each, sparse"] {
        assert!(text.contains(mention), "{mention}: {text}");
    }
    let report = folder.json(&["inspect", "1.hw", "--json"]);
    assert_eq!(report["delta"]["changed_words"], 1200);
    let item = &report["originals"][0]["items"][1];
    assert_eq!(
        (&item["kind"], &item["delta"]["blocks"][0]["blocks"]),
        (&"delta".into(), &1.into())
    );

    let text = String::from_utf8(folder.ok(&["verify", "1.hw"])).unwrap();
    assert!(text.contains("deltas: their blocks were read, and not decoded"), "{text}");
    assert!(text.contains("--base") && !text.contains("everything decodes"), "{text}");
    let text =
        String::from_utf8(folder.ok(&["verify", "1.hw", "--base", "0.safetensors"])).unwrap();
    assert!(text.contains("everything decodes, all checksums agree"), "{text}");

    folder.ok(&["decompress", "1.hw", "--base", "0.safetensors", "-o", "back"]);
    assert!(folder.read("back") == folder.read("1.safetensors"));
    let part =
        ["decompress", "1.hw", "--base", "0.safetensors", "--tensor", "w", "--range", "5..9"];
    let w = &folder.read("1.safetensors")[folder.read("1.safetensors").len() - 120_000..];
    assert_eq!(folder.ok(&part), w[10..18]);
    folder.ok(&["compress", "1.safetensors", "--base", "0.safetensors", "--rm"]);
    assert!(!folder.path("1.safetensors").exists());
    folder.ok(&["decompress", "1.safetensors.hw", "--base", "0.safetensors", "--rm"]);
    assert!(folder.read("back") == folder.read("1.safetensors"));
    assert!(!folder.path("1.safetensors.hw").exists());
}

/// Without its base a delta is lost, so `--rm` must not take it.
#[test]
fn a_base_is_never_removed() {
    let folder = folder();
    let chain = ["--base", "0.safetensors", "--base", "1.hw"];
    for (input, bases) in
        [("1.safetensors", &["--base", "1.safetensors"][..]), ("0.safetensors", &chain)]
    {
        let args = ["compress", input, "-o", "x.hw", "--rm"];
        folder.fails(&[&args[..], bases].concat(), &[input, "--rm would remove the base"]);
        assert!(folder.path(input).exists() && !folder.path("x.hw").exists());
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path("2.safetensors"), folder.path("link.safetensors"))
            .unwrap();
        let args =
            ["compress", "2.safetensors", "--base", "link.safetensors", "-o", "x.hw", "--rm"];
        folder.fails(&args, &["2.safetensors", "--rm would remove the base"]);
        assert!(folder.path("2.safetensors").exists());
    }
}

/// A damaged base is told of as such: the delta is all right.
#[test]
fn a_damaged_base_is_no_damage_of_the_delta() {
    let folder = folder();
    folder.ok(&["compress", "0.safetensors", "-o", "0.hw"]);
    let mut base = folder.read("0.hw");
    let middle = base.len() / 2;
    base[middle] ^= 1;
    folder.write("0.hw", &base);
    for command in ["verify", "decompress"] {
        let args = [command, "1.hw", "--base", "0.hw"];
        folder.fails(&args, &["1.hw", "needs the base", "0.hw", "checksum"]);
    }
    let run = folder.run(&["verify", "1.hw", "--base", "0.hw"]);
    assert!(!run.stderr.contains("blocks are damaged"), "{}", run.stderr);
}

#[test]
fn chains_are_read_folded_and_reversed() {
    let folder = folder();
    let chain = ["--base", "0.safetensors", "--base", "1.hw", "--base", "2.hw"];
    folder.ok(&[&["decompress", "3.hw", "-o", "back"][..], &chain].concat());
    assert!(folder.read("back") == folder.read("3.safetensors"));
    folder.ok(&[&["verify", "3.hw"][..], &chain].concat());

    let fold = ["fold", "0.safetensors", "1.hw", "2.hw", "3.hw", "-o", "folded.hw"];
    let text = String::from_utf8(folder.ok(&fold)).unwrap();
    assert!(text.contains("6.000 % of 60000 words change"), "{text}");
    folder.ok(&["compress", "3.safetensors", "--base", "0.safetensors", "-o", "direct.hw"]);
    assert!(folder.read("folded.hw") == folder.read("direct.hw"));

    folder.ok(&["reverse", "0.safetensors", "1.hw", "2.hw", "3.hw", "-o", "back.hw", "-q"]);
    folder.ok(&["decompress", "back.hw", "--base", "3.safetensors", "-o", "back", "--force"]);
    assert!(folder.read("back") == folder.read("0.safetensors"));

    // A delta can be made of the end of a chain, and of a .hw file.
    let new = ["compress", "3.safetensors", "-o", "of-chain.hw"];
    folder.ok(&[&new[..], &chain].concat());
    assert!(folder.read("of-chain.hw") == folder.read("3.hw"));
    folder.ok(&["compress", "2.safetensors"]);
    let of_hw = ["compress", "3.safetensors", "-o", "of-hw.hw", "--base", "2.safetensors.hw"];
    folder.ok(&of_hw);
    assert!(folder.read("of-hw.hw") == folder.read("3.hw"));
}

#[test]
fn the_longest_chain_is_read_and_no_longer_one_is_written() {
    let folder = Folder::new();
    let mut w = bf16(100, 1);
    let mut chain = Vec::new();
    let input = "new.safetensors";
    for number in 0..=32 {
        folder.write(input, &safetensors(&[("w", "BF16", &[100], &w)]));
        let out = format!("{number:02}.hw");
        let bases: Vec<&str> = chain.iter().flat_map(|base: &String| ["--base", base]).collect();
        folder.ok(&[&["compress", input, "-qo", &out], &bases[..]].concat());
        if number == 32 {
            folder.ok(&[&["decompress", &out, "-qo", "back"], &bases[..]].concat());
            assert!(folder.read("back") == folder.read(input));
        }
        chain.push(out);
        w[number] ^= 1;
    }
    let bases: Vec<&str> = chain.iter().flat_map(|base| ["--base", base]).collect();
    let why = ["33.hw", "a chain of more than 32 deltas", "fold some of them into one"];
    for more in [&[][..], &["--dry-run"]] {
        folder.fails(&[&["compress", input, "-o", "33.hw"], &bases[..], more].concat(), &why);
    }
    // The way back needs only what the chain restores, and a folded chain is shorter.
    let chain: Vec<&str> = chain.iter().map(String::as_str).collect();
    folder.ok(&[&["reverse", "-qo", "back.hw"], &chain[..]].concat());
    folder.ok(&["decompress", "back.hw", "--base", input, "-qo", "first"]);
    folder.ok(&["decompress", "00.hw", "-qo", "0"]);
    assert!(folder.read("first") == folder.read("0"));
    folder.ok(&[&["fold", "-qo", "folded.hw"], &chain[..]].concat());
    let two = ["--base", "00.hw", "--base", "folded.hw"];
    folder.ok(&[&["compress", input, "-qo", "33.hw"], &two[..]].concat());
}

#[test]
fn whatever_is_wrong_with_a_base_is_told_and_nothing_is_written() {
    let folder = folder();
    let two = [("v", "BF16", &[1][..], &[0; 2][..]), ("u", "BF16", &[1], &[0; 2])];
    folder.write("other.safetensors", &safetensors(&two));
    let w = bf16(60_000, 1);
    folder.write("f16.safetensors", &safetensors(&[("w", "F16", &[200, 300], &w)]));
    let decompress = ["decompress", "2.hw", "-o", "out"];
    for (rest, mentions) in [
        (&[][..], &["2.hw", "\"w\"", "--base OLD"][..]),
        (&["--base", "0.safetensors"], &["2.hw", "0.safetensors", "\"w\": block 0", "hash"]),
        (&["--base", "2.safetensors"], &["applied already"]),
        (
            &["--base", "other.safetensors"],
            &["2.hw", "other.safetensors", "no tensor of that name"],
        ),
        (&["--base", "f16.safetensors"], &["type f16", "type bf16"]),
        (&["--base", "absent.safetensors"], &["absent.safetensors"]),
        (&["--base", "1.hw"], &["1.hw", "--base OLD"]),
        (&["--base", "0.safetensors", "--base", "3.hw"], &["2.hw", "does not follow 3.hw"]),
        (
            &["--base", "0.safetensors", "--base", "1.safetensors"],
            &["1.safetensors", "is no .hw file"],
        ),
        (&["--base", "-"], &["-: ", "must be files"]),
    ] {
        folder.fails(&[&decompress[..], rest].concat(), mentions);
    }
    for (args, mentions) in [
        (&["verify", "2.hw", "--base", "0.safetensors"][..], &["0.safetensors", "hash"][..]),
        (&["fold", "0.safetensors", "1.hw", "3.hw", "-o", "x.hw"], &["3.hw", "1.hw", "missing"]),
        (&["fold", "0.safetensors", "2.hw", "-o", "x.hw"], &["2.hw", "0.safetensors", "hash"]),
        (&["fold", "0.safetensors", "1.hw", "1.hw", "-o", "x.hw"], &["1.hw", "missing"]),
        (&["reverse", "0.safetensors", "2.hw", "-o", "x.hw"], &["2.hw", "0.safetensors"]),
        (&["analyze", "1.hw"], &["1.hw", "--base OLD"]),
        (
            &["compress", "1.safetensors", "2.safetensors", "--base", "0.safetensors"],
            &["one input"],
        ),
        // Nothing that is read is replaced, under whatever name.
        (
            &["compress", "1.safetensors", "--base", "0.safetensors", "-fo", "0.safetensors"],
            &["same file"],
        ),
        (
            &["decompress", "1.hw", "--base", "0.safetensors", "-fo", "0.safetensors"],
            &["same file"],
        ),
        (&["fold", "0.safetensors", "1.hw", "-fo", "1.hw"], &["same file"]),
        (&["fold", "0.safetensors", "1.hw", "2.hw", "-fo", "0.safetensors"], &["same file"]),
        (
            &["decompress", "1.hw", "--base", "0.safetensors", "-o", "no-folder/x"],
            &["does not exist"],
        ),
        (&["decompress", "1.hw", "--base", "0.safetensors", "-o", "1.safetensors"], &["--force"]),
    ] {
        folder.fails(args, mentions);
    }
    let run = folder.run(&["diff", "1.hw", "0.safetensors"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("--base OLD"), "{}", run.stderr);
    let base = ["--base", "0.safetensors", "--base", "1.hw"];
    for delta in [["diff", "2.hw", "2.safetensors"], ["diff", "2.safetensors", "2.hw"]] {
        assert_eq!(folder.run(&[&delta[..], &base].concat()).code, Some(0), "{delta:?}");
    }
    // Nothing of a file of the first base is missing in the chain.
    let analyses = [&["analyze", "2.hw", "--json"][..], &["analyze", "2.safetensors", "--json"]];
    let [delta, plain] = analyses.map(|args| folder.json(&[args, &base].concat()));
    assert_eq!(delta["kinds"], plain["kinds"]);

    let mut damaged = folder.read("1.hw");
    let at = damaged.len() / 3;
    damaged[at] ^= 4;
    folder.write("damaged.hw", &damaged);
    for rest in [&[][..], &["--base", "0.safetensors"]] {
        folder.fails(&[&["verify", "damaged.hw"][..], rest].concat(), &["damaged.hw", "checksum"]);
    }
    let base = ["--base", "0.safetensors", "-o", "out"];
    folder.fails(&[&["decompress", "damaged.hw"][..], &base].concat(), &["damaged.hw", "checksum"]);
    folder.write("cut.hw", &damaged[..1000]);
    folder.fails(&[&["decompress", "cut.hw"][..], &base].concat(), &["cut.hw"]);
}

#[cfg(unix)]
#[test]
fn links_and_read_only_folders() {
    use std::os::unix::fs::PermissionsExt;

    let folder = folder();
    // A base is read through a link, and is not replaced through it.
    std::os::unix::fs::symlink("0.safetensors", folder.path("link.safetensors")).unwrap();
    let decompress = ["decompress", "1.hw", "--base", "link.safetensors"];
    folder.ok(&[&decompress[..], &["-o", "out"]].concat());
    assert!(folder.read("out") == folder.read("1.safetensors"));
    folder.fails(&[&decompress[..], &["-fo", "0.safetensors"]].concat(), &["same file"]);
    folder.fails(&[&decompress[..], &["-fo", "link.safetensors"]].concat(), &["same file"]);
    // Whoever may write anywhere is not stopped by a mode.
    let read_only = folder.path("read-only");
    std::fs::create_dir(&read_only).unwrap();
    std::fs::set_permissions(&read_only, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(read_only.join("probe"), b"").is_err() {
        let to = ["-o", "read-only/x"];
        folder.fails(&[&decompress[..], &to].concat(), &["read-only"]);
        let compress = ["compress", "1.safetensors", "--base", "0.safetensors"];
        folder.fails(&[&compress[..], &to].concat(), &["read-only"]);
    }
    std::fs::set_permissions(&read_only, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn raw_files_and_dry_runs() {
    let folder = Folder::new();
    let w = bf16(60_000, 1);
    folder.write("old.bin", &w);
    folder.write("new.bin", &step(&w, 7));
    let compress = ["compress", "new.bin", "--base", "old.bin", "--dtype", "bf16"];
    let before = folder.snapshot();
    let dry = folder.json(&[&compress[..], &["--dry-run", "--json"]].concat());
    assert!(folder.snapshot() == before);
    assert_eq!(dry["dtypes"][0]["delta"], true);
    folder.ok(&[&compress[..], &["-o", "new.hw"]].concat());
    let size = folder.read("new.hw").len() as f64;
    let told = dry["file_bytes"].as_f64().unwrap();
    assert!((0.8..1.2).contains(&(told / size)), "{told} and {size}");
    // What is in the base, the delta tells.
    folder.ok(&["decompress", "new.hw", "--base", "old.bin", "-o", "back"]);
    assert!(folder.read("back") == folder.read("new.bin"));
    folder.ok(&["verify", "new.hw", "--base", "old.bin"]);
    let raw = ["--dtype", "bf16", "-o", "back.hw"];
    folder.ok(&[&["reverse", "old.bin", "new.hw"][..], &raw].concat());
    folder.ok(&["decompress", "back.hw", "--base", "new.bin", "-fo", "back"]);
    assert!(folder.read("back") == w);
}

#[test]
fn tensors_without_a_base_are_told() {
    let folder = Folder::new();
    let w = bf16(3000, 1);
    let (same, gone) =
        (("same", "BF16", &[3000][..], &w[..]), ("gone", "BF16", &[3000][..], &w[..]));
    folder.write("old.safetensors", &safetensors(&[same, gone, ("x", "BF16", &[30, 100], &w)]));
    folder.write(
        "new.safetensors",
        &safetensors(&[("new", "BF16", &[3000], &w), ("x", "BF16", &[3000], &w), same]),
    );
    let args = ["compress", "new.safetensors", "--base", "old.safetensors"];
    let text = String::from_utf8(folder.ok(&args)).unwrap();
    for mention in [
        "1 tensor is not in the base, and is stored whole: new",
        "1 tensor has another type or shape in the base, and is stored whole: x",
        "1 tensor of the base is gone: gone",
        "0.000 % of 3000 words change; ",
    ] {
        assert!(text.contains(mention), "{mention}: {text}");
    }
    let base = ["--base", "old.safetensors", "-o", "back"];
    folder.ok(&[&["decompress", "new.safetensors.hw"][..], &base].concat());
    assert!(folder.read("back") == folder.read("new.safetensors"));
    // Arrays have the names of their files.
    folder.write("1.npy", &npy("<i2", "(3000,)", &w));
    folder.write("2.npy", &npy("<i2", "(3000,)", &step(&w, 2)));
    folder.ok(&["compress", "2.npy", "--base", "1.npy"]);
    folder.ok(&["decompress", "2.npy.hw", "--base", "1.npy", "-o", "back.npy"]);
    assert!(folder.read("back.npy") == folder.read("2.npy"));
}
