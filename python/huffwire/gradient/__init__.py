"""Quantized gradients: quantizers, and lossless coders of the values that quantizers make.

Data-parallel training sends gradients between machines. A quantizer turns each float of a gradient
into a small integer, a *value*, and a few *scales*; this loses precision. An encoder turns the
values into bytes, and this loses nothing.

    >>> import array
    >>> from huffwire import gradient
    >>> floats = array.array("f", [((i * 37) % 101 - 50) ** 3 / 1e6 for i in range(10000)])
    >>> message = gradient.encode(floats, gradient.Qsgd(levels=4), seed=1, context=7)
    >>> len(message) < 40000 / 8
    True
    >>> restored = gradient.decode(message, context=7, kind="buffer")
    >>> restored.shape
    (10000,)

Gradients are torch tensors, numpy arrays, buffers of floats (`array.array`), or tuples of a dtype's
name and a buffer (``("bf16", data)``). Their types are f32, bf16 and f16. Contiguous ones of f32 on
the CPU are not copied, and none is changed. Results are of the kind that came in, and on the CPU;
functions that get only bytes have a parameter ``kind``: ``"numpy"``, ``"torch"`` or ``"buffer"`` (a
memoryview).

The same gradient, quantizer and seed give the same values on every machine.
"""

from huffwire._huffwire import Drift
from huffwire.gradient._books import BitmapBooks, FixedBook, RefreshPolicy
from huffwire.gradient._messages import (
    Header,
    decode,
    decode_into,
    decode_quantized,
    encode,
    inspect,
)
from huffwire.gradient._quantized import ErrorFeedback, Quantized, Sizes, quantize
from huffwire.gradient._quantizers import (
    Linear,
    Natural,
    Qsgd,
    Quantizer,
    Sign,
    Sparsify,
    TernGrad,
)
from huffwire.gradient._streams import (
    ENCODERS,
    Shannon,
    decode_values,
    encode_values,
    encoder_of_auto,
    estimates,
    shannon,
    sizes,
)

__all__ = [
    "ENCODERS",
    "BitmapBooks",
    "Drift",
    "ErrorFeedback",
    "FixedBook",
    "Header",
    "Linear",
    "Natural",
    "Qsgd",
    "Quantized",
    "Quantizer",
    "RefreshPolicy",
    "Shannon",
    "Sign",
    "Sizes",
    "Sparsify",
    "TernGrad",
    "decode",
    "decode_into",
    "decode_quantized",
    "decode_values",
    "encode",
    "encode_values",
    "encoder_of_auto",
    "estimates",
    "inspect",
    "quantize",
    "shannon",
    "sizes",
]

for _public in [globals()[_name] for _name in __all__]:
    # People see them, and pickle finds them, as `huffwire.gradient.Qsgd`.
    if getattr(_public, "__module__", "").startswith("huffwire.gradient."):
        _public.__module__ = "huffwire.gradient"
