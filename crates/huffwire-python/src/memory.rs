//! Memory of Python objects as slices: through the buffer protocol, or by an address and a length.
//!
//! All `unsafe` code of this crate is here. Two promises come from outside and cannot be checked: an address that
//! Python code passes belongs to memory of that length which stays alive during the call (`huffwire/torch.py` keeps
//! the tensor), and no other thread writes to the memory while huffwire works on it without the interpreter lock.
//! Python's own modules (hashlib, zlib) ask for the same.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::slice;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyTuple};
use pyo3::{Borrowed, ffi};

use crate::error::Class;

/// Work on fewer bytes keeps the interpreter lock: to release it and to get it back takes about as long.
const BRIEF: usize = 16 << 10;

/// Does `work` on so many bytes, without the interpreter lock if they are not few.
pub(crate) fn work<R: Send>(py: Python<'_>, bytes: usize, work: impl FnOnce() -> R + Send) -> R {
    if bytes < BRIEF { work() } else { py.detach(work) }
}

/// Where memory lies, and what keeps it there.
enum Place {
    /// A buffer; it stays as long as this lives.
    Buffer(PyUntypedBuffer),
    /// A copy of a buffer that is not contiguous.
    Copy(Py<PyBytes>),
    /// Memory that the caller keeps during the call.
    Address(*mut u8, usize),
}

impl Place {
    fn start(&self) -> (*mut u8, usize) {
        match self {
            Self::Buffer(buffer) => (buffer.buf_ptr().cast(), buffer.len_bytes()),
            Self::Copy(bytes) => Python::attach(|py| {
                let bytes = bytes.as_bytes(py);
                (bytes.as_ptr().cast_mut(), bytes.len())
            }),
            Self::Address(address, bytes) => (*address, *bytes),
        }
    }
}

/// Memory that a call reads: an object with the buffer protocol, or a tuple of an address and a length.
///
/// A buffer that is not contiguous is copied, in the order of its indices.
pub(crate) struct Input(Place);

impl Input {
    /// The memory.
    pub(crate) fn bytes(&self) -> &[u8] {
        let (start, bytes) = self.0.start();
        if bytes == 0 {
            return &[];
        }
        // SAFETY: the start is not null and that many bytes lie behind it: the object whose buffer it is says so, or
        // the caller who gave the address. They stay at least as long as `self`, which holds the buffer. That nobody
        // writes to them meanwhile is what the module's documentation asks for.
        unsafe { slice::from_raw_parts(start, bytes) }
    }
}

impl<'py> FromPyObject<'_, 'py> for Input {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Some(place) = address(&object)? {
            return Ok(Self(place));
        }
        let buffer = buffer(&object)?;
        if buffer.is_c_contiguous() {
            return Ok(Self(Place::Buffer(buffer)));
        }
        let copy = PyMemoryView::from(&object)?.call_method0("tobytes")?;
        Ok(Self(Place::Copy(copy.cast_into::<PyBytes>()?.unbind())))
    }
}

/// Memory that a call writes: an object with the buffer protocol that can be written to and is contiguous, or a tuple
/// of an address and a length.
pub(crate) struct Output(Place);

impl Output {
    /// The memory, of which `inputs` must be no part.
    ///
    /// # Errors
    /// `OutputError` if one of them is.
    pub(crate) fn apart_from<'a>(&'a mut self, inputs: &[&[u8]]) -> PyResult<&'a mut [u8]> {
        let (start, bytes) = self.0.start();
        let (from, to) = (start.addr(), start.addr().saturating_add(bytes));
        for input in inputs {
            let range = input.as_ptr().addr()..input.as_ptr().addr().saturating_add(input.len());
            if from < range.end && range.start < to {
                return Err(Class::Output.error(
                    "the output overlaps the input in memory: give another output, or copy the input",
                ));
            }
        }
        if bytes == 0 {
            return Ok(&mut []);
        }
        // SAFETY: as in `Input::bytes`. The memory can be written to: the buffer says so, or the caller who gave the
        // address. `&mut self` and the comparison above keep it from being reached by another slice.
        Ok(unsafe { slice::from_raw_parts_mut(start, bytes) })
    }
}

impl<'py> FromPyObject<'_, 'py> for Output {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Some(place) = address(&object)? {
            return Ok(Self(place));
        }
        let buffer = buffer(&object)?;
        if buffer.readonly() {
            return Err(Class::Output.error(
                "the output is read-only: give memory that can be written to, such as a bytearray",
            ));
        }
        if !buffer.is_c_contiguous() {
            return Err(Class::Output.error("the output is not contiguous: give one that is"));
        }
        Ok(Self(Place::Buffer(buffer)))
    }
}

/// Memory that is read after the call that named it has returned, and the object that keeps it.
pub(crate) struct Lent {
    address: usize,
    bytes: usize,
    _keeper: Py<PyAny>,
}

impl Lent {
    /// So many bytes at an address, which belong to `keeper`.
    ///
    /// # Errors
    /// `OverflowError` if no memory can be there.
    pub(crate) fn new(address: usize, bytes: usize, keeper: Py<PyAny>) -> PyResult<Self> {
        let fits = isize::try_from(bytes).is_ok() && address.checked_add(bytes).is_some();
        if !fits || (address == 0 && bytes > 0) {
            return Err(PyOverflowError::new_err("no memory has this address and length"));
        }
        Ok(Self { address, bytes, _keeper: keeper })
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        if self.bytes == 0 {
            return &[];
        }
        // SAFETY: the caller of `new` gave the address of so many bytes of the object that is kept here, so they live
        // as long as `self`. `huffwire/distributed` changes them only after it was told that they are read no more.
        unsafe {
            slice::from_raw_parts(std::ptr::with_exposed_provenance(self.address), self.bytes)
        }
    }
}

fn buffer(object: &Borrowed<'_, '_, PyAny>) -> PyResult<PyUntypedBuffer> {
    PyUntypedBuffer::get(object).map_err(|cause| {
        let name = object.get_type().fully_qualified_name();
        let name = name.map_or_else(|_| "object".to_owned(), |name| name.to_string());
        let error = Class::Unsupported.error(format!(
            "a {name} gives no access to its bytes ({cause}): pass bytes, a bytearray, a memoryview or an array; for \
             tensors there are huffwire.numpy and huffwire.torch"
        ));
        error.set_cause(object.py(), Some(cause));
        error
    })
}

/// The memory that a tuple of an address and a length names.
fn address(object: &Borrowed<'_, '_, PyAny>) -> PyResult<Option<Place>> {
    let Ok(tuple) = object.cast::<PyTuple>() else { return Ok(None) };
    let (address, bytes): (usize, usize) = tuple.extract()?;
    let fits = isize::try_from(bytes).is_ok() && address.checked_add(bytes).is_some();
    if !fits || (address == 0 && bytes > 0) {
        return Err(PyOverflowError::new_err("no memory has this address and length"));
    }
    Ok(Some(Place::Address(std::ptr::with_exposed_provenance_mut(address), bytes)))
}

/// A new object `bytes` of this length, written by `fill` (without the interpreter lock if it is not short).
pub(crate) fn new_bytes<'py, E: Send>(
    py: Python<'py>,
    length: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<(), E> + Send,
    error: impl FnOnce(E) -> PyErr,
) -> PyResult<Bound<'py, PyBytes>> {
    let none = || {
        Class::OutOfMemory
            .error(format!("{length} bytes are needed, and there is no memory for them"))
    };
    let size = isize::try_from(length).map_err(|_| none())?;
    // SAFETY: with a null pointer the function makes an object with room for `size` bytes, or fails with an exception
    // set; either is what `from_owned_ptr_or_err` takes.
    let object = unsafe {
        let object = ffi::PyBytes_FromStringAndSize(std::ptr::null::<c_char>(), size);
        Bound::from_owned_ptr_or_err(py, object)
    };
    let object = object.map_err(|_| none())?;
    let bytes = object.cast_into::<PyBytes>()?;
    // SAFETY: the object is new and only this function knows it, so nobody else reads or writes its bytes, with or
    // without the interpreter lock. There are `length` of them, allocated outside of Rust.
    let memory = unsafe { slice::from_raw_parts_mut(bytes.as_bytes().as_ptr().cast_mut(), length) };
    work(py, length, || fill(memory)).map_err(error)?;
    Ok(bytes)
}
