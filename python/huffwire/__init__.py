"""Lossless compression of machine-learning tensors with Huffman codebooks fixed in advance.

>>> import huffwire
>>> message = huffwire.encode(bytes(1 << 20), "bf16")
>>> huffwire.decode(message) == bytes(1 << 20)
True

Arrays and tensors are encoded by `huffwire.numpy` and `huffwire.torch`, which have to be imported by name.
`huffwire.encode_delta` encodes what changed in a tensor that the receiver has, and `huffwire.sync` keeps weights in step by that.
Collectives are coded by `huffwire.distributed`; `huffwire.observe` tells what that would save.
"""

from huffwire import _errors
from huffwire._analysis import Analysis, analyze
from huffwire._buffers import decode, decode_into, encode, encode_into, inspect, max_encoded_size
from huffwire._calibrate import Calibration, KindReport, calibrate, kind_of
from huffwire._deltas import (
    PreparedDelta,
    apply_delta,
    content_hash,
    decode_delta,
    delta_changes,
    encode_delta,
    inspect_delta,
    prepare_delta,
)
from huffwire._errors import *  # noqa: F403 (the exceptions, all of them)
from huffwire._files import safe_open
from huffwire._huffwire import (
    Binding,
    Codebook,
    Codebooks,
    DeltaBlock,
    DeltaInfo,
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
    "DeltaBlock",
    "DeltaInfo",
    "KindReport",
    "MessageHeader",
    "PreparedDelta",
    "__version__",
    "analyze",
    "apply_delta",
    "calibrate",
    "content_hash",
    "decode",
    "decode_delta",
    "decode_into",
    "default_threads",
    "delta_changes",
    "encode",
    "encode_delta",
    "encode_into",
    "inspect",
    "inspect_delta",
    "kind_of",
    "max_encoded_size",
    "platform",
    "prepare_delta",
    "safe_open",
]


def __getattr__(name: str) -> object:
    # It needs torch, which others need not have.
    if name == "observe":
        from huffwire._observe import observe

        return observe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
