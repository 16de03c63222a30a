"""Decoding a message by kernels (kernels/decode_*.cuh).

The host only launches: it does not wait for the device, and never sees the message. So it does not know how many blocks
there are. It gives memory for as many as there can be; the first kernel finds out, and the others read what it found.
"""

from __future__ import annotations

import struct

from huffwire import _errors
from huffwire.cuda._device import U32, U64, Device, Span
from huffwire.cuda._types import BY_NUMBER

_HEADER = 16
_SMALLEST_BLOCK = 1 << 10
_PLAN = struct.calcsize("<12I2Q")
_PLAN_BLOCK = struct.calcsize("<Q3I")
_STATUS = struct.calcsize("<Q2I")
WHOLE = -1
"""What a status begins with if the message was whole, as a number of 64 bits with a sign."""

_PLAN_THREADS = 1024
_PLAN_THREADS_FOR_FEW = 128
# By the type that a type is coded as: the kernels that decode its common blocks, if there are any. The first one sees all
# blocks, and passes those on that are for another one.
_BF16 = ("decode_bf16", "decode_bf16_long", "decode_bf16_apart")
_F16 = ("decode_f16", "decode_f16_long", "decode_f16_apart")
_F32 = ("decode_f32", "decode_f32_long", "decode_f32_apart")
_F8 = ("decode_f8", "decode_f8_long")
_FAST = {"bf16": _BF16, "f16": _F16, "f32": _F32, "e4m3": _F8, "e5m2": _F8}
# Warps of a CTA, and how many CTAs a multiprocessor runs at once, at most.
_FAST_WARPS, _FAST_CTAS = 4, 8
_ANY_WARPS, _ANY_CTAS = 4, 5


def decode(
    device: Device,
    tables: Span,
    message: Span,
    out: Span,
    dtype: int,
    units: int,
    *,
    length: Span | None = None,
    context: int | None = None,
) -> Span:
    """Launches the decoding of a message of kind 0.

    Args:
        device: Where to.
        tables: What `_tables.tables` makes of the codebook sets that messages may name.
        message: The message, or memory that begins with it. At any address.
        out: Where the elements go: exactly as many bytes as they have, at an address that is a multiple of a unit's
            bytes (packed types: at any).
        dtype: Number of the element type that is expected (section 2 of docs/format.md).
        units: How many units are expected.
        length: A `u64` on the device, the length of the message; None if it is all of `message`.
        context: The context that is expected.

    Returns:
        The status, for `check` once the device has come so far. If that raises, the output holds anything.

    Raises:
        LimitError: More units than a message may have.
        MismatchError: Half a complex number.
        OutputError: The output cannot take the elements.
        OptionError: A context that no message can have.
    """
    kind = BY_NUMBER[dtype]
    unit = kind.unit
    if not 0 <= units < 1 << 32:
        raise _errors.LimitError(f"{units} units are more than a message may have, {(1 << 32) - 1}")
    if kind.is_pair and units % 2:
        raise _errors.MismatchError(f"{units} units are no whole number of complex numbers, which have two each")
    if context is not None and not 0 <= context < 1 << 64:
        raise _errors.OptionError(f"context {context}: give a number from 0 to 2^64 - 1")
    if out.size != units * unit:
        raise _errors.OutputError(f"the output has {out.size} bytes where the elements have {units * unit}")
    if unit != 3 and out.address % unit:
        raise _errors.OutputError(
            f"the output begins at an address that is no multiple of {unit} bytes: copy it to memory of its own"
        )
    # Each block has 4 bytes of the table and one byte, at least.
    of_elements = -(-units // (_SMALLEST_BLOCK // unit))
    capacity = min(of_elements, max(message.size - _HEADER, 0) // 5)
    status = device.empty(_STATUS)
    plan = device.empty(_PLAN + _PLAN_BLOCK * (capacity + 1))
    threads = _PLAN_THREADS if capacity > 4 * _PLAN_THREADS_FOR_FEW else _PLAN_THREADS_FOR_FEW
    device.launch(
        "decode_plan", 1, threads,
        message, U64(message.size), length or U64(0), U64(context or 0), U32(context is not None), tables, U32(dtype),
        U32(units), plan, U64(capacity), status,
    )  # fmt: skip
    if not capacity:
        return status

    def ctas(warps: int, at_once: int) -> int:
        return min(-(-capacity // warps), device.multiprocessors * at_once)

    # Two bytes are stored at a time where units have one.
    fast = () if unit == 1 and out.address % 2 else _FAST.get(kind.coded_as, ())
    for kernel in fast:
        device.launch(kernel, ctas(_FAST_WARPS, _FAST_CTAS), 32 * _FAST_WARPS, message, tables, out, plan, status)
    device.launch(
        "decode_any", ctas(_ANY_WARPS, _ANY_CTAS), 32 * _ANY_WARPS,
        message, tables, out, plan, status, U32(bool(fast)),
    )  # fmt: skip
    return status


_CLASSES = {
    3: _errors.VersionError,
    5: _errors.ContextError,
    6: _errors.ContextError,
    10: _errors.MismatchError,
    11: _errors.CodebookError,
    12: _errors.MismatchError,
    13: _errors.MismatchError,
    19: _errors.WrongContextError,
    44: _errors.CodebookError,
}

_HEADER_PROBLEMS = {
    1: "the message is shorter than a header; it was cut, fetch or copy it again",
    2: "the message is malformed: it does not begin as a message does",
    3: "the message has format version {found}; this library reads version 1, a newer huffwire is needed",
    4: "the message is malformed: flags that this version does not know",
    5: "the message belongs to a context (a step, a chunk's number): tell the decoder which one is expected",
    6: "the message has no context and one was expected: it comes from another sender or another protocol",
    7: "the message's header is damaged: its checksum is wrong; fetch or copy the message again",
    8: "the message is malformed: an unknown element type, {found}",
    9: "the message is malformed: a block size outside 1 KiB to 1 MiB",
    10: "the message is of kind {found} ({kind}), and a device decodes tensors only, kind 0: decode it on the CPU",
    11: "the message was coded with the codebook set {set}..., which is not among those at hand; load the sender's set",
    12: "the message holds elements of {type} where another type was expected: sender and receiver are out of step",
    13: "the message holds {found} units where another number was expected: sender and receiver are out of step",
    14: "the message ends within its table of blocks; it was cut, fetch or copy it again",
    16: "the message ends within its blocks; it was cut, fetch or copy it again",
    17: "the message is malformed: bytes are left over behind its last block",
    18: "the length of the message is more than its memory has: it is damaged",
    19: "the message's header has a wrong checksum: it is damaged, or the message belongs to another context",
}

_BLOCK_PROBLEMS = {
    15: "the table gives it a length that no block has",
    32: "its checksum is wrong; fetch or copy the message again",
    33: "it ends early",
    34: "a layout that the element type does not have",
    35: "a number in its header is malformed",
    36: "bytes are left over",
    37: "its lanes do not end as an encoder's lanes begin, or carry more than there was",
    38: "the escapes are more or fewer than its header says",
    39: "the zeros are more or fewer than its header says",
    40: "a symbol that its plane cannot have",
    41: "bits behind its last symbol are not 0",
    42: "a stream is longer or shorter than its codes",
    43: "it uses a codebook that the set does not have",
    44: "it embeds a codebook that breaks a rule",
    45: "it uses or embeds a codebook that does not fit the plane",
}

_KINDS = {1: "quantized values", 2: "a delta"}


def check(status: bytes) -> None:
    """Raises the error that decoding ended with, if it did. `status` is what the device has of `decode`'s status."""
    report, found, _ = struct.unpack("<Q2I", status)
    if report == WHOLE % (1 << 64):
        return
    block, problem = report >> 8, report & 0xFF
    error = _CLASSES.get(problem, _errors.DamagedError)
    if problem in _BLOCK_PROBLEMS:
        raise error(f"block {block} of the message is damaged: {_BLOCK_PROBLEMS[problem]}")
    text = _HEADER_PROBLEMS[problem].format(
        found=found,
        kind=_KINDS.get(found, "unknown"),
        set=struct.pack("<I", found).hex(),
        type=BY_NUMBER[found].name if found in BY_NUMBER else f"type {found}",
    )
    raise error(text)
