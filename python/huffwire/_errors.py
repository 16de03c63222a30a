"""The exceptions of huffwire. The compiled part finds them here by their names."""

__all__ = [
    "ChainError",
    "CodebookError",
    "ContextError",
    "DamagedError",
    "DeviceError",
    "Error",
    "ExistsError",
    "FileError",
    "LayoutError",
    "LimitError",
    "LockedError",
    "MismatchError",
    "MissingBaseError",
    "MissingFileError",
    "MissingKeysError",
    "NoSuchTensorError",
    "OptionError",
    "OutOfMemoryError",
    "OutputError",
    "QuantizeError",
    "SharedStorageError",
    "UnsupportedError",
    "VersionError",
    "WrongBaseError",
    "WrongContextError",
]


class Error(Exception):
    """Everything that huffwire raises for bad data and bad arguments. The text says what to do."""


class DamagedError(Error):
    """The data are cut short, changed, or nothing that huffwire wrote."""


class VersionError(Error):
    """The data were written by a newer version of huffwire."""


class CodebookError(Error):
    """The codebooks of the data are not at hand, or what was given holds no valid codebooks."""


class ContextError(Error):
    """A message has a context and none was given, or it has none and one was given."""


class WrongContextError(ContextError, DamagedError):
    """A message belongs to another context than the one given, or its header is damaged."""


class MismatchError(Error, ValueError):
    """The dtype, shape, length or kind of the data is not what the caller expects."""


class MissingBaseError(MismatchError):
    """A file holds deltas, and the base that they were made for was not given."""


class WrongBaseError(MismatchError):
    """A delta was made for another base than the one at hand, or was applied already. Nothing was changed."""


class ChainError(Error, LookupError):
    """A version cannot be reached from what is held: versions in between are gone."""


class LockedError(Error, RuntimeError):
    """Another publisher has the folder, or another subscriber the cache."""


class OutputError(Error, ValueError):
    """An output cannot take the data: its size, dtype or device is wrong, it is read-only or frozen, it is
    not contiguous, or it overlaps the input."""


class LimitError(Error, ValueError):
    """The data are larger than ``max_size``, or than a message may be."""


class UnsupportedError(Error, TypeError):
    """A tensor, an object or an element type that cannot be coded."""


class LayoutError(UnsupportedError, ValueError):
    """A tensor that is to be saved is not contiguous."""


class SharedStorageError(UnsupportedError, RuntimeError):
    """Tensors that are to be saved share memory."""


class MissingKeysError(Error, RuntimeError):
    """A file lacks tensors of a model, or has tensors that the model does not have."""


class OptionError(Error, ValueError):
    """An option has a value that it cannot have."""


class QuantizeError(Error, ValueError):
    """A gradient that a quantizer has no values for, such as one with a NaN."""


class OutOfMemoryError(Error, MemoryError):
    """There is no memory for what the data hold, or say that they hold."""


class DeviceError(Error, RuntimeError):
    """A GPU cannot be used: there is no driver, the driver or the GPU is too old, or NVRTC is missing."""


class NoSuchTensorError(Error, KeyError):
    """A file has no tensor of that name."""

    def __str__(self) -> str:
        # KeyError shows its argument as a literal, with quotes around it.
        return Exception.__str__(self)


class FileError(Error, OSError):
    """The system refused to open, read or write a file."""


class MissingFileError(FileError, FileNotFoundError):
    """There is no such file."""


class ExistsError(FileError, FileExistsError):
    """The output file exists and must not be replaced."""


for _name in __all__:
    # People see them, and pickle finds them, as `huffwire.Error`.
    globals()[_name].__module__ = "huffwire"
