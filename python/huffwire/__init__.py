"""Lossless compression of machine-learning tensors with Huffman codebooks fixed in advance.

>>> import huffwire
>>> message = huffwire.encode(bytes(1 << 20), "bf16")
>>> huffwire.decode(message) == bytes(1 << 20)
True

Arrays and tensors are encoded by `huffwire.numpy` and `huffwire.torch`, which have to be imported by name.
Collectives are coded by `huffwire.distributed`; `huffwire.observe` tells what that would save.
"""

from huffwire import _errors
from huffwire._analysis import Analysis, analyze
from huffwire._buffers import decode, decode_into, encode, encode_into, inspect, max_encoded_size
from huffwire._calibrate import Calibration, KindReport, calibrate, kind_of
from huffwire._errors import *  # noqa: F403 (the exceptions, all of them)
from huffwire._files import safe_open
from huffwire._huffwire import (
    Binding,
    Codebook,
    Codebooks,
    MessageHeader,
    __version__,
    default_threads,
    platform,
)

__all__ = [
    *_errors.__all__,
    "Analysis",
    "Binding",
    "Calibration",
    "Codebook",
    "Codebooks",
    "KindReport",
    "MessageHeader",
    "__version__",
    "analyze",
    "calibrate",
    "decode",
    "decode_into",
    "default_threads",
    "encode",
    "encode_into",
    "inspect",
    "kind_of",
    "max_encoded_size",
    "platform",
    "safe_open",
]


def __getattr__(name: str) -> object:
    # It needs torch, which others need not have.
    if name == "observe":
        from huffwire._observe import observe

        return observe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
