//! How a file is written: in large steps, and on its way to the disk while the next ones are made.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};

use super::write_back::WriteBack;

/// All writes but the last end at a multiple of this. The system keeps files in pages: a write that ends within a page
/// costs half as much again as one that does not, and with longer runs of pages it has less to keep account of.
const STEP: usize = 1 << 16;

/// Writes a file from its beginning to its end.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// The last bytes, fewer than [`STEP`], which are not written yet.
    rest: Vec<u8>,
    write_back: WriteBack,
}

impl Gather {
    /// Appends bytes.
    pub(super) fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let length = self.rest.len() + bytes.len();
        let whole = length - length % STEP;
        if whole == 0 {
            self.rest.extend_from_slice(bytes);
            return Ok(());
        }
        let (now, later) = bytes.split_at(whole - self.rest.len());
        write_both(file, &self.rest, now)?;
        self.rest.clear();
        self.rest.extend_from_slice(later);
        self.write_back.written(file, whole as u64);
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(&mut self, file: &mut File) -> io::Result<()> {
        file.write_all(&std::mem::take(&mut self.rest))?;
        self.write_back.end();
        Ok(())
    }
}

/// Writes two pieces of memory one behind the other, in one call if the system takes all of it.
fn write_both(to: &mut impl Write, first: &[u8], second: &[u8]) -> io::Result<()> {
    let mut both = [IoSlice::new(first), IoSlice::new(second)];
    let mut left = &mut both[..];
    // Empty pieces do not count as something left.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match to.write_vectored(left) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut left, count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_their_order_whatever_the_pieces() {
        let content: Vec<u8> = (0..7 * STEP + 5).map(|i| (i % 251) as u8).collect();
        for piece in [1000, STEP - 1, STEP, STEP + 1, 3 * STEP + 7, content.len()] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            let (mut file, mut gather) = (File::create(&path).unwrap(), Gather::default());
            for (index, bytes) in content.chunks(piece).enumerate() {
                gather.write(&mut file, bytes).unwrap();
                gather.write(&mut file, &[]).unwrap();
                let given = content.len().min(piece * (index + 1));
                let written = file.metadata().unwrap().len();
                assert_eq!(written, (given - given % STEP) as u64);
            }
            gather.finish(&mut file).unwrap();
            assert!(std::fs::read(&path).unwrap() == content, "pieces of {piece}");
        }
    }

    /// Takes a few bytes at a time, is interrupted in between, and has room for so many bytes.
    struct Reluctant {
        taken: Vec<u8>,
        room: usize,
        turn: usize,
    }

    impl Write for Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.turn += 1;
            if self.turn.is_multiple_of(2) {
                return Err(ErrorKind::Interrupted.into());
            }
            let count = bytes.len().min(3).min(self.room - self.taken.len());
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn writes_in_part_go_on_and_a_full_file_is_an_error() {
        for (first, second) in
            [("", "second"), ("first", ""), ("first", " and second"), ("", ""), ("abc", "d")]
        {
            let both = [first, second].concat();
            let mut to = Reluctant { taken: Vec::new(), room: 100, turn: 0 };
            write_both(&mut to, first.as_bytes(), second.as_bytes()).unwrap();
            assert_eq!(to.taken, both.as_bytes());
        }
        let mut full = Reluctant { taken: Vec::new(), room: 4, turn: 0 };
        let error = write_both(&mut full, b"first", b"second").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WriteZero);
    }
}
