"""Deltas of PyTorch's tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from huffwire import _huffwire
from huffwire._buffers import Level, Sets, Symbols
from huffwire._deltas import PreparedDelta
from huffwire._errors import MismatchError, OutOfMemoryError
from huffwire._huffwire import Codebooks
from huffwire._tensors import _address, _changed, _message, _name, _source, _target

if TYPE_CHECKING:
    from huffwire._tensors import Memory

# What the floats of a complex type are.
_PARTS = {
    torch.complex32: torch.float16,
    torch.complex64: torch.float32,
    torch.complex128: torch.float64,
}


def encode_delta(
    tensor: torch.Tensor,
    base: torch.Tensor,
    *,
    level: Level = "fast",
    symbols: Symbols = "auto",
    codebooks: Codebooks | None = None,
    checksums: bool = True,
    threads: int | None = None,
    context: int | None = None,
) -> bytes:
    """Encodes what changed from ``base`` to ``tensor`` as one message, a *delta*.

    >>> import torch, huffwire.torch
    >>> base = torch.randn(500, 300).bfloat16()
    >>> new = base.clone()
    >>> new[7, 9] += 1
    >>> delta = huffwire.torch.encode_delta(new, base)
    >>> len(delta) < 120
    True
    >>> torch.equal(huffwire.torch.decode_delta(delta, base), new)
    True

    Args:
        tensor: The new tensor, as for `encode`.
        base: The tensor that the receiver has, of the same type and shape.
        level, symbols, codebooks, checksums, threads, context: As for `huffwire.encode_delta`.

    Returns:
        The message, bound to base and result by hashes. See `huffwire.encode_delta`.

    Raises:
        MismatchError: The tensors have different types or shapes.
        UnsupportedError: As for `encode`.
        Error: As for `huffwire.encode_delta`.
    """
    source, name = _source(tensor)
    old, old_name = _source(base)
    if name != old_name or source.shape != old.shape:
        raise MismatchError(
            f"the base is a tensor of {base.dtype} and shape {tuple(base.shape)}, the new one of {tensor.dtype} and "
            f"{tuple(tensor.shape)}: give a base like it"
        )
    return _huffwire._encode_delta(
        _address(source),
        _address(old),
        name,
        level,
        symbols,
        codebooks,
        checksums,
        threads,
        context,
    )


def decode_delta(
    message: Memory,
    base: torch.Tensor,
    *,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
) -> torch.Tensor:
    """Decodes a delta beside its base: a new tensor like the base, on the device cpu.

    Args:
        message: One whole delta, as for `decode`.
        base: The tensor that it was made for. It stays as it is.
        codebooks, threads, context: As for `huffwire.decode`.

    Raises:
        WrongBaseError: The base is not the one that the delta was made for.
        MismatchError: The base has another type or size, or the message is no delta.
        Error: As for `huffwire.decode_delta`.
    """
    old, name = _source(base)
    try:
        out = torch.empty(old.shape, dtype=old.dtype, device="cpu")
    except RuntimeError as error:
        raise OutOfMemoryError(f"{old.nbytes} bytes are needed: {error}") from None
    _huffwire._decode_delta_into(
        _message(message), _address(old), name, _address(out), codebooks, threads, context
    )
    return out


def apply_delta(
    message: Memory,
    tensor: torch.Tensor,
    *,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
) -> None:
    """Turns the base into the new tensor, where it lies.

    All is decoded and checked before a byte of ``tensor`` changes: after an error it is as it was. This takes memory
    for the changes, not for a second tensor.

    >>> import torch, huffwire.torch
    >>> tensor = torch.zeros(1000)
    >>> huffwire.torch.apply_delta(huffwire.torch.encode_delta(torch.ones(1000), tensor), tensor)
    >>> tensor.mean()
    tensor(1.)

    Args:
        message: As for `decode_delta`, like all arguments that are not named here.
        tensor: The tensor that the delta was made for: contiguous, on the device cpu. If it requires gradients, it
            is written to all the same, as under torch.no_grad(). For tensors of other devices there is
            `delta_changes`.

    Raises:
        OutputError: The tensor is on another device, not contiguous, has no memory of its own, or overlaps the
            message.
        Error: As for `decode_delta`.
    """
    _target(tensor)
    source, name, target = _message(message), _name(tensor.dtype), _address(tensor)
    _huffwire._apply_delta(source, target, name, codebooks, threads, context)
    _changed(tensor)


def prepare_delta(
    message: Memory,
    tensor: torch.Tensor,
    *,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
) -> PreparedDelta:
    """Does all of `apply_delta` but the writing, which `huffwire.PreparedDelta.commit` does.

    >>> import torch, huffwire.torch
    >>> tensor = torch.zeros(3)
    >>> delta = huffwire.torch.encode_delta(torch.ones(3), tensor)
    >>> prepared = huffwire.torch.prepare_delta(delta, tensor)
    >>> tensor
    tensor([0., 0., 0.])
    >>> prepared.commit()
    >>> tensor
    tensor([1., 1., 1.])

    Args and errors are those of `apply_delta`.
    """
    _target(tensor)
    source, name = _message(message), _name(tensor.dtype)
    prepared = _huffwire._PreparedDelta(
        source, _address(tensor), name, codebooks, threads, context
    )

    def memory() -> tuple[int, int]:
        _changed(tensor)
        return _address(tensor)

    return PreparedDelta(prepared, memory)


def delta_changes(
    message: Memory,
    base: torch.Tensor,
    *,
    codebooks: Sets = None,
    threads: int | None = None,
    context: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The changes that a delta makes, for programs that put them in place themselves, such as on another device.

    >>> import torch, huffwire.torch
    >>> base = torch.zeros(2, 3, dtype=torch.bfloat16)
    >>> new = torch.tensor([[0, 0, 5], [0, 7, 0]], dtype=torch.bfloat16)
    >>> indices, values = huffwire.torch.delta_changes(huffwire.torch.encode_delta(new, base), base)
    >>> indices, values
    (tensor([2, 4]), tensor([5., 7.], dtype=torch.bfloat16))
    >>> torch.equal(base.view(-1).index_copy(0, indices, values).view(2, 3), new)
    True

    Args and errors are those of `decode_delta`.

    Returns:
        The places of the elements that change, in the flattened tensor, ascending, as torch.int64; and the new
        elements. Of a complex tensor they are the places in `torch.view_as_real` of it, and its floats.
    """
    old, name = _source(base)
    indices, values = _huffwire._delta_changes(
        _message(message), _address(old), name, codebooks, threads, context
    )
    dtype = _PARTS.get(base.dtype, base.dtype)
    if not values:
        return torch.empty(0, dtype=torch.int64, device="cpu"), torch.empty(0, dtype=dtype, device="cpu")
    # Not all types can be made of a buffer.
    elements = torch.frombuffer(values, dtype=torch.uint8).view(dtype)
    return torch.frombuffer(indices, dtype=torch.int64), elements


def content_hash(tensor: torch.Tensor) -> str:
    """The hash by which deltas know a tensor, as `huffwire.content_hash`. Its shape is not part of it.

    >>> import torch, huffwire.torch
    >>> base, new = torch.zeros(9), torch.ones(9)
    >>> info = huffwire.inspect_delta(huffwire.torch.encode_delta(new, base))
    >>> info.result == huffwire.torch.content_hash(new)
    True
    """
    source, name = _source(tensor)
    return _huffwire._content_hash(_address(source), name)
