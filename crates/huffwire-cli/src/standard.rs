//! The standard streams and signals as the program found them.

use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT_IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Remembers whether there was a standard output when the process was started.
pub(crate) fn remember_stdout(is_closed: bool) {
    STDOUT_IS_CLOSED.store(is_closed, Ordering::Relaxed);
}

/// Whether there was no standard output when the process was started. What is written to it now goes to
/// `/dev/null`, without an error.
pub(crate) fn stdout_is_closed() -> bool {
    STDOUT_IS_CLOSED.load(Ordering::Relaxed)
}

/// Makes a limit on the size of files (`ulimit -f`) an error of the write that goes beyond it, after which partial files
/// are removed. Left alone, the signal ends the program on the spot.
pub(crate) fn survive_the_limit_of_file_sizes() {
    #[cfg(unix)]
    {
        // Where it cannot be handled, a limit leaves a partial file behind: no reason to give up.
        let nobody_asks = std::sync::Arc::default();
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, nobody_asks);
    }
}
