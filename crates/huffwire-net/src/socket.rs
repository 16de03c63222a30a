//! What all sockets of a group have in common.

use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;

/// How often whoever waits looks whether it shall go on waiting.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// The last byte of a connection whose end is no failure.
pub(crate) const FAREWELL: [u8; 1] = *b".";

/// An idle connection is probed after so long, so often and so many times: a machine that lost its power is noticed even
/// by who has nothing to send to it.
const KEEP_IDLE: Duration = Duration::from_secs(60);
const KEEP_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_COUNT: u32 = 6;

/// Sets what a connection needs.
///
/// The sizes of buffers are left to the system: Linux makes them larger as the link needs it, and no longer does once
/// they were set.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEP_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEP_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEP_COUNT)?;
    Ok(())
}

/// What a socket is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Something can be read.
    Readable,
    /// Something can be written.
    Writable,
}

/// Waits until a socket is ready, has failed, or a tick or the deadline has passed: the caller tries again then.
pub(crate) fn wait(stream: &TcpStream, until: Until, deadline: Instant) -> io::Result<()> {
    let events = match until {
        Until::Readable => PollFlags::IN,
        Until::Writable => PollFlags::OUT,
    };
    let time = deadline.saturating_duration_since(Instant::now()).min(TICK);
    let time = Timespec::try_from(time).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(stream, events)], Some(&time)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the other end has closed a connection; what it sent before may still be unread.
#[cfg(target_os = "linux")]
pub(crate) fn is_ended(stream: &TcpStream) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut polled = [PollFd::new(stream, PollFlags::RDHUP)];
    let ends = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(ends)
}

/// Other systems do not tell before everything was read.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_ended(_: &TcpStream) -> bool {
    false
}

/// Writes as much of two slices as the system takes at once. A closed connection is an error and no signal.
#[cfg(target_os = "linux")]
pub(crate) fn write(stream: &TcpStream, parts: &[IoSlice<'_>; 2]) -> io::Result<usize> {
    use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
    Ok(sendmsg(stream, parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn write(mut stream: &TcpStream, parts: &[IoSlice<'_>; 2]) -> io::Result<usize> {
    use std::io::Write;
    stream.write_vectored(parts)
}

/// Whether a call has to be made again, because the socket was not ready or a signal came.
pub(crate) fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
