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

/// Makes room for more bytes in pipes at standard input and output, so that their ends wait less for each other.
pub(crate) fn widen_pipes() {
    #[cfg(target_os = "linux")]
    {
        // What is no pipe, or belongs to somebody who may have no more, stays as it is.
        let _ = rustix::pipe::fcntl_setpipe_size(rustix::stdio::stdin(), PIPE_BYTES);
        let _ = rustix::pipe::fcntl_setpipe_size(rustix::stdio::stdout(), PIPE_BYTES);
    }
}

/// What every user may ask for.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 1 << 20;
