//! Reading the directory of a .hw file, whose size the file claims.

use std::ops::Range;

use huffwire::file::{self, Directory, DirectoryCheck, HEADER_BYTES, TRAILER_BYTES};

use crate::error::{Error, Result};
use crate::input::InputFile;

/// Bytes that are checked at a time. A directory of no more is read and then checked.
const PART: usize = 1 << 20;

/// Reads and checks the directory, which may have `limit` bytes at most.
pub(super) fn read(file: &InputFile, limit: u64) -> Result<Directory> {
    let codec = |error| Error::codec(file.label(), "")(error);
    let header = file.start(HEADER_BYTES as u64)?;
    file::read_header(&header).map_err(codec)?;
    let bytes = file.bytes();
    let Some(trailer_at) = bytes.checked_sub(TRAILER_BYTES as u64) else {
        let detail = format!("it was cut after {bytes} bytes; fetch or copy it again");
        return Err(Error::invalid(file.label(), ".hw", detail));
    };
    let trailer = file.read(trailer_at..bytes)?;
    let (range, check) = file::read_trailer(&trailer, bytes).map_err(codec)?;
    let size = range.end - range.start;
    if size > limit {
        let (path, what) = (file.label().to_owned(), "the directory".to_owned());
        return Err(Error::TooLarge { path, what, bytes: size, limit });
    }
    if size > PART as u64 {
        check_parts(file, &range, check)?;
    }
    let offset = range.start;
    let content = file.read(range).map_err(|error| match error {
        Error::OutOfMemory { path, bytes, .. } => {
            Error::OutOfMemory { path, what: "a directory".to_owned(), bytes }
        }
        error => error,
    })?;
    Directory::read(&header, &content, offset, check).map_err(codec)
}

/// Checks a directory without taking memory for it: a file with holes is large and costs nobody anything.
fn check_parts(file: &InputFile, range: &Range<u64>, check: u32) -> Result<()> {
    let mut check = DirectoryCheck::new(check);
    let mut part = vec![0; PART];
    for start in range.clone().step_by(PART) {
        let size = (range.end - start).min(PART as u64) as usize;
        file.read_exact_at(&mut part[..size], start)?;
        check.add(&part[..size]);
    }
    check.finish().map_err(Error::codec(file.label(), ""))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read, Seek, SeekFrom};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Bytes that are counted when they are read.
    struct Counting(Cursor<Vec<u8>>, Arc<AtomicU64>);

    impl Read for Counting {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.read(buffer)?;
            self.1.fetch_add(count as u64, Ordering::Relaxed);
            Ok(count)
        }
    }

    impl Seek for Counting {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }

    /// It is read once, in parts: what does not pass the check is not read to be kept.
    #[test]
    fn a_large_directory_is_checked_before_it_is_read() {
        let size = 3 * PART + 5;
        let writer = file::Writer::new(true, 17).unwrap();
        let mut bytes = writer.header().to_vec();
        bytes.resize(HEADER_BYTES + size, 0);
        let end = writer.finish().unwrap();
        let mut trailer = end[end.len() - TRAILER_BYTES..].to_vec();
        trailer[8..16].copy_from_slice(&(size as u64).to_le_bytes());
        bytes.extend(trailer);
        let read = Arc::new(AtomicU64::new(0));
        let from = Counting(Cursor::new(bytes), Arc::clone(&read));
        let input = InputFile::from_reader("x", from).unwrap();
        let error = super::read(&input, u64::MAX).unwrap_err();
        assert!(
            matches!(error, Error::Codec { source: huffwire::Error::Checksum { .. }, .. }),
            "{error}"
        );
        assert!(read.load(Ordering::Relaxed) < (size + 100) as u64);
    }

    #[test]
    fn a_large_directory_is_read() {
        let mut writer = file::Writer::new(true, 17).unwrap();
        let mut bytes = writer.header().to_vec();
        for number in 0..6 {
            let name = format!("{number}{}", "x".repeat(200_000));
            writer.begin_original(&name).unwrap();
        }
        bytes.extend(writer.finish().unwrap());
        assert!(bytes.len() > PART);
        let input = InputFile::from_reader("x", Cursor::new(bytes.clone())).unwrap();
        assert_eq!(super::read(&input, u64::MAX).unwrap().originals.len(), 6);
        bytes[PART] ^= 1;
        let input = InputFile::from_reader("x", Cursor::new(bytes)).unwrap();
        assert!(matches!(super::read(&input, u64::MAX), Err(Error::Codec { .. })));
    }
}
