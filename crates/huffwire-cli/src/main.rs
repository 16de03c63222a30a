//! The binary of the program; all that it does is in the library of this package.

use std::process::ExitCode;

/// musl's own allocator is slow, above all when several threads use it.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(huffwire_cli::run(std::env::args_os(), found::stdout_is_closed()))
}

/// Elsewhere a closed standard output fails by itself.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod found {
    pub(crate) const fn stdout_is_closed() -> bool {
        false
    }
}

/// The standard streams as the program found them.
#[cfg(any(target_os = "linux", target_os = "macos"))]
#[allow(unsafe_code)]
mod found {
    use std::sync::atomic::{AtomicBool, Ordering};

    static STDOUT_IS_CLOSED: AtomicBool = AtomicBool::new(false);

    /// Whether there was no standard output when the program was started (`>&-`). What is written to it now goes to
    /// `/dev/null`, without an error.
    pub(crate) fn stdout_is_closed() -> bool {
        STDOUT_IS_CLOSED.load(Ordering::Relaxed)
    }

    /// Before `main`, Rust opens `/dev/null` in the place of standard streams that are closed; so this must be looked at
    /// earlier.
    extern "C" fn look() {
        let is_closed = rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err();
        STDOUT_IS_CLOSED.store(is_closed, Ordering::Relaxed);
    }

    // SAFETY: the linker collects pointers to functions in this section, which are called once each before `main`,
    // on the only thread; this one makes a system call and stores a byte, for which nothing of Rust's need
    // be ready.
    #[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
    #[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
    #[used]
    static LOOK: extern "C" fn() = look;
}
