//! Input that is read once, from its beginning to its end.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;
/// Chunks that are read ahead of whoever takes the bytes.
const AHEAD: usize = 4;

/// Bytes that arrive one after the other. A thread reads them ahead.
pub(super) struct Stream {
    arriving: Receiver<io::Result<Vec<u8>>>,
    give_back: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    /// Bytes of the chunk that were taken.
    taken: usize,
    /// Bytes of the whole that were taken.
    offset: u64,
    failed: Option<(ErrorKind, String)>,
}

impl Stream {
    /// Starts to read. The thread ends with the input, or when it has read more and nobody takes it any more.
    pub(super) fn new(mut from: impl Read + Send + 'static) -> io::Result<Self> {
        let (arrive, arriving) = sync_channel(AHEAD);
        let (give_back, used) = channel::<Vec<u8>>();
        let read = move || {
            loop {
                let mut chunk = used.try_recv().unwrap_or_default();
                chunk.resize(CHUNK, 0);
                let (count, error) = read_some(&mut from, &mut chunk);
                chunk.truncate(count);
                // What came before an error is taken first.
                if count > 0 && arrive.send(Ok(chunk)).is_err() {
                    return;
                }
                if let Some(error) = error {
                    // Nobody may be left to hear it.
                    let _ = arrive.send(Err(error));
                    return;
                }
                if count == 0 {
                    return;
                }
            }
        };
        thread::Builder::new().name("reader".to_owned()).spawn(read)?;
        Ok(Self { arriving, give_back, chunk: Vec::new(), taken: 0, offset: 0, failed: None })
    }

    /// Bytes that were taken so far.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Fills the buffer with the next bytes, or as much of it as there are bytes left; returns how many these are.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() && self.has_more()? {
            let rest = &self.chunk[self.taken..];
            let count = rest.len().min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&rest[..count]);
            filled += count;
            self.taken += count;
            self.offset += count as u64;
        }
        Ok(filled)
    }

    /// Whether a byte is left. Waits for it.
    pub(super) fn has_more(&mut self) -> io::Result<bool> {
        if self.taken < self.chunk.len() {
            return Ok(true);
        }
        // An error stays one, however often somebody asks.
        if let Some((kind, message)) = &self.failed {
            return Err(io::Error::new(*kind, message.clone()));
        }
        match self.arriving.recv() {
            Ok(Ok(chunk)) => {
                // The thread may be gone, with the end of the input.
                let _ = self.give_back.send(std::mem::replace(&mut self.chunk, chunk));
                self.taken = 0;
                Ok(true)
            }
            Ok(Err(error)) => {
                self.failed = Some((error.kind(), error.to_string()));
                Err(error)
            }
            Err(_) => Ok(false),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill(buffer)
    }
}

/// Reads until half of the buffer is full, so that chunks are few: pipes give less at a time. Returns how many bytes came,
/// and the error that ended it; none at the end of the input.
fn read_some(from: &mut impl Read, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut filled = 0;
    while filled < buffer.len() / 2 {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (filled, Some(error)),
        }
    }
    (filled, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time, and an error in the end.
    struct Trickle(u8);

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                200 => Err(io::Error::other("the line is cut")),
                byte => {
                    buffer[..3].fill(byte);
                    Ok(3)
                }
            }
        }
    }

    #[test]
    fn bytes_come_in_order_and_an_error_stays() {
        let mut stream = Stream::new(Trickle(0)).unwrap();
        let mut bytes = [0; 597];
        assert_eq!(stream.fill(&mut bytes).unwrap(), 597);
        assert!((1..200).flat_map(|byte| [byte; 3]).eq(bytes));
        for _ in 0..2 {
            assert!(stream.fill(&mut bytes).unwrap_err().to_string().contains("cut"));
        }
        assert_eq!(stream.offset(), 597);
    }

    #[test]
    fn the_end_is_no_error() {
        let content: Vec<u8> = (0..5 * CHUNK / 2).map(|i| i as u8).collect();
        let mut stream = Stream::new(io::Cursor::new(content.clone())).unwrap();
        let mut bytes = vec![0; 3 * CHUNK];
        assert_eq!(stream.fill(&mut bytes).unwrap(), content.len());
        assert!(bytes[..content.len()] == content && !stream.has_more().unwrap());
    }
}
