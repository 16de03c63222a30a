//! Whether coding pays on a link.

use serde_json::Value;

use crate::common::Folder;

fn plan(args: &[&str]) -> Value {
    let all = [&["plan", "--json"][..], args].concat();
    serde_json::from_slice(&Folder::new().ok(&all)).unwrap()
}

#[test]
fn coding_pays_on_a_slow_link_and_not_on_a_fast_one() {
    let slow = plan(&["--link", "10mbit", "--size", "16MiB"]);
    assert_eq!((&slow["pays"], &slow["cores_to_pay"]), (&true.into(), &1.into()));
    assert_eq!((slow["size"].as_u64(), slow["link"].as_f64()), (Some(16 << 20), Some(1.25e6)));
    let left = slow["left"].as_f64().unwrap();
    assert!((0.6..0.75).contains(&left), "{left}");
    // The wire takes all of the time.
    let ratio = slow["coded_seconds"].as_f64().unwrap() / slow["plain_seconds"].as_f64().unwrap();
    assert!((ratio / left - 1.0).abs() < 0.1, "{ratio} {left}");
    assert!(slow["pays_from_size"].as_u64().unwrap() < 16 << 20);
    assert!(slow["pays_up_to_link"].as_f64().unwrap() > 1.25e6);

    let fast = plan(&["--link", "100tbit", "--size", "16MiB", "--overlap", "--cores", "2"]);
    assert_eq!((&fast["pays"], &fast["pays_from_size"]), (&false.into(), &Value::Null));
    assert_eq!((&fast["cores"], &fast["overlap"]), (&2.into(), &true.into()));
}

#[test]
fn collectives_and_transports_change_the_time() {
    let gather = |more: &[&str]| {
        let args = ["--link", "1gbit", "--size", "64MiB", "--collective", "all_gather"];
        plan(&[&args[..], more].concat())["plain_seconds"].as_f64().unwrap()
    };
    let (two, eight) = (gather(&["--ranks", "2"]), gather(&["--ranks", "8"]));
    assert!((eight / two / (7.0 / 4.0) - 1.0).abs() < 0.01, "{two} {eight}");
    assert!(gather(&["--transport", "gloo"]) > 1.2 * two);
    assert!(gather(&["--latency", "1s"]) > two + 0.9);
}

#[test]
fn the_report_for_people_says_what_the_other_one_says() {
    let text = Folder::new().ok(&["plan", "--link", "10mbit", "--size", "1MiB", "--dtype", "f32"]);
    let text = String::from_utf8(text).unwrap();
    for part in ["f32, one core", "10 Mbit/s", "coding pays", "from ", "cores "] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn speeds_of_the_codec_may_be_given() {
    let link = ["--link", "400gbit", "--size", "1GiB"];
    let slow = plan(&[&link[..], &["--encode", "1GB", "--decode", "2GB"]].concat());
    assert_eq!((slow["encode"].as_f64(), slow["decode"].as_f64()), (Some(1e9), Some(2e9)));
    assert_eq!((&slow["pays"], &slow["measured"]), (&false.into(), &false.into()));
    assert_eq!(slow["fixed"].as_f64(), Some(0.0));
    let fast = plan(&[&link[..], &["--encode", "1TB", "--decode", "2TB"]].concat());
    assert_eq!((&fast["pays"], &fast["cores_to_pay"]), (&true.into(), &1.into()));
    assert_eq!(plan(&link)["measured"], true);
    let text =
        Folder::new().ok(&[&["plan", "--encode", "1TB", "--decode", "2TB"], &link[..]].concat());
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("with the speeds that were given: encode 1000.0 GB/s"), "{text}");
    let run = Folder::new().run(&[&["plan", "--encode", "1TB"], &link[..]].concat());
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("--decode"), "{}", run.stderr);
}

#[test]
fn bad_arguments_are_refused_with_advice() {
    let folder = Folder::new();
    for (args, advice) in [
        (&["plan", "--link", "25", "--size", "1MiB"][..], "25gbit"),
        (&["plan", "--link", "1gbit", "--size", "0"], "above 0"),
        (&["plan", "--link", "1gbit", "--size", "1MiB", "--latency", "5"], "20us"),
        (&["plan", "--link", "1gbit", "--size", "1MiB", "--collective", "gather"], "all_gather"),
        (&["plan", "--link", "1gbit", "--size", "1MiB", "--ranks", "1"], "2..="),
        (&["plan", "--size", "1MiB"], "--link"),
    ] {
        let run = folder.run(args);
        assert_eq!(run.code, Some(2), "{args:?}");
        assert!(run.stderr.contains(advice), "{args:?}: {}", run.stderr);
    }
    let run = folder.run(&["plan", "--link", "1gbit", "--size", "1MiB", "--dtype", "i8"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("huffwire bench"), "{}", run.stderr);
}
