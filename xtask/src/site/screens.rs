//! Pages on a phone and on a desk: Chromium lays them out, and nothing may be wider than the screen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::shell::program;

/// A screen that somebody reads on.
struct Screen {
    name: &'static str,
    width: u32,
    height: u32,
}

const SCREENS: &[Screen] = &[
    Screen { name: "phone", width: 390, height: 844 },
    Screen { name: "desk", width: 1440, height: 900 },
];

/// Looks at all pages on all screens, and takes a picture of the first page on each, in `folder`.
pub(super) fn check(folder: &Path, pages: &[PathBuf]) -> Result<()> {
    let mut faults = Vec::new();
    for screen in SCREENS {
        let frames = folder.join(format!("{}.html", screen.name));
        let names: Vec<_> = pages.iter().filter_map(|page| page.file_name()?.to_str()).collect();
        fs::write(&frames, measuring(&names, screen))?;
        let mut measure = chromium(folder);
        // Scripts wait for all pages in turn; the time of the page stands still while a page is loaded.
        measure.args(["--virtual-time-budget=120000", "--dump-dom"]).arg(&frames);
        let dom = quietly(&mut measure)?;
        let report = dom.split("<pre id=\"report\">").nth(1);
        let report = report.and_then(|rest| rest.split("</pre>").next());
        let report = report.with_context(|| format!("Chromium said nothing of {}", screen.name))?;
        let (wide, seen) = read(report)?;
        ensure!(seen == names.len(), "Chromium saw {seen} of {} pages: {report}", names.len());
        faults.extend(
            wide.iter().map(|page| format!("{} ({} px): {page}", screen.name, screen.width)),
        );

        let pictured = folder.join(format!("{}-index.html", screen.name));
        fs::write(&pictured, framed("book/index.html", screen))?;
        let picture = folder.join(format!("{}.png", screen.name));
        let mut take = chromium(folder);
        take.arg(format!("--screenshot={}", picture.display()));
        take.arg(format!("--window-size={},{}", screen.width.max(500), screen.height));
        quietly(take.arg("--virtual-time-budget=10000").arg(&pictured))?;
        ensure!(fs::metadata(&picture)?.len() > 1000, "{} is empty", picture.display());
    }
    ensure!(faults.is_empty(), "wider than the screen:\n{}", faults.join("\n"));
    println!(
        "{} pages fit {} screens; pictures are in {}",
        pages.len(),
        SCREENS.len(),
        folder.display()
    );
    Ok(())
}

/// What Chromium writes on its standard output. It also complains at length of a desktop that is not there, which is
/// shown only when it fails.
fn quietly(chromium: &mut Command) -> Result<String> {
    let output = chromium.output().context("cannot start chromium")?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "chromium failed: {}\n{complaints}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Chromium without a window and with a profile of its own.
fn chromium(folder: &Path) -> Command {
    let mut chromium = program("chromium");
    chromium.args(["--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]);
    // It opens nothing but our own files, which its sandbox does not allow where root runs it or in a container.
    chromium.args(["--no-sandbox", "--disable-dev-shm-usage", "--allow-file-access-from-files"]);
    chromium.arg(format!("--user-data-dir={}", folder.join("profile").display()));
    chromium
}

/// A page that shows another as a screen shows it. (No window of Chromium is as narrow as a phone.)
fn framed(page: &str, screen: &Screen) -> String {
    let Screen { width, height, .. } = screen;
    format!(
        "<!doctype html><meta charset=utf-8><body style=\"margin:0\">\
         <iframe src=\"{page}\" style=\"border:0;width:{width}px;height:{height}px\"></iframe>"
    )
}

/// A page that loads others in turn, and reports what is wider than the screen.
fn measuring(pages: &[&str], screen: &Screen) -> String {
    let Screen { width, height, .. } = screen;
    let list = pages.iter().map(|page| format!("\"book/{page}\"")).collect::<Vec<_>>().join(",");
    format!(
        r#"<!doctype html><meta charset=utf-8><body>
<iframe id="screen" style="border:0;width:{width}px;height:{height}px"></iframe>
<pre id="report"></pre>
<script>
const pages = [{list}];
const screen_ = document.getElementById("screen");
const report = [];
// Something wide within what can be scrolled is fine.
function scrolls(element) {{
  for (let e = element; e && e.tagName !== "MAIN"; e = e.parentElement) {{
    if (["auto", "scroll"].includes(e.ownerDocument.defaultView.getComputedStyle(e).overflowX)) return true;
  }}
  return false;
}}
async function measure(page) {{
  await new Promise((done) => {{ screen_.onload = done; screen_.src = page; }});
  await new Promise((done) => setTimeout(done, 100));
  const inner = screen_.contentDocument;
  const width = inner.documentElement.scrollWidth;
  let fault = width > {width} ? `the page is ${{width}} px wide` : "";
  for (const element of inner.querySelectorAll("main *")) {{
    const right = element.getBoundingClientRect().right;
    if (right > {width} + 1 && !scrolls(element)) {{
      fault = `${{element.tagName}} ends at ${{Math.round(right)}} px`;
      break;
    }}
  }}
  report.push(page + ": " + (fault || "fits"));
}}
(async () => {{
  for (const page of pages) await measure(page);
  document.getElementById("report").textContent = report.join("\n");
}})();
</script>
"#
    )
}

/// The pages of a report that are too wide, and how many it has.
fn read(report: &str) -> Result<(Vec<String>, usize)> {
    let lines: Vec<&str> = report.lines().filter(|line| !line.is_empty()).collect();
    let mut wide = Vec::new();
    for line in &lines {
        let (_, verdict) = line.split_once(": ").with_context(|| format!("Chromium: {line}"))?;
        if verdict != "fits" {
            wide.push((*line).to_owned());
        }
    }
    Ok((wide, lines.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read() {
        let (wide, seen) = read("book/a.html: fits\nbook/b.html: TABLE ends at 700 px\n").unwrap();
        assert_eq!(wide, ["book/b.html: TABLE ends at 700 px"]);
        assert_eq!(seen, 2);
        assert!(read("nothing").is_err());
    }
}
