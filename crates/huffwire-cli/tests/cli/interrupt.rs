//! Signals that are not to end the program, and those that are to end it at once.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::{Folder, bf16, patient, signal};
use crate::many_failures::{names, ten};

/// As `nohup` starts a program, and a shell one in the background.
#[cfg(target_os = "linux")]
#[test]
fn signals_that_were_turned_off_stay_so() {
    let folder = Folder::new();
    folder.write("big.bin", &bf16(4_000_000, 1));
    let script = r#"trap '' HUP INT; exec nice -n 19 "$0" "$@""#;
    let compress = ["compress", "big.bin", "--dtype", "bf16", "--level", "max", "--threads", "1"];
    for (sent, code) in [(&[Signal::HUP, Signal::INT][..], 0), (&[Signal::TERM], 130)] {
        let mut child = Command::new("bash")
            .args(["-c", script, env!("CARGO_BIN_EXE_huffwire")])
            .args(compress)
            .current_dir(folder.path(""))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !names(&folder, "").contains(&"partial".to_owned()) {
            assert!(child.try_wait().unwrap().is_none(), "it was too quick for this test");
            std::thread::sleep(Duration::from_millis(1));
        }
        sent.iter().for_each(|sent| signal(&child, *sent));
        assert_eq!(child.wait().unwrap().code(), Some(code), "{sent:?}");
        assert_eq!(fs::remove_file(folder.path("big.bin.hw")).is_ok(), code == 0);
        assert_eq!(names(&folder, ""), ["big.bin"]);
    }
}

/// Whoever should read that it was interrupted does not.
#[test]
fn a_program_that_cannot_end_is_ended_by_another_signal() {
    let folder = Folder::new();
    ten(&folder, 20_000_000);
    let (full, _reader) = full_stream();
    let mut child = patient()
        .args(["compress", "-r", "in", "-o", "out", "-j", "1", "--level", "max", "--threads", "1"])
        .current_dir(folder.path(""))
        .stdout(Stdio::null())
        .stderr(full)
        .spawn()
        .unwrap();
    let is_partial = || names(&folder, "out").contains(&"partial".to_owned());
    while names(&folder, "out").len() < 10 || !is_partial() {
        assert!(child.try_wait().unwrap().is_none(), "it was too quick for this test");
        std::thread::sleep(Duration::from_millis(1));
    }
    // `timeout` sends its signal twice.
    signal(&child, Signal::TERM);
    signal(&child, Signal::TERM);
    while is_partial() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let status = ended_by(&mut child, Signal::TERM);
    assert_eq!(status.and_then(|status| status.code()), Some(130));
    assert_eq!(names(&folder, "out").len(), 9);
}

/// Sends the signal again and again; the status, if the program ends within a minute.
fn ended_by(child: &mut Child, sent: Signal) -> Option<ExitStatus> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        signal(child, sent);
        std::thread::sleep(Duration::from_millis(100));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

/// A stream that takes no more bytes, and its other end.
fn full_stream() -> (OwnedFd, UnixStream) {
    let (mut writer, reader) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    let full = loop {
        if let Err(error) = writer.write(&[0; 1]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    writer.set_nonblocking(false).unwrap();
    (writer.into(), reader)
}
