"""Arrays of NumPy: the names of their types, and their memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from huffwire._errors import OutputError, UnsupportedError

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

# huffwire's name of each element type that NumPy has, by NumPy's.
_OF_NUMPY = {
    "float16": "f16",
    "float32": "f32",
    "float64": "f64",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "uint8": "u8",
    "uint16": "u16",
    "uint32": "u32",
    "uint64": "u64",
    "bool": "bool",
    "complex64": "complex64",
    "complex128": "complex128",
}
# The same of those that ml_dtypes has.
_OF_ML_DTYPES = {
    "bfloat16": "bf16",
    "float8_e4m3fn": "e4m3",
    "float8_e5m2": "e5m2",
    "float8_e4m3fnuz": "e4m3fnuz",
    "float8_e5m2fnuz": "e5m2fnuz",
    "float8_e8m0fnu": "e8m0",
    "float6_e3m2fn": "e3m2",
    "float6_e2m3fn": "e2m3",
    "complex32": "complex32",
}
_NAMES = _OF_NUMPY | _OF_ML_DTYPES
_NUMPY_NAMES = {name: theirs for theirs, name in _NAMES.items()}


def _name(dtype: np.dtype[Any]) -> str:
    name = _NAMES.get(dtype.name)
    if name is None:
        raise UnsupportedError(
            f"huffwire has no element type for NumPy's {dtype}: encode a view of it as integers of the "
            "same size, such as array.view('uint8')"
        )
    return name


def _dtype(name: str) -> np.dtype[Any]:
    theirs = _NUMPY_NAMES.get(name)
    if theirs is None:
        raise UnsupportedError(
            f"NumPy has no type for elements of {name}: huffwire.decode returns their bytes"
        )
    if theirs in _OF_NUMPY:
        return np.dtype(theirs)
    try:
        import ml_dtypes

        dtype: np.dtype[Any] = np.dtype(vars(ml_dtypes)[theirs])
        return dtype
    except (ImportError, KeyError):
        raise UnsupportedError(
            f"elements of {name} need the package ml_dtypes, a version with {theirs}: "
            "pip install --upgrade ml_dtypes"
        ) from None


def _source(array: Array) -> tuple[Any, str]:
    """The bytes of an array that is encoded, and huffwire's name of its type."""
    if not isinstance(array, (np.ndarray, np.generic)) or isinstance(array, np.ma.MaskedArray):
        raise UnsupportedError(
            f"{type(array).__name__}: give a numpy.ndarray; of a masked array encode data and mask apart"
        )
    array = np.asarray(array)
    name = _name(array.dtype)
    if not array.dtype.isnative:
        array = array.byteswap().view(array.dtype.newbyteorder("="))
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8), name


def _target(array: Array) -> tuple[Any, str]:
    """The bytes of an array that is decoded into, and huffwire's name of its type."""
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise OutputError(f"{type(array).__name__}: give a numpy.ndarray to decode into")
    name = _name(array.dtype)
    if not array.dtype.isnative:
        raise OutputError(f"the output has the other byte order ({array.dtype.str}): give a native one")
    if not array.flags.c_contiguous:
        raise OutputError("the output is not contiguous (in C order): give one that is, and copy from it")
    return np.asarray(array).reshape(-1).view(np.uint8), name
