//! Input from a pipe: no copy of it is made where it says at its beginning how long it is.

use crate::common::{Folder, bf16, noise, npy, safetensors, safetensors_of};

/// No temporary file can be made.
const NOWHERE: (&str, &str) = ("TMPDIR", "/nowhere/at/all");

#[test]
fn nothing_is_set_aside() {
    let folder = Folder::new();
    let (a, b) = (bf16(700_000, 1), noise(4001, 2));
    let tensors =
        [("a", "BF16", &[700_000][..], &a[..]), ("e", "F32", &[0], &[]), ("b", "U8", &[4001], &b)];
    let file = safetensors(&tensors);
    let array = npy("<f2", "(350000, 2)", &a);
    for (ending, content) in
        [("safetensors", &file), ("npy", &array), ("safetensors", &safetensors(&[]))]
    {
        let name = format!("stdin.{ending}");
        folder.write(&name, content);
        folder.ok(&["compress", &name, "-o", "file.hw", "--force"]);
        for threads in ["1", "2"] {
            let args = ["compress", "-", "-o", "pipe.hw", "--force", "--threads", threads];
            let run = folder.run_in(&[NOWHERE], &args, content);
            assert_eq!(run.code, Some(0), "{}", run.stderr);
            assert!(folder.read("pipe.hw") == folder.read("file.hw"), "{name}");
            let run = folder.run_in(&[NOWHERE], &["compress", "-"], content);
            assert!(run.stdout == folder.read("file.hw"), "{}", run.stderr);
        }
    }
}

#[test]
fn a_pipe_that_ends_early_or_late_leaves_nothing() {
    let folder = Folder::new();
    let file = safetensors(&[("a", "BF16", &[700_000], &bf16(700_000, 1))]);
    let array = npy("<f2", "(2, 2)", &noise(8, 1));
    let longer = |content: &[u8]| [content, b"x"].concat();
    for (content, mention) in [
        (&file[..file.len() - 1], "it ended after"),
        (&file[..100_000], "announces"),
        (&file[..20], "header would have"),
        (&longer(&file)[..], "goes on after"),
        (&array[..array.len() - 1], "it ended after"),
        (&longer(&array)[..], "goes on after"),
        (&array[..20], "header"),
        (&longer(&safetensors(&[]))[..], "goes on after"),
    ] {
        let run = folder.run_with(&["compress", "-", "-o", "x.hw"], content);
        run.failed(&["compress", "-"], &["standard input", mention]);
        assert!(folder.snapshot().is_empty(), "{mention}");
    }
}

/// What does not tell its length is set aside, as everything is that is read in another order.
#[test]
fn other_input_is_set_aside() {
    let folder = Folder::new();
    let object = npy("|O", "(3,)", b"a pickle of unknown size");
    let coded = folder.run_with(&["compress", "-"], &object);
    assert!(folder.run_with(&["decompress", "-"], &coded.stdout).stdout == object);
    let run = folder.run_in(&[NOWHERE], &["compress", "-", "-o", "x.hw"], &object);
    run.failed(&["compress", "-"], &["TMPDIR"]);
    let file = safetensors(&[("a", "BF16", &[7000], &bf16(7000, 1))]);
    for args in [&["calibrate", "-", "-o", "b"][..], &["compress", "--dry-run", "-"]] {
        let run = folder.run_with(args, &file);
        assert_eq!(run.code, Some(0), "{args:?}: {}", run.stderr);
    }
}

/// Its tensors would end beyond what a number of bytes can tell.
#[test]
fn sizes_that_overflow_are_refused() {
    let folder = Folder::new();
    let most = u64::MAX / 8;
    let tensor = |number: u64| {
        let (start, end) = (number * most, (number + 1) * most);
        format!(r#""{number}":{{"dtype":"U8","shape":[{most}],"data_offsets":[{start},{end}]}}"#)
    };
    let header = format!("{{{}}}", (0..8).map(tensor).collect::<Vec<_>>().join(","));
    let run = folder.run_with(&["compress", "-", "-o", "x.hw"], &safetensors_of(&header, &[]));
    run.failed(&["compress", "-"], &["standard input", "no file can hold"]);
    assert!(folder.snapshot().is_empty());
}
