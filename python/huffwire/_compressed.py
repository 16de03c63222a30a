"""Weights that stay compressed in memory and are decoded when they are used.

A `CompressedTensor` holds a message on its own device. To the outside it is a tensor of the original's shape, type and
device. Whatever uses it gets the original's bits, decoded for that use.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn import functional
from torch.utils._pytree import tree_map_only

from huffwire._errors import OutputError, UnsupportedError
from huffwire._huffwire import Codebooks

if TYPE_CHECKING:
    from typing_extensions import Self

_ATEN = torch.ops.aten


class CompressedTensor(torch.Tensor):
    """A tensor whose memory holds a message.

    >>> import torch, huffwire.torch
    >>> weights = torch.randn(256, 512).bfloat16()
    >>> compressed = huffwire.torch.CompressedTensor.compress(weights)
    >>> compressed.shape, compressed.coded.nbytes < 0.75 * weights.nbytes
    (torch.Size([256, 512]), True)
    >>> torch.equal(compressed, weights)
    True

    Functions of PyTorch take it like any other tensor: it is decoded into memory that is free again after the call. It
    stays compressed when it is cloned, detached, copied to another device, saved with `torch.save`, and as a parameter
    of a module. Views and parts of it are copies.

    It is frozen: functions that write to it raise OutputError, and what asks for its gradients UnsupportedError. Only
    ``copy_``, by which `torch.nn.Module.load_state_dict` loads, gives it other values, which are then encoded.

    Args:
        coded: The message: a tensor of torch.uint8 with one dimension.
        shape: The shape of the decoded tensor.
        dtype: Its type.
        codebooks: What the message was encoded with, if that is not built in.

    Raises:
        UnsupportedError: ``coded`` cannot be a message.
    """

    coded: torch.Tensor
    """The message."""
    codebooks: Codebooks | None
    """What it was encoded with, if that is not built in."""
    _checked: bool

    @staticmethod
    def __new__(
        cls,
        coded: torch.Tensor,
        shape: Sequence[int],
        dtype: torch.dtype,
        codebooks: Codebooks | None = None,
    ) -> Self:
        if type(coded) is not torch.Tensor or coded.dtype != torch.uint8 or coded.dim() != 1:
            raise UnsupportedError("the message of a CompressedTensor: give a tensor of torch.uint8 and one dimension")
        made: Self = torch.Tensor._make_wrapper_subclass(
            cls, torch.Size(shape), dtype=dtype, device=coded.device, requires_grad=False
        )
        made.coded, made.codebooks = coded, codebooks
        # A message of a GPU is checked when it is decoded for the first time, and not waited for later.
        made._checked = False
        return made

    @classmethod
    def compress(
        cls, tensor: torch.Tensor, *, codebooks: Codebooks | None = None
    ) -> CompressedTensor:
        """Encodes a tensor, on its own device.

        Args:
            tensor: As for `huffwire.torch.encode`.
            codebooks: The codebooks; None for the built-in ones.

        Raises:
            Error: As for `huffwire.torch.encode`.
        """
        if isinstance(tensor, CompressedTensor):
            tensor = tensor.decode()
        return cls(_encoded(tensor, codebooks), tensor.shape, tensor.dtype, codebooks)

    def decode(self, out: torch.Tensor | None = None) -> torch.Tensor:
        """The tensor as an ordinary one.

        Args:
            out: Where it is decoded to: a contiguous tensor of the same type and number of elements, on the same
                device. None for new memory.

        Raises:
            Error: As for `huffwire.torch.decode_into`.
        """
        from huffwire import torch as coder

        if out is None:
            out = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        later = coder.Checks() if self._checked else None
        coder.decode_into(self.coded, out, codebooks=self.codebooks, check=later)
        self._checked = True
        return out

    def __repr__(self, *, tensor_contents: object = None) -> str:  # type: ignore[override]
        size = self.numel() * self.itemsize
        return (
            f"CompressedTensor({tuple(self.shape)}, dtype={self.dtype}, device={str(self.device)!r}, "
            f"{self.coded.numel()} of {size} bytes)"
        )

    # Saving and copying.

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        books = None if self.codebooks is None else self.codebooks.to_bytes()
        is_parameter = isinstance(self, torch.nn.Parameter)
        return _rebuild, (self.coded, tuple(self.shape), self.dtype, books, is_parameter)

    def __deepcopy__(self, memo: dict[int, object]) -> CompressedTensor:
        copy = _with(self, self.coded.clone())
        if isinstance(self, torch.nn.Parameter):
            copy = _parameter(copy)
        memo[id(self)] = copy
        return copy

    def __tensor_flatten__(self) -> tuple[list[str], object]:
        return ["coded"], (self.dtype, self.codebooks)

    @staticmethod
    def __tensor_unflatten__(
        inner: Mapping[str, torch.Tensor], rest: Any, size: Sequence[int], stride: Sequence[int]
    ) -> CompressedTensor:
        if type(inner["coded"]) is not torch.Tensor:
            # So tensors are traced, of which there are no bytes to decode.
            raise UnsupportedError(
                "a CompressedTensor cannot be traced, such as by torch.compile: use the model without it, or keep what "
                "has compressed weights out of it by torch.compiler.disable"
            )
        dtype, codebooks = rest
        return CompressedTensor(inner["coded"], size, dtype, codebooks)

    # What PyTorch calls for functions of this tensor.

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.linear and not kwargs and isinstance(args[1], CompressedTensor):
            others = (args[0], *args[2:])
            plain = not any(isinstance(other, CompressedTensor) for other in others)
            # Transforms of torch.func go on with what the product is made of.
            if plain and not torch._C._are_functorch_transforms_active():
                return _linear(*args)
        if func in _GRADIENTS and (len(args) < 2 or args[1]) and kwargs.get("requires_grad", True):
            raise UnsupportedError(
                "a CompressedTensor is frozen: give requires_grad=False, or train what decode() returns"
            )
        if func is torch.Tensor.copy_ and isinstance(args[0], CompressedTensor) and torch.is_grad_enabled():
            if len(args) > 1 and getattr(args[1], "requires_grad", False):
                raise UnsupportedError("a CompressedTensor is frozen: copy what has no gradients, such as tensor.detach()")
        if func is torch.Tensor.__setitem__ and isinstance(args[0], CompressedTensor):
            raise _frozen("indexed assignment")
        if func in _SHARED:
            # Its own memory is the message's. PyTorch would look for the elements', which are nowhere.
            shared = _SHARED[func](args[0].coded)
            return shared if isinstance(shared, bool) else args[0]
        if func == _SET_DATA:
            raise UnsupportedError(
                "a CompressedTensor keeps its type: convert the module before its weights are compressed"
            )
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # The supertype has a function where it is a class method.
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        kept = _KEPT.get(func)
        if kept is not None:
            result = kept(*args, **kwargs)
            if result is not NotImplemented:
                return result
        for place, parameter in enumerate(func._schema.arguments):
            value = args[place] if place < len(args) else kwargs.get(parameter.name)
            writes = parameter.alias_info is not None and parameter.alias_info.is_write
            # Some functions write to the tensors of a list.
            values = value if isinstance(value, list | tuple) else [value]
            if writes and any(isinstance(one, CompressedTensor) for one in values):
                raise _frozen(str(func))
        args, kwargs = tree_map_only(CompressedTensor, CompressedTensor.decode, (args, kwargs))
        return func(*args, **kwargs)


# `parameter.data = tensor`, by which modules change the types of their parameters. The message would not change with it.
_SET_DATA = torch.Tensor.data.__set__  # type: ignore[attr-defined]
_GRADIENTS = {torch.Tensor.requires_grad_, torch.Tensor.requires_grad.__set__}  # type: ignore[attr-defined]
_SHARED: dict[Any, Callable[[torch.Tensor], Any]] = {
    torch.Tensor.share_memory_: torch.Tensor.share_memory_,
    torch.Tensor.is_shared: torch.Tensor.is_shared,
}


def _frozen(what: str) -> OutputError:
    # UnsupportedError is a TypeError, which PyTorch's operators such as += catch. Python then makes another tensor, and
    # nobody learns that this one has the values that it had.
    return OutputError(
        f"{what} writes to a CompressedTensor, which is frozen: change what decode() returns, and compress that"
    )


def _encoded(tensor: torch.Tensor, codebooks: Codebooks | None) -> torch.Tensor:
    """The message of a tensor, on the tensor's device."""
    from huffwire import torch as coder

    message = coder.encode(tensor, codebooks=codebooks)
    if isinstance(message, torch.Tensor):
        return message
    return torch.frombuffer(bytearray(message), dtype=torch.uint8)


def _with(tensor: CompressedTensor, coded: torch.Tensor) -> CompressedTensor:
    """The same tensor with its message in other memory."""
    made = CompressedTensor(coded, tensor.shape, tensor.dtype, tensor.codebooks)
    made._checked = tensor._checked
    return made


def _parameter(tensor: CompressedTensor) -> Any:
    return torch.nn.Parameter(tensor, requires_grad=False)


def _rebuild(
    coded: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype, books: bytes | None, is_parameter: bool
) -> CompressedTensor:
    """Makes what was saved. The message is checked when it is decoded for the first time."""
    codebooks = None if books is None else Codebooks.from_bytes(books)
    made = CompressedTensor(coded, shape, dtype, codebooks)
    return _parameter(made) if is_parameter else made


# What torch.load(weights_only=True) may call, once this package is imported.
torch.serialization.add_safe_globals([_rebuild])


# Functions that need no decoding.


def _alias(tensor: CompressedTensor) -> CompressedTensor:
    return _with(tensor, tensor.coded)


def _clone(tensor: CompressedTensor, *, memory_format: object = None) -> CompressedTensor:
    return _with(tensor, tensor.coded.clone())


def _to_copy(
    tensor: CompressedTensor,
    *,
    dtype: torch.dtype | None = None,
    layout: torch.layout | None = None,
    device: torch.device | None = None,
    pin_memory: bool | None = None,
    non_blocking: bool = False,
    memory_format: object = None,
) -> Any:
    """Another device gets the message. Another type needs the elements."""
    if dtype not in (None, tensor.dtype) or layout not in (None, torch.strided) or pin_memory:
        return NotImplemented
    return _with(tensor, tensor.coded.to(device=device, non_blocking=non_blocking, copy=True))


def _copy(tensor: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> Any:
    """New values, which are encoded, or the message of a tensor of the same kind."""
    if not isinstance(tensor, CompressedTensor):
        return NotImplemented
    same = source.shape == tensor.shape and source.dtype == tensor.dtype
    if isinstance(source, CompressedTensor) and same:
        tensor.coded = source.coded.to(tensor.device, copy=True)
        tensor.codebooks, tensor._checked = source.codebooks, source._checked
        return tensor
    dense = source.decode() if isinstance(source, CompressedTensor) else source
    dense = dense.to(device=tensor.device, dtype=tensor.dtype).expand(tensor.shape)
    tensor.coded, tensor._checked = _encoded(dense, tensor.codebooks), False
    return tensor


_KEPT: dict[Any, Callable[..., Any]] = {
    _ATEN.alias.default: _alias,
    _ATEN.detach.default: _alias,
    _ATEN.clone.default: _clone,
    _ATEN._to_copy.default: _to_copy,
    _ATEN.copy_.default: _copy,
}


# Products.


class _Rooms(threading.local):
    """Memory that weights are decoded into, one after the other: for each thread and stream its own, because nothing else
    orders their uses."""

    def __init__(self) -> None:
        self._rooms: dict[tuple[torch.device, int], torch.Tensor] = {}

    def of(self, weight: CompressedTensor) -> torch.Tensor:
        """Room for a weight, until the next call."""
        device, size = weight.device, weight.numel() * weight.itemsize
        stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
        room = self._rooms.pop((device, stream), None)
        if room is None or room.numel() < size:
            # The old memory first, so that both are never there together.
            del room
            room = torch.empty(size, dtype=torch.uint8, device=device)
        self._rooms[device, stream] = room
        return room[:size].view(weight.dtype).view(weight.shape)


_ROOMS = _Rooms()


class _Product(torch.autograd.Function):
    """`torch.nn.functional.linear`. The weight is decoded for the product, and once more for the gradient of the input:
    the memory in between belongs to other layers."""

    @staticmethod
    def forward(
        ctx: Any, input: torch.Tensor, weight: CompressedTensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.weight, ctx.type = weight, input.dtype
        return functional.linear(input, weight.decode(_ROOMS.of(weight)), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (gradient,) = gradients
        of_input = of_bias = None
        if ctx.needs_input_grad[0]:
            # Gradients of this gradient will want the weight again: it then gets memory of its own.
            room = None if torch.is_grad_enabled() else _ROOMS.of(ctx.weight)
            weight = ctx.weight.decode(room).to(gradient.dtype)
            of_input = (gradient @ weight.conj()).to(ctx.type)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.reshape(-1, gradient.shape[-1]).sum(0)
        return of_input, None, of_bias


def _linear(
    input: torch.Tensor, weight: CompressedTensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    product: torch.Tensor = _Product.apply(input, weight, bias)
    return product


class Compression(NamedTuple):
    """What `compress_module` did."""

    layers: int
    """How many layers have compressed weights now."""
    bytes: int
    """Of their weights before."""
    coded_bytes: int
    """Of their weights now."""


def compress_module(
    model: torch.nn.Module, *, codebooks: Codebooks | None = None
) -> Compression:
    """Compresses the weights of all `torch.nn.Linear` layers of a model, on the devices on which they are.

    A layer decodes its weight before each product, into memory that the next layer uses again: products have the same bits
    as before. The weights are frozen: they have no gradients. Those of inputs and biases can be computed as before, which
    decodes each weight once more.

    >>> import torch, huffwire.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.Linear(256, 256)).bfloat16()
    >>> inputs = torch.randn(3, 256).bfloat16()
    >>> before = model(inputs)
    >>> found = huffwire.torch.compress_module(model)
    >>> found.layers, found.coded_bytes < 0.75 * found.bytes
    (2, True)
    >>> torch.equal(model(inputs), before)
    True

    Args:
        model: The model, which is changed. Weights that another sort of layer also uses (such as an embedding), and weights
            that would not become smaller, stay as they are. So do those that are compressed already, those on
            the device meta, and those of other classes than `torch.nn.Parameter` (quantized by another library, of a
            lazy layer that has not run, distributed).
        codebooks: The codebooks; None for the built-in ones.

    Raises:
        Error: As for `huffwire.torch.encode`. The layers before are compressed then.
    """
    uses: dict[torch.nn.Parameter, list[tuple[torch.nn.Module, str]]] = defaultdict(list)
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                uses[parameter].append((module, name))
    layers = size = coded = 0
    for weight, places in uses.items():
        # Parameters of other classes, such as quantized ones, have layers that know what is in them.
        if type(weight) is not torch.nn.Parameter or weight.is_meta:
            continue
        if any(name != "weight" or not isinstance(module, torch.nn.Linear) for module, name in places):
            continue
        compressed = CompressedTensor.compress(weight.detach(), codebooks=codebooks)
        if compressed.coded.nbytes >= weight.nbytes:
            continue
        parameter = _parameter(compressed)
        for module, name in places:
            module._parameters[name] = parameter
        layers += len(places)
        size += weight.nbytes
        coded += compressed.coded.nbytes
    return Compression(layers, size, coded)
