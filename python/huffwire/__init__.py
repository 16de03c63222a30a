"""Lossless compression of machine-learning tensors with Huffman codebooks fixed in advance."""

from huffwire import _errors
from huffwire._errors import *  # noqa: F403 (the exceptions, all of them)
from huffwire._huffwire import Codebooks, __version__, default_threads

__all__ = [*_errors.__all__, "Codebooks", "__version__", "default_threads"]
