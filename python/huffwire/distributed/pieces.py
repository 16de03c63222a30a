"""A piece: the part of a tensor that is one message of the process group.

A piece begins with a header of `HEADER` bytes. All numbers are little-endian.

| bytes | what |
|---|---|
| 4 | ``HWPC`` |
| 1 | version of this header |
| 1 | form of the payload: 0 raw, 1 a message of huffwire, 2 the text of a failure, 3 quantized values |
| 1 | number of the collective |
| 1 | stage of the collective |
| 8 | sequence number of the call |
| 8 | id of the codebooks, their generation; of quantized values, a hash of all that ranks must have alike |
| 16 | name of the element type |
| 8 | bytes of elements in the whole stream from the origin to the receiver in this stage |
| 4, 4 | index of the piece in the stream, and how many pieces the stream has |
| 4 | rank that the elements come from |
| 4 | bytes of elements in the piece |
| 4 | bytes of payload behind the header |
| 4 | CRC-32C of a payload that is raw or of quantized values |
| 4 | CRC-32 of the header before it |

The fields up to the bytes of elements are the piece's *place*. A coded payload has their CRC-32 as its context, so
that a message that was moved to another piece is not decoded.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from huffwire import _huffwire
from huffwire._errors import (
    CodebookError,
    DeviceError,
    Error,
    OptionError,
    OutOfMemoryError,
    UnsupportedError,
)
from huffwire._huffwire import Codebooks
from huffwire.distributed import on_device
from huffwire.distributed.errors import (
    DisagreementError,
    OutOfStepError,
    PeerError,
    PieceError,
)
from huffwire._tensors import _name

VERSION = 1
_MAGIC = b"HWPC"
RAW, CODED, FAILURE, QUANTIZED = 0, 1, 2, 3
_PLACE = struct.Struct("<4sBBBBQ8s16sQIIII")
_REST = struct.Struct("<III")
PLACE = _PLACE.size
HEADER = PLACE + _REST.size

# Collectives by their numbers in the header.
COLLECTIVES = (
    "all_gather",
    "reduce_scatter",
    "all_reduce",
    "all_to_all",
    "broadcast",
    "send",
    "refresh",
    "quantized_all_reduce",
    "settings",
)
_NUMBERS = {name: number for number, name in enumerate(COLLECTIVES)}

_NO_GENERATION = bytes(8)

# The most bytes of text in a piece that tells of a failure.
_REASON = 2000
# The least bytes of memory that a piece is received into: a failure may come in place of any piece, and gloo ends the
# process that has no room for it.
LEAST = HEADER + _REASON


def capacity(piece: int) -> int:
    """The most bytes of a piece with so many bytes of elements, whatever their type and values, and of a failure."""
    names = {codec_name(dtype) for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}
    return max(HEADER + max(_huffwire._max_encoded_size(name, piece) for name in names), LEAST)


def dtype_name(dtype: torch.dtype) -> bytes:
    """The name of an element type in a header."""
    return str(dtype).removeprefix("torch.").encode()[:16]


@functools.cache
def codec_name(dtype: torch.dtype) -> str:
    """huffwire's element type that elements of a type of torch are coded as; bytes, if there is none."""
    try:
        return _name(dtype)
    except UnsupportedError:
        return "u8"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece belongs: what its sender and its receiver both know beforehand.

    Attributes:
        collective, stage: Which collective, and which of its stages.
        sequence: The number of the call.
        dtype: The element type.
        stream: Bytes of elements in the whole stream.
        index, count: Which of the stream's pieces it is, and how many there are.
        origin: The rank that the elements come from.
        size: Bytes of elements in this piece; of a place that is told apart, a digest of what else ranks must agree on.
    """

    collective: str
    stage: int
    sequence: int
    dtype: torch.dtype
    stream: int
    index: int
    count: int
    origin: int
    size: int

    def pack(self, form: int, generation: bytes) -> bytes:
        return _PLACE.pack(
            _MAGIC,
            VERSION,
            form,
            _NUMBERS[self.collective],
            self.stage,
            self.sequence & 0xFFFF_FFFF_FFFF_FFFF,
            generation if form in (CODED, QUANTIZED) else _NO_GENERATION,
            dtype_name(self.dtype),
            self.stream,
            self.index,
            self.count,
            self.origin,
            self.size,
        )


def _address(tensor: torch.Tensor, start: int = 0) -> int:
    return tensor.data_ptr() + start


class Observer(Protocol):
    """Takes notice of the elements of coded pieces, in no time that matters."""

    @property
    def observe(self) -> Callable[[tuple[int, int], str], bool]:
        """Gets the address and the size of the elements, and the name of their type. Returns whether `due` is to be
        called."""

    def due(self) -> None:
        """Called where `observe` said so."""


class Coder:
    """Writes pieces and reads them, with the codebooks of a group.

    Args:
        codebooks: The codebooks; None for the built-in ones.
        level: As for `huffwire.encode`.
        observer: Takes notice of the elements of each coded piece, written or read.
    """

    def __init__(
        self,
        codebooks: Codebooks | None,
        level: str = "fast",
        observer: Observer | None = None,
    ) -> None:
        self._codebooks = codebooks
        self._level = level
        self._observer = observer
        self.generation = bytes.fromhex((codebooks or Codebooks.builtin()).id)

    def write(self, place: Place, elements: torch.Tensor, coded: bool, buffer: torch.Tensor) -> int:
        """Writes a piece to the start of a buffer.

        Args:
            place: Where the piece belongs.
            elements: A contiguous tensor on the processor, of ``place.size`` bytes.
            coded: Whether they are coded.
            buffer: A contiguous tensor of torch.uint8, of at least `capacity` bytes.

        Returns:
            The length of the piece in bytes.
        """
        size, room = place.size, buffer.numel() - HEADER
        source, target = (_address(elements), size), _address(buffer, HEADER)
        form, checksum = (CODED, 0) if coded else (RAW, 0)
        head = place.pack(form, self.generation)
        if coded:
            name = codec_name(place.dtype)
            length = _huffwire._encode_into(
                source,
                name,
                (target, room),
                self._level,
                "auto",
                self._codebooks,
                True,
                1,
                zlib.crc32(head),
            )
            if self._observer is not None and self._observer.observe(source, name):
                self._observer.due()
        else:
            length = size
            checksum = _huffwire._copy_checked(source, (target, size))
        _seal(head, length, checksum, buffer)
        return HEADER + length

    @property
    def can_code_there(self) -> bool:
        """Whether the devices of tensors can code for this coder: their kernels have one level, and nobody observes."""
        return self._level == "fast" and self._observer is None

    def write_there(self, place: Place, elements: torch.Tensor, buffer: torch.Tensor) -> int:
        """Writes a coded piece, which the device of the elements encodes. Otherwise as `write`."""
        head = place.pack(CODED, self.generation)
        length = on_device.encode_into(elements, self._codebooks, zlib.crc32(head), buffer[HEADER:])
        if length is None:
            return self.write(place, elements.cpu(), True, buffer)
        _seal(head, length, 0, buffer)
        return HEADER + length

    def head(self, place: Place, elements: torch.Tensor) -> bytes:
        """The header of a raw piece whose payload are the elements, where they lie."""
        checksum = _huffwire._checksum((_address(elements), place.size))
        return _sealed(place.pack(RAW, self.generation), place.size, checksum)

    def write_failure(self, place: Place, reason: str, buffer: torch.Tensor) -> int:
        """Writes a piece that tells the receiver that the sender failed. Returns its length."""
        text = reason.encode(errors="replace")[: min(_REASON, buffer.numel() - HEADER)]
        checksum = _huffwire._copy_checked(text, (_address(buffer, HEADER), len(text)))
        _seal(place.pack(FAILURE, self.generation), len(text), checksum, buffer)
        return HEADER + len(text)

    def read(self, place: Place, sender: int, buffer: torch.Tensor, elements: torch.Tensor) -> int:
        """Reads a piece from the start of a buffer.

        Args:
            place: Where the piece must belong.
            sender: The rank that it was received from, for messages.
            buffer: The memory that the piece was received into.
            elements: A contiguous tensor on the processor, of ``place.size`` bytes, that is written.

        Returns:
            The length of the piece in bytes.

        Raises:
            PieceError: The piece was changed, or is no piece.
            OutOfStepError: It belongs to another call, or another place in it.
            DisagreementError: The sender has a tensor of another shape or type, or another version of huffwire.
            CodebookError: The sender used other codebooks.
            PeerError: The sender failed, and says so.
        """
        form, length, checksum, head = self._open(place, sender, buffer)
        source, target = (_address(buffer, HEADER), length), (_address(elements), place.size)
        if form == RAW:
            if length != place.size:
                raise damaged(place, sender, f"a payload of {length} bytes for {place.size} bytes")
            if _huffwire._copy_checked(source, target) != checksum:
                raise damaged(place, sender, "its payload has another checksum")
        else:
            name = codec_name(place.dtype)
            try:
                _huffwire._decode_into(
                    source,
                    name,
                    target,
                    self._codebooks,
                    1,
                    zlib.crc32(head),
                    None,
                )
            except Error as error:
                raise damaged(place, sender, str(error)) from error
            if self._observer is not None and self._observer.observe(target, name):
                self._observer.due()
        return HEADER + length

    def read_there(
        self, place: Place, sender: int, buffer: torch.Tensor, elements: torch.Tensor
    ) -> int:
        """Reads a piece into elements on a device, which decodes it if it is coded. Otherwise as `read`."""
        form, length, checksum, head = self._open(place, sender, buffer)
        payload = buffer[HEADER : HEADER + length]
        if form == RAW:
            if length != place.size:
                raise damaged(place, sender, f"a payload of {length} bytes for {place.size} bytes")
            if _huffwire._checksum((_address(buffer, HEADER), length)) != checksum:
                raise damaged(place, sender, "its payload has another checksum")
            elements.view(torch.uint8).copy_(payload)
        else:
            try:
                on_device.decode_into(payload, self._codebooks, zlib.crc32(head), elements)
            except (DeviceError, OutOfMemoryError):
                raise  # The sender has nothing to do with it.
            except Error as error:
                raise damaged(place, sender, str(error)) from error
        return HEADER + length

    def seal_quantized(
        self, place: Place, generation: bytes, length: int, checksum: int, buffer: torch.Tensor
    ) -> int:
        """Writes the header before a payload of quantized values that lies in the buffer already.

        Args:
            place: Where the piece belongs.
            generation: 8 bytes: a hash of all that sender and receiver must have alike.
            length, checksum: Bytes of the payload, and their CRC-32C.
            buffer: As for `write`; the payload begins at `HEADER`.

        Returns:
            The length of the piece in bytes.
        """
        _seal(place.pack(QUANTIZED, generation), length, checksum, buffer)
        return HEADER + length

    def open_quantized(
        self, place: Place, generation: bytes, sender: int, buffer: torch.Tensor
    ) -> tuple[tuple[int, int], int]:
        """Checks the header of a piece of quantized values.

        Returns:
            Address and length of the payload, and its CRC-32C, which is not checked yet.

        Raises:
            Error: As `read`. DisagreementError if the sender has another generation.
        """
        _, length, checksum, _ = self._open(place, sender, buffer, generation)
        return (_address(buffer, HEADER), length), checksum

    def raw_checksum(self, place: Place, sender: int, buffer: torch.Tensor) -> int | None:
        """The checksum of the payload, if the header of a piece is that of a raw one at this place."""
        head, fields, length, checksum = _head(place, sender, buffer)
        matches = fields[2] == RAW and length == place.size
        if matches and head[: _PLACE.size] == place.pack(RAW, self.generation):
            return checksum
        return None

    def check_raw(self, place: Place, sender: int, elements: torch.Tensor, checksum: int) -> None:
        """Compares the payload of a raw piece, which was received to its place, with its checksum.

        Raises:
            PieceError: It was changed.
        """
        if _huffwire._checksum((_address(elements), place.size)) != checksum:
            raise damaged(place, sender, "its payload has another checksum")

    def length(self, place: Place, sender: int, buffer: torch.Tensor) -> int:
        """The length in bytes of a piece that was received, after its header was checked as `read` does."""
        return HEADER + self._open(place, sender, buffer)[1]

    def check_place(self, place: Place, form: int, sender: int, packed: bytes) -> None:
        """Compares the place that a rank tells, apart from a piece, with the one that is expected.

        Raises:
            Error: As `read`.
        """
        fields = _fields(place, sender, packed)
        if fields[2] == FAILURE:
            raise PeerError(f"rank {sender} failed: its own error says why")
        if packed == place.pack(form, self.generation):
            return
        if packed in [place.pack(other, self.generation) for other in (RAW, CODED)]:
            raise DisagreementError(
                f"{place.collective}: of rank {sender} and this rank, one codes its tensor and the other does not"
            )
        if packed[: _PLACE.size - 4] == place.pack(form, self.generation)[:-4]:
            # Only the last field differs, in which places that are told apart have a digest.
            raise DisagreementError(
                f"{place.collective}: rank {sender} and this rank expect tensors of other sizes from the ranks: give all "
                "ranks the same sizes"
            )
        raise self._difference(place, sender, fields)

    def context(self, place: Place) -> int:
        """The context of a coded payload at a place."""
        return zlib.crc32(place.pack(CODED, self.generation))

    def _open(
        self, place: Place, sender: int, buffer: torch.Tensor, quantized: bytes | None = None
    ) -> tuple[int, int, int, bytes]:
        """Checks a header: of quantized values of this generation, or of elements."""
        head, fields, length, checksum = _head(place, sender, buffer)
        form = fields[2]
        if form == FAILURE:
            text = ctypes.string_at(_address(buffer, HEADER), length).decode(errors="replace")
            raise PeerError(f"rank {sender} failed: {text}")
        if form not in (RAW, CODED, QUANTIZED):
            raise damaged(place, sender, f"a payload of unknown form {form}")
        own = self.generation if form != QUANTIZED or quantized is None else quantized
        expected = place.pack(form, own)
        if head[: _PLACE.size] != expected:
            raise self._difference(place, sender, fields)
        if (form == QUANTIZED) != (quantized is not None):
            raise damaged(place, sender, f"a payload of form {form}, which does not belong here")
        return form, length, checksum, expected

    def _difference(self, place: Place, sender: int, fields: tuple[Any, ...]) -> Error:
        """Why a piece whose header is intact is not the one that is expected."""
        (
            _,
            _,
            form,
            number,
            stage,
            sequence,
            generation,
            dtype,
            stream,
            index,
            count,
            origin,
            size,
        ) = fields
        name = COLLECTIVES[number] if number < len(COLLECTIVES) else f"collective {number}"
        if (name, sequence) != (place.collective, place.sequence):
            return OutOfStepError(
                f"rank {sender} sent a piece of call {sequence} ({name}) while this rank is in call "
                f"{place.sequence} ({place.collective}): all ranks of a group must call the same collectives in "
                "the same order"
            )
        theirs = dtype.rstrip(b"\0").decode(errors="replace")
        ours = dtype_name(place.dtype).decode()
        if theirs != ours:
            return DisagreementError(
                f"{place.collective}: rank {sender} has a tensor of {theirs}, and this rank one of {ours}"
            )
        if (stream, count) != (place.stream, place.count):
            return DisagreementError(
                f"{place.collective}: rank {sender} sends {stream} bytes in {count} pieces, and this rank "
                f"expects {place.stream} bytes in {place.count}: the shapes of their tensors differ"
            )
        if form == CODED and generation != self.generation:
            return CodebookError(
                f"{place.collective}: rank {sender} codes with the codebooks {generation.hex()}, and this rank "
                f"has {self.generation.hex()}: all ranks must change their codebooks at the same call, by "
                "huffwire.distributed.setup(group, codebooks=...) on all of them"
            )
        found = f"stage {stage}, piece {index} of rank {origin}, {size} bytes"
        if form == QUANTIZED and (stage, index, origin, size) == (
            place.stage,
            place.index,
            place.origin,
            place.size,
        ):
            return DisagreementError(
                f"{place.collective}: rank {sender} quantizes in another way than this rank: their QuantizedState "
                "differs in a setting, the seed, the step or the codebooks; give all ranks the same, and load all "
                "of them from the same checkpoint"
            )
        wanted = (
            f"stage {place.stage}, piece {place.index} of rank {place.origin}, {place.size} bytes"
        )
        return OutOfStepError(f"rank {sender} sent {found} while this rank expects {wanted}")


def _head(
    place: Place, sender: int, buffer: torch.Tensor
) -> tuple[bytes, tuple[Any, ...], int, int]:
    """The header of a piece: its bytes, the fields of its place, and length and checksum of the payload. The header is
    intact, and the buffer has room for the payload."""
    head = ctypes.string_at(_address(buffer), HEADER)
    length, checksum, seal = _REST.unpack_from(head, _PLACE.size)
    fields = _fields(place, sender, head)
    if zlib.crc32(head[: HEADER - 4]) != seal:
        raise damaged(place, sender, "its header has another checksum")
    if length > buffer.numel() - HEADER:
        raise damaged(place, sender, f"a payload of {length} bytes")
    return head, fields, length, checksum


def _fields(place: Place, sender: int, head: bytes) -> tuple[Any, ...]:
    """The fields of a place, which bytes begin with."""
    fields = _PLACE.unpack_from(head)
    if fields[0] != _MAGIC:
        raise damaged(
            place, sender, "no piece of huffwire begins so: foreign, or changed on its way"
        )
    # The place of the version stays in all versions, that of the checksum may not.
    if fields[1] != VERSION:
        raise DisagreementError(
            f"rank {sender} sends pieces of version {fields[1]}, and this rank reads version {VERSION}: "
            "install the same version of huffwire on all ranks"
        )
    return fields


def payload(place: Place, sender: int, buffer: torch.Tensor) -> int:
    """The bytes of payload behind the header of a piece, of which only the header was received yet.

    Raises:
        PieceError: The header was changed, or the buffer has no room for the payload.
        DisagreementError: The sender has another version of huffwire.
    """
    return _head(place, sender, buffer)[2]


def raise_failure(sender: int, begin: bytes) -> None:
    """Raises PeerError if bytes are an intact piece by which a rank tells that it failed."""
    if len(begin) < HEADER or begin[:4] != _MAGIC or begin[4] != VERSION or begin[5] != FAILURE:
        return
    length, _, seal = _REST.unpack_from(begin, _PLACE.size)
    if zlib.crc32(begin[: HEADER - 4]) == seal and length <= len(begin) - HEADER:
        text = begin[HEADER : HEADER + length].decode(errors="replace")
        raise PeerError(f"rank {sender} failed: {text}")


def start(buffer: torch.Tensor, length: int) -> bytes:
    """The first bytes of memory."""
    return ctypes.string_at(_address(buffer), length)


def sequence(buffer: torch.Tensor) -> int:
    """The sequence number in the header of a piece."""
    return int(_PLACE.unpack_from(ctypes.string_at(_address(buffer), _PLACE.size))[5])


def _seal(head: bytes, length: int, checksum: int, buffer: torch.Tensor) -> None:
    """Writes the header of a piece."""
    ctypes.memmove(_address(buffer), _sealed(head, length, checksum), HEADER)


def _sealed(head: bytes, length: int, checksum: int) -> bytes:
    whole = head + struct.pack("<II", length, checksum)
    return whole + zlib.crc32(whole).to_bytes(4, "little")


def damaged(place: Place, sender: int, what: str) -> PieceError:
    """The error of a piece that was changed on its way."""
    where = f"{place.collective}, call {place.sequence}, piece {place.index} of rank {place.origin}"
    return PieceError(f"a damaged piece from rank {sender} ({where}): {what}")


def checked_piece(size: int) -> int:
    """The bytes of elements in a piece, as a caller wants them.

    Raises:
        OptionError: They are no multiple of 16 from 1 KiB to 64 MiB.
    """
    if (
        isinstance(size, bool)
        or not isinstance(size, int)
        or not 1024 <= size <= 64 << 20
        or size % 16
    ):
        raise OptionError(f"piece={size!r}: give a multiple of 16 bytes from 1024 to {64 << 20}")
    return size
