//! Writing a file back early: what lies in the system's memory is on its way to the disk before all of it is written.

/// Elsewhere the system is left to itself.
#[cfg(not(target_os = "linux"))]
pub(super) use nothing::WriteBack;

#[cfg(target_os = "linux")]
pub(super) use linux::WriteBack;

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::num::NonZeroU64;
    use std::ops::Range;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::{self, JoinHandle};

    use rustix::fs::{Advice, fadvise};

    /// Bytes that are sent on their way at a time. Smaller files need no thread.
    const STEP: u64 = 16 << 20;

    /// Sends the bytes of a file on their way to the disk while others are written. Linux would begin only when a tenth of
    /// the memory waits, or after some seconds; so the disk would idle first, and the program would wait for it in the end.
    #[derive(Debug, Default)]
    pub(in super::super) struct WriteBack {
        written: u64,
        /// How many of them the thread was told of.
        told: u64,
        thread: Option<(Sender<Range<u64>>, JoinHandle<()>)>,
        /// No thread can be had.
        failed: bool,
    }

    impl WriteBack {
        /// Notes that so many bytes more were written to the file.
        pub(in super::super) fn written(&mut self, file: &File, bytes: u64) {
            self.written += bytes;
            if self.written - self.told < STEP || self.failed {
                return;
            }
            if self.thread.is_none() {
                self.thread = start(file);
                self.failed = self.thread.is_none();
            }
            if let Some((tell, _)) = &self.thread {
                // A thread that is gone is no harm: in the end the file is synced in any case.
                let _ = tell.send(self.told..self.written);
                self.told = self.written;
            }
        }

        /// Waits for the thread. The file can be synced then.
        pub(in super::super) fn end(&mut self) {
            if let Some((tell, thread)) = self.thread.take() {
                drop(tell);
                let _ = thread.join();
            }
        }
    }

    /// Starts the thread: sending bytes on their way may take as long as the disk takes for others.
    fn start(file: &File) -> Option<(Sender<Range<u64>>, JoinHandle<()>)> {
        let file = file.try_clone().ok()?;
        let (tell, told) = channel();
        let builder = thread::Builder::new().name("write-back".to_owned());
        let thread = builder.spawn(move || write_back(&file, &told)).ok()?;
        Some((tell, thread))
    }

    fn write_back(file: &File, told: &Receiver<Range<u64>>) {
        while let Ok(mut range) = told.recv() {
            // All that has come meanwhile, at once.
            if let Some(last) = told.try_iter().last() {
                range.end = last.end;
            }
            let length = NonZeroU64::new(range.end - range.start);
            // The advice starts to write pages back and forgets those that are on the disk. So soon hardly any are: the
            // file stays in memory, as it does after any other program. Errors of the disk are those of the sync.
            let _ = fadvise(file, range.start, length, Advice::DontNeed);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod nothing {
    use std::fs::File;

    /// Does nothing.
    #[derive(Debug, Default)]
    pub(in super::super) struct WriteBack;

    impl WriteBack {
        pub(in super::super) const fn written(&mut self, _file: &File, _bytes: u64) {}

        pub(in super::super) const fn end(&mut self) {}
    }
}
