"""Text to train on, as bytes: what is found on the machine. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import peers
from gradients import data

_LEAST = 100_000


def load(paths: Sequence[Path]) -> tuple[np.ndarray, str]:
    """The bytes of these files, or of the modules of Python's library; and what they are."""
    if paths:
        source = ", ".join(path.name for path in paths)
    else:
        paths, source = data.found_text()
    try:
        text = np.frombuffer(b"\n".join(path.read_bytes() for path in paths), np.uint8)
    except OSError as error:
        raise peers.Failure(f"{error.filename}: {error.strerror}") from None
    if len(text) < _LEAST:
        raise peers.Failure(f"{source}: {len(text)} bytes are too few to train on; {_LEAST} are needed")
    return text, f"{source}: {len(text)} bytes"
