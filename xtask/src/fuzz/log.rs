//! What libFuzzer says while it runs, as far as a person wants to know it.

use std::fmt;

/// The log of one run. Progress lines are dropped, as there may be thousands.
#[derive(Default)]
pub(super) struct Log {
    text: String,
    inputs: u64,
    per_second: u64,
    new: u64,
    peak_mb: u64,
    artifact: Option<String>,
}

impl Log {
    /// Takes the next line.
    pub(super) fn push(&mut self, line: &str) {
        if line.starts_with('#') {
            return;
        }
        if let Some((_, file)) = line.split_once("Test unit written to ") {
            self.artifact = Some(file.trim().to_owned());
        }
        if let Some((name, number)) = statistic(line) {
            match name {
                "number_of_executed_units" => self.inputs = number,
                "average_exec_per_sec" => self.per_second = number,
                "new_units_added" => self.new = number,
                "peak_rss_mb" => self.peak_mb = number,
                _ => {}
            }
        }
        self.text += line;
        self.text.push('\n');
    }

    /// Everything but the progress.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// How many inputs were tried.
    pub(super) fn inputs(&self) -> u64 {
        self.inputs
    }

    /// The file with the input that made the target fail.
    pub(super) fn artifact(&self) -> Option<&str> {
        self.artifact.as_deref()
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} inputs, {} per second, {} new, peak memory {} MB",
            self.inputs, self.per_second, self.new, self.peak_mb
        )
    }
}

/// Reads a line such as `stat::peak_rss_mb:              75`.
fn statistic(line: &str) -> Option<(&str, u64)> {
    let (name, number) = line.strip_prefix("stat::")?.split_once(':')?;
    Some((name, number.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_understood() {
        let mut log = Log::default();
        for line in [
            "#12\tNEW    cov: 14 ft: 15 corp: 2/5b",
            "SUMMARY: libFuzzer: deadly signal",
            "artifact_prefix='a/'; Test unit written to a/crash-41c7",
            "stat::number_of_executed_units: 70266",
            "stat::peak_rss_mb:              75",
        ] {
            log.push(line);
        }
        assert_eq!(log.artifact(), Some("a/crash-41c7"));
        assert_eq!(log.inputs(), 70266);
        assert_eq!(log.peak_mb, 75);
        assert!(log.text().starts_with("SUMMARY"));
    }
}
