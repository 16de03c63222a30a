"""Compiled kernels on disk, so that a process need not compile what another one has compiled.

The cache only saves time. Where it cannot be read or written, or a file in it is damaged, kernels are compiled anew.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

_DIGEST = hashlib.sha256
_DIGEST_BYTES = _DIGEST().digest_size


def folder() -> Path | None:
    """Where compiled kernels are kept: HUFFWIRE_CACHE, or a folder in the user's cache; None for nowhere."""
    own = os.environ.get("HUFFWIRE_CACHE")
    if own is not None:
        return Path(os.path.expanduser(own)) / "kernels" if own else None
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # As the specification of these folders wants.
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            return None
        base = os.path.join(home, ".cache")
    return Path(base) / "huffwire" / "kernels"


def kept(key: Iterable[str], make: Callable[[], bytes]) -> bytes:
    """What was made before from the same key, or else what is made now.

    Args:
        key: All that the result depends on.
        make: Makes the result.
    """
    place = folder()
    if place is None:
        return make()
    path = place / f"{_name(key)}.cubin"
    content = _read(path)
    if content is None:
        content = make()
        _write(path, content)
    return content


def _name(key: Iterable[str]) -> str:
    digest = _DIGEST()
    for part in key:
        data = part.encode()
        # With lengths, so that no two keys make the same bytes.
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


def _read(path: Path) -> bytes | None:
    """The content of a file; None if there is none, or it is not what was written."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    return content if content and _DIGEST(content).digest() == digest else None


def _write(path: Path, content: bytes) -> None:
    """Writes a file that appears when it is complete."""
    partial = None
    try:
        # Nobody else may put code there that this user would run.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
        with os.fdopen(handle, "wb") as file:
            file.write(_DIGEST(content).digest() + content)
        os.replace(partial, path)
    except OSError:
        if partial is not None:
            with suppress(OSError):
                os.unlink(partial)
