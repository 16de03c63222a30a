"""Lossless compression of machine-learning tensors with Huffman codebooks fixed in advance."""

from huffwire import _errors
from huffwire._calibrate import Calibration, KindReport, calibrate, kind_of
from huffwire._errors import *  # noqa: F403 (the exceptions, all of them)
from huffwire._huffwire import Binding, Codebook, Codebooks, __version__, default_threads

__all__ = [
    *_errors.__all__,
    "Binding",
    "Calibration",
    "Codebook",
    "Codebooks",
    "KindReport",
    "__version__",
    "calibrate",
    "default_threads",
    "kind_of",
]
