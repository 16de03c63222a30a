"""The manifest: which versions there are, in which files, and how one leads to the next."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from huffwire._deltas import content_hash
from huffwire._errors import ChainError, DamagedError, VersionError

MANIFEST = "manifest.json"
_FORMAT = 1
_LIMIT = 1 << 62
_HASH = re.compile(r"[0-9a-f]{32}")
_FILE = re.compile(r"v([0-9]{6,18})\.(keyframe|delta)\.hw")
# No manifest has more bytes.
MANIFEST_BYTES = 1 << 26


@dataclass(frozen=True)
class File:
    """A file of a version: its name, size and hash (XXH3-128 by blocks, `huffwire.content_hash` of its bytes)."""

    name: str
    bytes: int
    hash: str


@dataclass(frozen=True)
class Version:
    """A version: its tensors as a whole, what changed since the version before, or both.

    ``state`` is a hash over names, types, shapes and hashes of all tensors, see `state_of`.
    """

    number: int
    state: str
    keyframe: File | None
    delta: File | None
    base: int | None


class Plan(NamedTuple):
    """How to reach a version: from a keyframe, or from what is held if that is None; then through deltas."""

    keyframe: Version | None
    deltas: tuple[Version, ...]


@dataclass(frozen=True)
class Manifest:
    """The versions that can be reached, the oldest first, and the run of the publisher that made them."""

    run: str
    versions: tuple[Version, ...] = ()

    @property
    def latest(self) -> Version | None:
        """The newest version."""
        return self.versions[-1] if self.versions else None

    def with_version(self, version: Version, keep: int) -> Manifest:
        """The manifest with one more version, and without those that none of the newest ``keep`` ones need."""
        versions = (*self.versions, version)
        manifest = replace(self, versions=versions)
        needed: set[int] = set()
        for kept in versions[-keep:]:
            keyframe, deltas = manifest.plan(None, kept.number)
            needed.update(step.number for step in deltas)
            if keyframe is not None:
                needed.add(keyframe.number)
        return replace(self, versions=tuple(v for v in versions if v.number in needed))

    def files(self) -> set[str]:
        """The names of all files that versions consist of."""
        files = (file for v in self.versions for file in (v.keyframe, v.delta) if file is not None)
        return {file.name for file in files}

    def plan(self, held: int | None, target: int) -> Plan:
        """How to reach a version from the one that is held, or from nothing.

        Raises:
            ChainError: There is no way.
        """
        versions = {version.number: version for version in self.versions}
        # Deltas from what is held come first: they leave alone what does not change.
        deltas: list[Version] = []
        number: int | None = target
        while number is not None and number != held:
            version = versions.get(number)
            if version is None or version.delta is None:
                break
            deltas.append(version)
            number = version.base
        else:
            if number is not None:
                return Plan(None, tuple(reversed(deltas)))
        deltas = []
        number = target
        while number is not None and (version := versions.get(number)) is not None:
            if version.keyframe is not None:
                return Plan(version, tuple(reversed(deltas)))
            deltas.append(version)
            number = version.base
        there = f"{self.versions[0].number} to {self.versions[-1].number}" if self.versions else "none"
        raise ChainError(
            f"version {target} cannot be reached: a version before it, or its keyframe, is missing (there are: {there})"
        )

    def to_bytes(self) -> bytes:
        """One line of JSON, and a line with its hash."""
        body = {
            "format": _FORMAT,
            "run": self.run,
            "versions": [asdict(version) for version in self.versions],
        }
        return sealed(json.dumps(body))

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Reads a manifest.

        Raises:
            DamagedError: It is cut short, changed, or none.
            VersionError: A newer version of huffwire wrote it.
        """
        try:
            body = json.loads(unsealed(data, MANIFEST))
            if body["format"] != _FORMAT:
                raise VersionError(
                    f"{MANIFEST} has format {body['format']!r}, and this huffwire reads format {_FORMAT}: update it"
                )
            versions = tuple(map(_version, body["versions"]))
            run = body["run"]
            numbers = [version.number for version in versions]
            if not isinstance(run, str) or numbers != sorted(set(numbers)):
                raise ValueError("versions out of order")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedError(f"{MANIFEST} contradicts itself: {error}") from error
        return cls(run, versions)


def _version(fields: Mapping[str, Any]) -> Version:
    number, base, state = fields["number"], fields["base"], fields["state"]
    _check(type(number) is int and 0 <= number < _LIMIT, "number of a version")
    _check(base is None or (type(base) is int and 0 <= base < number), "base of a version")
    _check(isinstance(state, str) and _HASH.fullmatch(state) is not None, "state of a version")
    keyframe, delta = _file(fields["keyframe"]), _file(fields["delta"])
    _check((delta is None) == (base is None), "delta without base")
    return Version(number, state, keyframe, delta, base)


def _file(fields: Mapping[str, Any] | None) -> File | None:
    if fields is None:
        return None
    name, size, hash = fields["name"], fields["bytes"], fields["hash"]
    # A name must not lead out of the folder.
    _check(isinstance(name, str) and version_of(name) is not None, "name of a file")
    _check(type(size) is int and 0 < size < _LIMIT, "size of a file")
    _check(isinstance(hash, str) and _HASH.fullmatch(hash) is not None, "hash of a file")
    return File(name, size, hash)


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{what}")


def sealed(line: str) -> bytes:
    """A line of text, and a line with its hash."""
    data = line.encode()
    return data + b"\n" + content_hash(data, "u8").encode() + b"\n"


def unsealed(data: bytes, name: str) -> bytes:
    """The first of the two lines that `sealed` makes.

    Raises:
        DamagedError: The hash is another one.
    """
    line, _, check = data.partition(b"\n")
    if check != content_hash(line, "u8").encode() + b"\n":
        raise DamagedError(f"{name}: the hash is wrong: the file is damaged, or cut short")
    return line


def file_name(number: int, kind: str) -> str:
    """The name of the file of a version: its keyframe or its delta."""
    return f"v{number:06d}.{kind}.hw"


def version_of(name: str) -> int | None:
    """The number of the version to which a file with this name belongs; None if publishers give no such name."""
    match = _FILE.fullmatch(name)
    return None if match is None or name != file_name(int(match[1]), match[2]) else int(match[1])


def state_of(items: Sequence[tuple[str, str, Sequence[int], str]]) -> str:
    """The hash of a state: of the name, type, shape and `huffwire.content_hash` of all items, in order of names."""
    listed = sorted([name, dtype, list(shape), hash] for name, dtype, shape, hash in items)
    return content_hash(json.dumps(listed).encode(), "u8")
