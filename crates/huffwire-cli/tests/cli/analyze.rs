//! `huffwire analyze`: its figures, its report, and inputs that are hard on it.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::common::{Folder, bf16, npy, safetensors};

/// A file with two layers of a kind, and a tensor of another.
fn model(seed: u64, octave: f64) -> Vec<u8> {
    use huffwire_testing::{Random, float};
    let tensor = |seed| float::to_bf16_bytes(&Random::new(seed).tensor(8192, octave, 0.5));
    let (first, second) = (tensor(seed), tensor(seed + 1));
    let norm = bf16(64, seed);
    safetensors(&[
        ("layers.0.up.weight", "BF16", &[64, 128], &first),
        ("layers.1.up.weight", "BF16", &[64, 128], &second),
        ("norm.weight", "BF16", &[64], &norm),
    ])
}

fn kind<'a>(report: &'a Value, name: &str, symbols: &str) -> &'a Value {
    let kinds = report["kinds"].as_array().unwrap();
    let is_it = |kind: &&Value| kind["name"] == name && kind["symbols"] == symbols;
    let found = kinds.iter().find(is_it);
    assert!(found.is_some(), "{name} {symbols}: {report:#}");
    found.unwrap()
}

fn number(value: &Value, field: &str) -> f64 {
    assert!(value[field].is_number(), "{field}: {value:#}");
    value[field].as_f64().unwrap()
}

const UP: &str = "layers.*.up.weight";

#[test]
fn savings_are_in_their_order_and_near_what_compress_saves() {
    let folder = Folder::new();
    folder.write("a.safetensors", &model(1, -6.0));
    let report =
        folder.json(&["analyze", "a.safetensors", "--symbols", "exponent,bytes", "--json"]);
    assert_eq!(report["schema_version"], 1);
    assert_eq!(report["kinds"].as_array().unwrap().len(), 4);
    for symbols in ["auto", "bytes"] {
        let up = kind(&report, UP, symbols);
        assert_eq!(
            (&up["shards"], &up["values"], &up["dtype"]),
            (&2.into(), &16384.into(), &"bf16".into())
        );
        let savings = ["shannon", "huffman", "fixed"]
            .map(|code| number(up, &format!("{code}_saving_percent")));
        assert!(savings[0] > savings[1] && savings[1] > savings[2] - 1e-9, "{savings:?}");
        assert!(savings[2] > savings[1] - 1.0, "{savings:?}");
        assert_eq!(up["fixed_from"], "other layers");
        let (mean, max) = (number(up, "mean_kl_bits"), number(up, "max_kl_bits"));
        assert!(0.0 < mean && mean <= max && max < 0.06, "{mean} {max}");
        let pmf = up["planes"][0]["pmf"].as_array().unwrap();
        let sum: f64 = pmf.iter().map(|p| p.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-3, "{sum}");
    }
    assert_eq!(kind(&report, "norm.weight", "auto")["fixed_from"], "itself");
    assert_eq!(kind(&report, UP, "bytes")["builtin_saving_percent"], Value::Null);
    // What compress says of the same tensor; the coder has headers, and blocks that choose a book each.
    let coded = folder.json(&["compress", "a.safetensors", "--json", "--stats"]);
    let tensors = coded["tensors"].as_array().unwrap();
    let tensor = tensors.iter().find(|tensor| tensor["name"] == "layers.0.up.weight").unwrap();
    let alone = &kind(&report, UP, "auto")["per_shard"][0];
    assert_eq!(alone["tensor"], tensor["name"]);
    for field in ["shannon_saving_percent", "huffman_saving_percent"] {
        assert!(
            (number(alone, field) - number(tensor, field)).abs() < 1e-5,
            "{alone:#} {tensor:#}"
        );
    }
    let real = 100.0 * (1.0 - number(tensor, "coded_bytes") / number(tensor, "raw_bytes"));
    let builtin = number(alone, "builtin_saving_percent");
    assert!((builtin - real).abs() < 1.0, "{builtin} {real}");
}

#[test]
fn shards_files_and_calibration_are_told_apart() {
    let folder = Folder::new();
    folder.write("a.safetensors", &model(1, -6.0));
    folder.write("b.safetensors", &model(7, -9.0));
    let both = ["analyze", "a.safetensors", "b.safetensors", "--json"];
    let report = folder.json(&both);
    assert_eq!(
        (&kind(&report, UP, "auto")["shards"], &kind(&report, UP, "auto")["fixed_from"]),
        (&4.into(), &"other files".into())
    );
    let report = folder
        .json(&[&both[..], &["--shards", "4", "--axis", "-1", "--leave-out", "shards"]].concat());
    let up = kind(&report, UP, "auto");
    assert_eq!((&up["shards"], &up["fixed_from"]), (&16.into(), &"other shards".into()));
    assert_eq!(up["per_shard"].as_array().unwrap().len(), 16);
    assert_eq!(up["per_shard"][5]["shard"], 1);
    let report =
        folder.json(&["analyze", "b.safetensors", "--calibrate-on", "a.safetensors", "--json"]);
    assert_eq!(kind(&report, UP, "auto")["fixed_from"], "calibration files");
    // The scale of exponents does not matter, that of bytes does.
    assert!(number(kind(&report, UP, "auto"), "over_huffman_percent") < 1.0);
    let bytes = [
        "analyze",
        "b.safetensors",
        "--calibrate-on",
        "a.safetensors",
        "--symbols",
        "bytes",
        "--json",
    ];
    assert!(number(kind(&folder.json(&bytes), UP, "bytes"), "over_huffman_percent") > 5.0);
    let named = folder.json(&["analyze", "a.safetensors", "--kind", "*.up.*=FFN1", "--json"]);
    assert_eq!(kind(&named, "FFN1", "auto")["shards"], 2);
}

#[test]
fn models_are_not_averaged_with_each_other() {
    let folder = Folder::new();
    folder.write("a.safetensors", &model(1, -6.0));
    folder.write("b.safetensors", &model(3, -6.0));
    let other = bf16(64 * 96, 9);
    folder.write(
        "other.safetensors",
        &safetensors(&[("layers.0.up.weight", "BF16", &[64, 96], &other)]),
    );
    let report =
        folder.json(&["analyze", "a.safetensors", "other.safetensors", "b.safetensors", "--json"]);
    let models: Vec<&Value> =
        report["files"].as_array().unwrap().iter().map(|file| &file["model"]).collect();
    assert_eq!(models, [0, 1, 0]);
    assert!(report["notes"][0].as_str().unwrap().contains("different models"), "{report:#}");
    let ups = report["kinds"].as_array().unwrap().iter().filter(|kind| kind["name"] == UP);
    assert_eq!(ups.map(|kind| kind["shards"].as_u64().unwrap()).collect::<Vec<_>>(), [4, 1]);
}

#[test]
fn smaller_types_are_derived() {
    let folder = Folder::new();
    folder.write("a.safetensors", &model(1, -6.0));
    for scale in ["tensor", "block"] {
        let report = folder.json(&[
            "analyze",
            "a.safetensors",
            "--as",
            "e4m3,e3m2,e2m3,e2m1",
            "--scale",
            scale,
            "--json",
        ]);
        let kinds = report["kinds"].as_array().unwrap();
        let saving = |dtype: &str| {
            let found =
                kinds.iter().find(|kind| kind["dtype"] == dtype && kind["name"] == UP).unwrap();
            assert_eq!(found["scaling"], scale, "{dtype}");
            assert_eq!(found["converted_from"], "bf16");
            number(found, "shannon_saving_percent")
        };
        for kind in kinds.iter().filter(|kind| !kind["quad_length_saving_percent"].is_null()) {
            let huffman = number(kind, "huffman_saving_percent");
            for family in ["quad", "dual"] {
                let saving = number(kind, &format!("{family}_length_saving_percent"));
                assert!((0.0..huffman + 1e-6).contains(&saving), "{family}: {kind:#}");
            }
        }
        for dtype in ["e4m3", "e3m2", "e2m3", "e2m1"] {
            assert!((0.0..40.0).contains(&saving(dtype)), "{dtype} {}", saving(dtype));
        }
        assert_eq!(kinds.iter().any(|kind| kind["dtype"] == "e8m0"), scale == "block");
    }
    folder.fails(&["analyze", "a.safetensors", "--as", "bf16"], &["bf16", "e4m3"]);
}

#[test]
fn a_hw_file_is_analyzed_as_its_original() {
    let folder = Folder::new();
    folder.write("a.safetensors", &model(1, -6.0));
    folder.ok(&["compress", "a.safetensors"]);
    for more in
        [&["--symbols", "auto,bytes", "--as", "e4m3"][..], &["--shards", "3", "--axis", "0"]]
    {
        let [mut original, mut coded] = ["a.safetensors", "a.safetensors.hw"]
            .map(|file| folder.json(&[&["analyze", file, "--json"][..], more].concat()));
        for report in [&mut original, &mut coded] {
            report.as_object_mut().unwrap().remove("seconds");
            report.as_object_mut().unwrap().remove("files");
        }
        assert_eq!(original, coded);
    }
    // Codebooks that the file only names.
    folder.ok(&["calibrate", "a.safetensors", "-o", "own.books"]);
    let own = ["--codebooks", "own.books"];
    let named = ["compress", "a.safetensors", "-o", "named.hw", "--reference-codebooks"];
    folder.ok(&[&named[..], &own].concat());
    folder.ok(&[&["analyze", "named.hw"][..], &own].concat());
    folder.fails(&["analyze", "named.hw"], &["named.hw", "codebook set"]);
    // Quantized values are restored.
    folder.ok(&["quantize", "a.safetensors", "-o", "quantized.hw", "-q"]);
    let report = folder.json(&["analyze", "quantized.hw", "--json"]);
    assert_eq!(report["kinds"].as_array().unwrap().len(), 2);
}

#[test]
fn damage_leaves_no_report_behind() {
    let folder = Folder::new();
    folder.write("a.safetensors", &model(1, -6.0));
    folder.ok(&["compress", "a.safetensors", "-o", "a.hw"]);
    let mut damaged = folder.read("a.hw");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    folder.write("a.hw", &damaged);
    let before = fs::read_dir(folder.path(".")).unwrap().count();
    folder.fails(
        &["analyze", "a.safetensors", "a.hw", "--report", "r.html", "--plots", "plots"],
        &["a.hw"],
    );
    assert_eq!(fs::read_dir(folder.path(".")).unwrap().count(), before);
}

/// Two steps with hard tensors, one of them with a name that is HTML.
fn steps(folder: &Folder) {
    for step in 1..=2u64 {
        let (up, noise) = (bf16(8192, step), huffwire_testing::noise(1000, step));
        let (ones, nans) = ([0x80, 0x3f].repeat(500), [0xc0, 0x7f].repeat(500));
        folder.write(
            &format!("step-{step}00.safetensors"),
            &safetensors(&[
                (HOSTILE, "BF16", &[64, 128], &up),
                ("ones", "BF16", &[500], &ones),
                ("nans", "BF16", &[500], &nans),
                ("empty", "F32", &[0], &[]),
                ("one", "F32", &[], &[0, 0, 0x80, 0x3f]),
                ("bytes", "U8", &[1000], &noise),
                ("small", "F8_E4M3", &[1000], &noise),
                (if step == 1 { "early" } else { "late" }, "I8", &[1000], &noise),
            ]),
        );
    }
}

#[test]
fn codebooks_are_followed_over_steps() {
    let folder = Folder::new();
    steps(&folder);
    let args = ["analyze", "step-200.safetensors", "step-100.safetensors", "--timeline"];
    let all = [&args[..], &["--symbols", "auto,bytes", "--as", "e4m3", "--json"]].concat();
    let report = folder.json(&all);
    let timeline = &report["timeline"];
    assert_eq!(
        (&timeline["steps"][0]["step"], &timeline["steps"][0]["files"]),
        (&100.into(), &serde_json::json!([1]))
    );
    for kind in timeline["kinds"].as_array().unwrap() {
        for curve in kind["curves"].as_array().unwrap() {
            assert_eq!(curve["regret_percent"].as_array().unwrap().len(), 2, "{kind:#}");
            let calibrated_there = curve["codebooks"] == "calibrated" && kind["name"] != "late";
            if calibrated_there {
                assert_eq!(curve["regret_percent"][0], 0.0, "{kind:#}");
            }
        }
    }
    assert!(report["notes"].to_string().contains("no tensors to calibrate on"), "{report:#}");
    let text = String::from_utf8(
        folder.ok(&[&args[..], &["--report", "r.html", "--plots", "p"]].concat()),
    );
    let text = text.unwrap();
    for part in
        ["calibrated at step 100", "sampled-refreshed", "the policy, beginning with built-in"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let page = String::from_utf8(folder.read("r.html")).unwrap();
    assert!(page.contains("Drift over steps") && !page.contains("<script>bad"));
    assert!(folder.read("p/drift-policy.svg").starts_with(b"<svg"));
    folder.fails(&["analyze", "step-100.safetensors", "--timeline"], &["several steps"]);
    let run = folder.run(&["analyze", "step-100.safetensors", "--refresh-every", "5"]);
    assert_eq!(run.code, Some(2));
}

#[test]
fn hard_inputs_are_analyzed() {
    let folder = Folder::new();
    let (ones, nans) = ([0x80, 0x3f].repeat(5000), [0xc0, 0x7f].repeat(5000));
    let (zeros, integers) = (vec![0; 10_000], huffwire_testing::noise(4096, 1));
    folder.write(
        "hard.safetensors",
        &safetensors(&[
            ("ones", "BF16", &[5000], &ones),
            ("nans", "BF16", &[50, 100], &nans),
            ("zeros", "BF16", &[5000], &zeros),
            ("empty", "BF16", &[0, 7], &[]),
            ("scalar", "F32", &[], &[0, 0, 0x80, 0x3f]),
            ("indices", "I64", &[512], &integers),
            ("flags", "BOOL", &[100], &[1; 100]),
            ("packed", "F6_E3M2", &[4000], &integers[..3000]),
        ]),
    );
    let all =
        ["--symbols", "auto,bytes,byte-planes", "--as", "e4m3,e2m1", "--shards", "3", "--json"];
    for more in [&["--report", "r.html", "--plots", "p"][..], &["--scale", "block"]] {
        let report = folder.json(&[&["analyze", "hard.safetensors"][..], &all, more].concat());
        for kind in report["kinds"].as_array().unwrap() {
            for code in ["shannon", "huffman", "fixed"] {
                let saving = number(kind, &format!("{code}_saving_percent"));
                assert!((-1e-6..=100.0).contains(&saving), "{code}: {kind:#}");
            }
        }
        assert!(report["notes"].to_string().contains("1 tensors without values"), "{report:#}");
    }
    folder.write("none.npy", &npy("<f4", "(0,)", &[]));
    folder.fails(&["analyze", "none.npy"], &["no tensor with values"]);
    folder.fails(&["analyze", "absent.safetensors", "--report", "absent.html"], &["absent"]);
}

#[test]
fn a_hundred_thousand_small_tensors_are_one_kind() {
    let folder = Folder::new();
    let (mut header, mut data) = ("{".to_owned(), Vec::new());
    for number in 0..100_000 {
        let (start, end) = (data.len(), data.len() + 8);
        let comma = if number == 0 { "" } else { "," };
        header += &format!(
            r#"{comma}"t.{number}":{{"dtype":"BF16","shape":[4],"data_offsets":[{start},{end}]}}"#
        );
        data.extend_from_slice(&huffwire_testing::noise(8, number));
    }
    header.push('}');
    folder.write("many.safetensors", &huffwire_testing::files::safetensors_of(&header, &data));
    let report = folder.json(&["analyze", "many.safetensors", "--report", "r.html", "--json"]);
    let kind = &report["kinds"][0];
    assert_eq!((&kind["shards"], &kind["per_shard"]), (&100_000.into(), &Value::Null));
    assert!(report["notes"].to_string().contains("too many"), "{report:#}");
    assert!(folder.read("r.html").len() < 5_000_000);
}

#[test]
fn what_is_in_the_way_stays() {
    let folder = Folder::new();
    folder.write("a.safetensors", &model(1, -6.0));
    folder.write("there.html", b"mine");
    fs::create_dir(folder.path("plots")).unwrap();
    folder.write("plots/savings.svg", b"mine");
    folder
        .fails(&["analyze", "a.safetensors", "--report", "there.html"], &["there.html", "--force"]);
    folder.fails(
        &["analyze", "a.safetensors", "--report", "new.html", "--plots", "plots"],
        &["savings.svg"],
    );
    folder.fails(
        &["analyze", "a.safetensors", "--report", "a.safetensors", "--force"],
        &["a.safetensors"],
    );
    folder.fails(&["analyze", "a.safetensors", "--plots", "there.html"], &["folder"]);
    folder.ok(&[
        "analyze",
        "a.safetensors",
        "--report",
        "there.html",
        "--plots",
        "plots",
        "--force",
    ]);
    assert!(folder.read("there.html").starts_with(b"<!DOCTYPE html>"));
    assert!(folder.read("plots/savings.svg").starts_with(b"<svg"));
}

/// Where a .hw file begins that is good up to its first block.
fn damaged(folder: &Folder) {
    folder.write("a.safetensors", &model(1, -6.0));
    folder.ok(&["compress", "a.safetensors", "-o", "damaged.hw"]);
    let mut bytes = folder.read("damaged.hw");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    folder.write("damaged.hw", &bytes);
}

#[test]
fn figures_that_cannot_be_written_are_known_before_the_tensors_are_read() {
    let folder = Folder::new();
    damaged(&folder);
    folder.fails(&["analyze", "damaged.hw"], &["damaged.hw"]);
    for figure in ["summary.svg", "savings.svg"] {
        fs::create_dir_all(folder.path("p")).unwrap();
        folder.write(&format!("p/{figure}"), b"mine");
        folder.fails(&["analyze", "damaged.hw", "--plots", "p"], &[figure, "--force"]);
        assert_eq!(fs::read_dir(folder.path("p")).unwrap().count(), 1);
        fs::remove_file(folder.path(&format!("p/{figure}"))).unwrap();
    }
    folder.write("file", b"mine");
    folder.fails(&["analyze", "damaged.hw", "--plots", "file"], &["file", "needs a folder"]);
    folder.fails(&["analyze", "damaged.hw", "--plots", "file/in"], &["file", "cannot be made"]);
    if cfg!(unix) {
        let plots = ["analyze", "damaged.hw", "--plots", "/dev/null"];
        folder.fails(&plots, &["/dev/null", "needs a folder"]);
    }
    // Folders that were made are taken away, those that were there stay.
    folder.fails(&["analyze", "damaged.hw", "--plots", "p/new/deep"], &["damaged.hw"]);
    assert_eq!(fs::read_dir(folder.path("p")).unwrap().count(), 0);
    folder.ok(&["analyze", "a.safetensors", "--plots", "p/new/deep"]);
    assert!(folder.read("p/new/deep/summary.svg").starts_with(b"<svg"));
}

#[cfg(unix)]
#[test]
fn figures_replace_links_and_do_not_follow_them() {
    let folder = Folder::new();
    folder.write("a.safetensors", &model(1, -6.0));
    folder.write("mine", b"mine");
    fs::create_dir(folder.path("p")).unwrap();
    let first_pmf = "p/pmf-0-0-layers-up-weight-bf16-exponent.svg";
    for figure in ["p/summary.svg", first_pmf] {
        std::os::unix::fs::symlink("../mine", folder.path(figure)).unwrap();
    }
    folder.ok(&["analyze", "a.safetensors", "--plots", "p", "--force"]);
    assert_eq!(folder.read("mine"), b"mine");
    for figure in ["p/summary.svg", first_pmf] {
        assert!(!folder.path(figure).is_symlink(), "{figure}");
        assert!(folder.read(figure).starts_with(b"<svg"), "{figure}");
    }
}

#[test]
fn a_report_to_standard_output_is_alone_there() {
    let folder = Folder::new();
    folder.write("a.safetensors", &model(1, -6.0));
    let run = folder.run(&["analyze", "a.safetensors", "--report", "-", "--json"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let page = String::from_utf8(run.stdout).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{page}");
    let report: Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(report["schema_version"], 1);
    assert!(!folder.path("-").exists());
}

#[test]
fn the_table_says_how_near_the_fixed_codebook_is() {
    let folder = Folder::new();
    folder.write("a.safetensors", &model(1, -6.0));
    let text = String::from_utf8(folder.ok(&["analyze", "a.safetensors"])).unwrap();
    for part in ["Shannon", "built-in", "of per-shard Huffman", "all tensors, 32.9 kB", "note: "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for args in
        [&["--shards", "0"][..], &["--shards", "1025"], &["--kind", "x"], &["--symbols", "words"]]
    {
        let run = folder.run(&[&["analyze", "a.safetensors"][..], args].concat());
        assert_eq!(run.code, Some(2), "{args:?}: {}", run.stderr);
    }
}

const HOSTILE: &str = "layers.0.</script><script>bad()</script><img src=x onerror=bad()>'\\\"&amp;";

/// A report of many tensors, one of them with a name that is HTML.
fn large_report(folder: &Folder) {
    let values = bf16(2048, 3);
    let names: Vec<String> = (0..999)
        .map(|number| format!("model.layers.{}.block{}.weight", number / 30, number % 30))
        .collect();
    let mut tensors: Vec<huffwire_testing::files::Tensor<'_>> =
        names.iter().map(|name| (name.as_str(), "BF16", &[32, 64][..], &values[..])).collect();
    tensors.push((HOSTILE, "BF16", &[32, 64], &values));
    folder.write("large.safetensors", &safetensors(&tensors));
    let args =
        ["analyze", "large.safetensors", "--symbols", "auto,bytes,byte-planes", "--shards", "2"];
    folder.ok(&[&args[..], &["--report", "r.html", "--plots", "plots", "--quiet"]].concat());
}

#[test]
fn names_in_a_report_are_text() {
    let folder = Folder::new();
    large_report(&folder);
    let report = String::from_utf8(folder.read("r.html")).unwrap();
    assert!(report.len() < 5_000_000, "{}", report.len());
    assert!(
        report.contains("&lt;script&gt;bad()")
            && !report.contains("<script>bad")
            && !report.contains("<img")
    );
    assert!(!report.contains("http://") && !report.contains("https://"));
    for entry in fs::read_dir(folder.path("plots")).unwrap() {
        let svg = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!svg.contains("<script>") && !svg.contains("<img"));
    }
}

/// A page that shows the report at a width, presses all that can be pressed, and says in its own text what went wrong.
fn probe(report: &str, width: u32) -> String {
    let catch = "<script>window.failures=[];\
                 addEventListener('error',e=>failures.push(e.message));\
                 addEventListener('securitypolicyviolation',e=>failures.push(e.blockedURI));</script>";
    let report = report.replacen("<head>", &format!("<head>{catch}"), 1);
    let quoted = report.replace('&', "&amp;").replace('"', "&quot;");
    format!(
        "<!DOCTYPE html><title>probe</title><iframe id=f width={width} height=800 style=\"border:0\" \
         srcdoc=\"{quoted}\"></iframe><script>\n\
         document.getElementById('f').onload = (event) => {{\n\
           const inside = event.target.contentWindow, page = inside.document;\n\
           page.querySelectorAll('details').forEach((d) => {{ d.open = true; }});\n\
           const buttons = page.querySelectorAll('th button');\n\
           const first = page.querySelector('th button');\n\
           first.click(); first.click();\n\
           [...buttons].slice(0, 40).forEach((b) => b.click());\n\
           const root = page.documentElement;\n\
           const said = 'buttons=' + buttons.length + ' sorted=' + page.querySelectorAll('[aria-sort]').length\n\
             + ' overflow=' + (root.scrollWidth - root.clientWidth) + ' width=' + root.clientWidth\n\
             + ' failures=' + JSON.stringify(inside.failures);\n\
           document.title = said; document.body.replaceChildren('SAID ' + said);\n\
         }};</script>"
    )
}

#[test]
fn a_browser_shows_the_report_without_errors_or_overflow() {
    let found = Command::new("chromium").arg("--version").output();
    if !found.is_ok_and(|run| run.status.success()) {
        eprintln!(
            "not checked: the report in a browser, since there is no `chromium` (apt-get install chromium)"
        );
        return;
    }
    let folder = Folder::new();
    large_report(&folder);
    show(&folder, "r.html");
    steps(&folder);
    let args = ["analyze", "step-100.safetensors", "step-200.safetensors", "--timeline"];
    folder.ok(&[&args[..], &["--report", "drift.html", "--quiet"]].concat());
    show(&folder, "drift.html");
}

/// Shows a report in a browser, and looks for errors and overflow.
fn show(folder: &Folder, report: &str) {
    let report = String::from_utf8(folder.read(report)).unwrap();
    for width in [360, 1280] {
        folder.write("probe.html", probe(&report, width).as_bytes());
        let run = Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--dump-dom",
            ])
            .arg("--virtual-time-budget=60000")
            .arg(format!("--user-data-dir={}", folder.path("profile").display()))
            .arg(format!("file://{}", folder.path("probe.html").display()))
            .output()
            .unwrap();
        let dom = String::from_utf8_lossy(&run.stdout);
        let said = dom.split("SAID ").nth(1).and_then(|said| said.split('<').next());
        assert!(said.is_some(), "no answer: {}", String::from_utf8_lossy(&run.stderr));
        let said = said.unwrap();
        assert!(said.contains("overflow=0 ") && said.contains("failures=[]"), "{width}: {said}");
        assert!(!said.contains("sorted=0 ") && !said.contains("buttons=0 "), "{width}: {said}");
    }
}

/// The commands of a document: lines of its blocks `sh`.
fn commands(document: &str) -> Vec<Vec<String>> {
    let blocks = document.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    let lines = blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("huffwire "));
    lines.map(|line| line.split_whitespace().map(|word| word.replace('\'', "")).collect()).collect()
}

#[test]
fn the_commands_of_the_document_run() {
    let folder = Folder::new();
    for (name, seed) in [("step-100.safetensors", 1), ("step-200.safetensors", 5)] {
        folder.write(name, &model(seed, -6.0));
    }
    let commands = commands(include_str!("../../../../docs/analysis.md"));
    assert!(commands.len() > 4, "{commands:?}");
    for command in commands {
        let args: Vec<&str> = command.iter().map(String::as_str).collect();
        folder.ok(&args);
    }
    assert!(folder.read("report.html").starts_with(b"<!DOCTYPE html>"));
}
