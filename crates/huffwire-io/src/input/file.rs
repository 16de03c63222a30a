//! Reading at any offset: what parallel workers need, from files, streams and memory alike.

use std::cmp::Ordering;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::handle::Handle;
use super::identity::{Origin, Stamp};
use super::stream::Stream;
use crate::error::{Error, Result};

/// The environment variable that names the folder of temporary files.
const TEMPORARY: &str = if cfg!(windows) { "TMP" } else { "TMPDIR" };

/// Bytes read at a time when nobody vouches for the size of the whole.
const CHUNK: u64 = 1 << 20;

/// Input that is read at offsets, from several threads if need be.
///
/// The size is that of the moment of opening. Whether it stayed so, [`InputFile::check_length`] tells.
///
/// ```
/// use std::io::Cursor;
/// use huffwire_io::InputFile;
///
/// let input = InputFile::from_reader("memory", Cursor::new(b"some bytes".to_vec()))?;
/// assert_eq!(input.bytes(), 10);
/// assert_eq!(input.read(5..10)?, b"bytes");
/// # Ok::<(), huffwire_io::Error>(())
/// ```
#[derive(Debug)]
pub struct InputFile {
    store: Store,
    bytes: u64,
    origin: Origin,
    /// What tells whether the file was changed; `None` for what is no ordinary file.
    stamp: Option<Stamp>,
}

/// Where the bytes are.
enum Store {
    /// A file, which several threads can read at a time.
    File(Handle),
    /// Anything else that can seek; threads take turns.
    Reader(Mutex<Box<dyn ReadSeek>>),
    /// What is read once: its first bytes, which are kept, and the rest, which must be read in order.
    Stream { head: Vec<u8>, rest: Mutex<Stream> },
}

trait ReadSeek: Read + Seek + Send {}
impl<R: Read + Seek + Send> ReadSeek for R {}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.fmt(f),
            Self::Reader(_) => f.write_str("Reader"),
            Self::Stream { .. } => f.write_str("Stream"),
        }
    }
}

impl InputFile {
    /// Opens a file. The content of a pipe or a device is first copied to a temporary file, which has no
    /// name and vanishes with the `InputFile`.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be opened or copied, [`Error::IsFolder`] for a folder.
    pub fn open(path: &Path) -> Result<Self> {
        let label = path.display().to_string();
        let failed = || Error::io(&label, "cannot be opened");
        let file = File::open(path).map_err(failed())?;
        let metadata = file.metadata().map_err(failed())?;
        if metadata.is_dir() {
            return Err(Error::folder(path));
        }
        let origin = Origin::of_open(path, &metadata);
        if !metadata.is_file() {
            return Self::spool(file, origin);
        }
        let bytes = metadata.len();
        // Files that the system makes up when they are read, as those in /proc, have no size or a wrong one.
        let at_offsets = match ends_at(&file, bytes) {
            Err(error) if error.kind() == ErrorKind::NotSeekable => false,
            ends_there => ends_there.map_err(Error::io(&label, "cannot be read"))?,
        };
        if at_offsets {
            let stamp = Some(Stamp::of(path, &metadata));
            Ok(Self { store: Store::File(Handle::new(file, path)), bytes, origin, stamp })
        } else {
            Self::spool(file, origin)
        }
    }

    /// An error when the file is no longer as long as it was when it was opened: what was read then is a
    /// part of it, or of two states of it. To be called when all was read and nothing made of it has
    /// appeared yet; [`Writer`](crate::Writer) and [`Reader`](crate::Reader) do so.
    ///
    /// # Errors
    /// [`Error::Changed`], [`Error::Io`].
    pub fn check_length(&self) -> Result<()> {
        let failed = |error| Error::io(self.label(), "cannot be read")(error);
        let before = self.bytes;
        let after = match &self.store {
            Store::File(handle) => {
                let file = handle.file(self.label())?;
                match ends_at(&file, before).map_err(failed)? {
                    true => before,
                    false => file.metadata().map_err(failed)?.len(),
                }
            }
            Store::Reader(reader) => {
                let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                reader.seek(SeekFrom::End(0)).map_err(failed)?
            }
            Store::Stream { rest, .. } => {
                let mut rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
                let is_longer = match rest.offset().cmp(&before) {
                    Ordering::Less => false,
                    Ordering::Equal => rest.has_more().map_err(failed)?,
                    Ordering::Greater => true,
                };
                if is_longer {
                    return Err(Error::TooLong {
                        path: self.label().to_owned(),
                        announced: before,
                    });
                }
                before
            }
        };
        if after == before {
            return Ok(());
        }
        Err(Error::Changed { path: self.label().to_owned(), before, after })
    }

    /// An error when [`InputFile::remove`] would keep the file. Whoever removes several files together asks for all of
    /// them first.
    ///
    /// # Errors
    /// [`Error::NotRemovable`] when it is no ordinary file with a path, [`Error::Link`] when the path that it was opened by
    /// is a symbolic link, [`Error::Modified`] when it was changed or replaced by another file, and [`Error::Io`].
    pub fn check_removable(&self) -> Result<()> {
        self.removable().map(drop)
    }

    /// Removes the file, if it is still the one that was opened and nobody has written to it.
    ///
    /// # Errors
    /// As [`InputFile::check_removable`]: the file is kept then.
    pub fn remove(&self) -> Result<()> {
        std::fs::remove_file(self.removable()?)
            .map_err(Error::io(self.label(), "cannot be removed"))
    }

    /// The path that [`InputFile::remove`] would remove.
    fn removable(&self) -> Result<&Path> {
        let path = || self.label().to_owned();
        let Some(stamp) = &self.stamp else { return Err(Error::NotRemovable { path: path() }) };
        if stamp.path.is_symlink() {
            return Err(Error::Link { path: path() });
        }
        let metadata = std::fs::metadata(&stamp.path);
        let metadata = metadata.map_err(Error::io(self.label(), "cannot be removed"))?;
        match stamp.is_unchanged(&Stamp::of(&stamp.path, &metadata)) {
            true => Ok(&stamp.path),
            false => Err(Error::Modified { path: path() }),
        }
    }

    #[cfg(test)]
    pub(super) const fn stays_open(&self) -> bool {
        !matches!(self.store, Store::File(Handle::Closed(_)))
    }

    /// Standard input, copied to a temporary file first.
    ///
    /// # Errors
    /// [`Error::Io`] when standard input cannot be read or copied.
    pub fn stdin() -> Result<Self> {
        Self::spool(io::stdin().lock(), Origin::stdin())
    }

    /// Anything that can be read and can seek. `label` is its name in messages.
    ///
    /// # Errors
    /// [`Error::Io`] when its size cannot be found out.
    pub fn from_reader(label: &str, mut reader: impl Read + Seek + Send + 'static) -> Result<Self> {
        let bytes = reader.seek(SeekFrom::End(0)).map_err(Error::io(label, "cannot be read"))?;
        let store = Store::Reader(Mutex::new(Box::new(reader)));
        let origin = Origin { label: label.to_owned(), identity: None };
        Ok(Self { store, bytes, origin, stamp: None })
    }

    /// Whether the bytes can only be read in their order.
    pub(crate) const fn is_stream(&self) -> bool {
        matches!(self.store, Store::Stream { .. })
    }

    /// Input of which the first bytes were read: they can be read again, and the rest once and in order. `bytes` is what
    /// they say that the size of the whole is.
    pub(super) const fn of_stream(head: Vec<u8>, rest: Stream, bytes: u64, origin: Origin) -> Self {
        Self { store: Store::Stream { head, rest: Mutex::new(rest) }, bytes, origin, stamp: None }
    }

    fn read_stream(
        &self,
        head: &[u8],
        rest: &mut Stream,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<()> {
        let kept = head.get(offset as usize..).unwrap_or_default();
        let count = kept.len().min(buffer.len());
        let (first, second) = buffer.split_at_mut(count);
        first.copy_from_slice(&kept[..count]);
        if second.is_empty() {
            return Ok(());
        }
        if offset + count as u64 != rest.offset() {
            let what = "this input is a stream, which is read once and in order";
            return Err(Error::io(self.label(), what)(ErrorKind::NotSeekable.into()));
        }
        let failed = Error::io(self.label(), "cannot be read");
        if rest.fill(second).map_err(failed)? < second.len() {
            let (path, found) = (self.label().to_owned(), rest.offset());
            return Err(Error::TooShort { path, announced: self.bytes, found });
        }
        Ok(())
    }

    pub(super) fn spool(mut from: impl Read, origin: Origin) -> Result<Self> {
        let failed = |source| {
            let folder = std::env::temp_dir();
            let what = format!(
                "cannot be copied to a temporary file in {}, where input that is no ordinary file is kept \
                 meanwhile; the variable {TEMPORARY} names another folder",
                folder.display()
            );
            Error::io(origin.label(), what)(source)
        };
        let mut file = tempfile::tempfile().map_err(failed)?;
        let bytes = io::copy(&mut from, &mut file).map_err(failed)?;
        Ok(Self { store: Store::File(Handle::unnamed(file)), bytes, origin, stamp: None })
    }

    /// The name in messages: the path, or `standard input`.
    #[must_use]
    pub fn label(&self) -> &str {
        self.origin.label()
    }

    /// Where the input comes from.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `buffer` with the bytes at `offset`.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be read, [`Error::Changed`] when the file has become shorter.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let read = match &self.store {
            Store::File(handle) => read_exact_at(&*handle.file(self.label())?, buffer, offset),
            Store::Reader(reader) => {
                let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                reader.seek(SeekFrom::Start(offset)).and_then(|_| reader.read_exact(buffer))
            }
            Store::Stream { head, rest } => {
                let mut rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
                return self.read_stream(head, &mut rest, buffer, offset);
            }
        };
        if read.as_ref().is_err_and(|error| error.kind() == ErrorKind::UnexpectedEof) {
            // It tells more, if that is the reason.
            self.check_length()?;
        }
        read.map_err(|source| {
            let what = format!("{} bytes at offset {offset} cannot be read", buffer.len());
            Error::io(self.label(), what)(source)
        })
    }

    /// The bytes of a range. Memory is taken piece by piece as the bytes arrive, so that a range that
    /// reaches beyond the end of the file costs nothing.
    ///
    /// # Errors
    /// As [`InputFile::read_exact_at`], and [`Error::OutOfMemory`].
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let size = range.end.saturating_sub(range.start);
        let mut bytes = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let chunk = (range.end - at).min(CHUNK) as usize;
            if bytes.try_reserve(chunk).is_err() {
                let (path, what) = (self.label().to_owned(), "a part".to_owned());
                return Err(Error::OutOfMemory { path, what, bytes: size });
            }
            let filled = bytes.len();
            bytes.resize(filled + chunk, 0);
            self.read_exact_at(&mut bytes[filled..], at)?;
            at += chunk as u64;
        }
        Ok(bytes)
    }

    /// The first bytes, `count` of them or as many as there are.
    ///
    /// # Errors
    /// As [`InputFile::read_exact_at`].
    pub fn start(&self, count: u64) -> Result<Vec<u8>> {
        self.read(0..self.bytes.min(count))
    }
}

/// Whether a file has a byte before this offset, and none from it on.
fn ends_at(file: &File, offset: u64) -> io::Result<bool> {
    let is_there = |at| match read_exact_at(file, &mut [0], at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    };
    Ok((offset == 0 || is_there(offset - 1)?) && !is_there(offset)?)
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        match file.seek_read(buffer, offset) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    #[test]
    fn a_range_beyond_the_end_costs_no_memory() {
        let input = InputFile::from_reader("x", Cursor::new(vec![0; 10])).unwrap();
        assert!(matches!(input.read(0..u64::MAX), Err(Error::Io { .. })));
    }

    #[test]
    fn a_file_that_grows_or_shrinks_is_noticed() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for content in ["", "content"] {
            file.write_all(content.as_bytes()).unwrap();
            let input = InputFile::open(file.path()).unwrap();
            assert_eq!(input.read(0..input.bytes()).unwrap(), content.as_bytes());
            input.check_length().unwrap();
            file.write_all(b"more").unwrap();
            let error = input.check_length().unwrap_err().to_string();
            let (before, after) = (content.len(), content.len() + 4);
            assert!(error.contains(&format!("{before} bytes, and {after} after")), "{error}");
            file.as_file().set_len(content.len() as u64).unwrap();
            input.check_length().unwrap();
            file.as_file().set_len(0).unwrap();
            file.rewind().unwrap();
            assert_eq!(input.check_length().is_err(), !content.is_empty());
            if !content.is_empty() {
                let error = input.read(0..input.bytes()).unwrap_err().to_string();
                assert!(error.contains("7 bytes, and 0 after"), "{error}");
            }
        }
    }

    /// Also when the time of the last change is set back, as by programs that copy it.
    #[test]
    fn a_file_that_was_written_to_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["x", "other"].map(|name| folder.path().join(name));
        let open = || {
            std::fs::write(&path, b"content").unwrap();
            InputFile::open(&path).unwrap()
        };
        let is_kept = |input: &InputFile| {
            assert!(matches!(input.remove(), Err(Error::Modified { .. })));
            assert!(path.exists());
        };
        let input = open();
        // Times have steps of some milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(30));
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, b"another").unwrap();
        if cfg!(unix) {
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(modified).unwrap();
        }
        is_kept(&input);
        let input = open();
        std::fs::copy(&path, &other).unwrap();
        std::fs::rename(&other, &path).unwrap();
        is_kept(&input);
        let input = open();
        input.check_removable().unwrap();
        input.remove().unwrap();
        assert!(!path.exists());
    }

    /// Whoever writes to a file and gives it another name has written to it, whatever time the file then has.
    #[cfg(unix)]
    #[test]
    fn a_file_that_was_written_to_and_has_another_name_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["x", "other"].map(|name| folder.path().join(name));
        std::fs::write(&path, b"content").unwrap();
        let input = InputFile::open(&path).unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        // Times have steps of some milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(30));
        std::fs::write(&path, b"another").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        std::fs::hard_link(&path, &other).unwrap();
        assert!(matches!(input.remove(), Err(Error::Modified { .. })));
        assert!(path.exists());
    }

    /// The names of a file can be inputs of one call.
    #[cfg(unix)]
    #[test]
    fn all_names_of_a_file_are_removed_and_no_links() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, link] = ["a", "b", "link"].map(|name| folder.path().join(name));
        std::fs::write(&a, b"content").unwrap();
        std::fs::hard_link(&a, &b).unwrap();
        std::os::unix::fs::symlink("a", &link).unwrap();
        let [first, second, third] = [&a, &b, &link].map(|path| InputFile::open(path).unwrap());
        assert!(matches!(third.remove(), Err(Error::Link { .. })));
        first.remove().unwrap();
        second.remove().unwrap();
        assert!(link.is_symlink() && !a.exists() && !b.exists());
    }

    #[test]
    fn what_is_no_file_is_not_removed() {
        let mut inputs = vec![InputFile::from_reader("x", Cursor::new(vec![0])).unwrap()];
        if cfg!(unix) {
            inputs.push(InputFile::open(Path::new("/dev/null")).unwrap());
        }
        for input in inputs {
            for checked in [input.check_removable(), input.remove()] {
                assert!(matches!(checked, Err(Error::NotRemovable { .. })), "{checked:?}");
            }
        }
    }

    /// Their size is said to be 0, or a page.
    #[cfg(target_os = "linux")]
    #[test]
    fn files_that_the_system_makes_up_are_read_whole() {
        for path in
            ["/proc/version", "/proc/self/cmdline", "/sys/kernel/mm/transparent_hugepage/enabled"]
        {
            let Ok(expected) = std::fs::read(path) else { continue };
            let input = InputFile::open(Path::new(path)).unwrap();
            assert_eq!(input.read(0..input.bytes()).unwrap(), expected, "{path}");
            input.check_length().unwrap();
        }
    }
}
