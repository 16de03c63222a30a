//! Ctrl-C, or being asked to end: partial output is removed, as after an error.

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 128 + 2;

/// Makes an interruption remove all files and folders that are not complete.
pub(crate) fn remove_partial_files() {
    // Where signals cannot be handled, an interruption leaves a file behind: no reason to give up.
    let _ = ctrlc::set_handler(|| {
        huffwire_io::remove_partial_files();
        std::process::exit(INTERRUPTED);
    });
}
