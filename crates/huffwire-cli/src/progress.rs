//! Progress on standard error, when that is a terminal and the user wants to see it.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// How often a bar is drawn at least.
const TICK: Duration = Duration::from_millis(250);

/// A bar over `total` bytes, with speed and remaining time.
pub(crate) fn bytes(total: u64, quiet: bool) -> ProgressBar {
    let template =
        "{bar:32} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left";
    bar(total, quiet, template)
}

/// A bar over `total` steps.
pub(crate) fn steps(total: u64, quiet: bool) -> ProgressBar {
    bar(total, quiet, "{bar:32} step {pos}/{len}  {msg}  {eta} left")
}

fn bar(total: u64, quiet: bool, template: &str) -> ProgressBar {
    // `stderr()` hides the bar by itself when standard error is no terminal.
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    // A template that cannot be parsed would be a mistake here; the default bar will do.
    let style = ProgressStyle::with_template(template);
    // An error drops the bar, and its message should not stand behind half a bar.
    let bar = ProgressBar::with_draw_target(Some(total), target)
        .with_finish(ProgressFinish::AndClear)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    if !quiet && io::stderr().is_terminal() {
        // Also while a block takes long, and before the first one.
        bar.enable_steady_tick(TICK);
    }
    bar
}
