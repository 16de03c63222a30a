//! The demo, as a newcomer runs it.

#[test]
fn the_demo_tells_the_story() {
    let folder = crate::common::Folder::new();
    let report = folder.json(&["demo", "--json"]);
    assert_eq!(report["round_trip"], "identical");
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let saved = |kind: &str| row[format!("{kind}_saving_percent")].as_f64();
        let (shannon, huffman) = (saved("shannon").unwrap(), saved("huffman").unwrap());
        let fixed = saved("fixed").unwrap();
        assert!(shannon >= huffman && huffman >= fixed && fixed > 15.0, "{row}");
        if row["symbols"] == "auto" {
            assert!(huffman - fixed < 1.5 && huffman - saved("builtin").unwrap() < 1.5, "{row}");
        }
    }
    let mut documented = crate::json::Section::new("demo");
    documented.see(&report);
    documented.finish();
    assert!(folder.snapshot().is_empty(), "it leaves nothing behind");
}
