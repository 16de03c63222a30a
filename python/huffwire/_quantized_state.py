"""The state of the quantized hook; `huffwire.ddp` has what its users see."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.distributed as dist

from huffwire import gradient
from huffwire import _quantized_layout as layouts
from huffwire._errors import MismatchError, OptionError
from huffwire._huffwire import _ExchangeCodec, quantizer_text
from huffwire._options import check_whole
from huffwire.distributed.c10d import GradBucket
from huffwire.distributed.collectives import how_to_add
from huffwire.distributed.quantized import Exchange, share_bounds

_VERSION = 1

_SETTINGS = (
    "error_feedback",
    "error_decay",
    "warmup_steps",
    "seed",
    "min_elements",
    "non_finite",
    "sum_dtype",
)


@dataclass
class Step:
    """A step under way.

    Attributes:
        quantizes: Whether it is no step of the warm-up.
        is_new: Whether its buckets become the layout.
        done: The buckets of the layout that are under way.
        collected: Buckets that are not those of the layout; None as long as all are.
    """

    quantizes: bool
    is_new: bool
    done: set[int] = field(default_factory=set)
    collected: list[layouts.Collected] | None = None


class QuantizedState:
    """What `quantized_hook` needs to know, and what it keeps from step to step: error memories and the number of steps.

    DistributedDataParallel does not save it. A training that is continued needs it, each rank its own: either
    `state_dict` and `load_state_dict`, or pickle, which leaves out the process group. Then the training goes on as if it
    had not been interrupted, bit by bit.

    The error memories are tensors of torch.float32 on the processor: one element for each element of the model's
    gradients, and the mean's for this rank's share.

    A state belongs to one model, and all ranks must make it alike. Register the hook before the first step.

    Args:
        process_group: The group; None for the default one.
        quantizer: ``"qsgd"``, ``"terngrad"``, ``"int8"`` or ``"sign"``, or a quantizer of `huffwire.gradient` with a
            bucket that is a multiple of 16 up to 65536, and values of up to 127.
        levels: Levels of QSGD above 0, 1 to 127. More take more bits, and lose less.
        bucket: Elements that share a scale.
        norm: The norm of QSGD, ``"max"`` or ``"l2"``.
        error_feedback: Whether what quantizing loses is added in the next step. Signs and int8 need it. QSGD and TernGrad
            round at random, so that they are right on average, and train without it, too. A quantizer that loses more
            than the gradient has (QSGD with the norm ``"l2"`` and 4 levels, TernGrad) cannot have it: the error would
            grow from step to step. A warning tells so.
        error_decay: How much a kept error counts in the next step, above 0 and up to 1.
        warmup_steps: Steps in which gradients are averaged without loss. The first step of a new state always is such a
            step, because DistributedDataParallel arranges its buckets anew after it.
        seed: Of the random numbers of stochastic rounding, which follow from it, the step, the bucket and the rank.
        min_elements: Buckets of fewer elements are averaged without loss.
        non_finite: What happens when a gradient is infinite or NaN: ``"raise"`` raises on all ranks; ``"nan"`` makes the
            quantizer's bucket NaN on all ranks, and leaves its error memory as it is, so that a gradient scaler skips
            the step.
        sum_dtype: As for `LosslessState`, in the warm-up and for small buckets.

    Raises:
        OptionError: A setting has a value that it cannot have.
    """

    error_feedback: bool
    error_decay: float
    warmup_steps: int
    seed: int
    min_elements: int
    non_finite: Literal["raise", "nan"]
    sum_dtype: torch.dtype | None

    def __init__(
        self,
        process_group: dist.ProcessGroup | None = None,
        *,
        quantizer: str | gradient.Quantizer = "qsgd",
        levels: int = 4,
        bucket: int = 512,
        norm: Literal["max", "l2"] = "max",
        error_feedback: bool = True,
        error_decay: float = 1.0,
        warmup_steps: int = 2,
        seed: int = 0,
        min_elements: int = 1 << 14,
        non_finite: Literal["raise", "nan"] = "raise",
        sum_dtype: torch.dtype | None = None,
    ) -> None:
        given = {
            "error_feedback": error_feedback,
            "error_decay": error_decay,
            "warmup_steps": warmup_steps,
            "seed": seed,
            "min_elements": min_elements,
            "non_finite": non_finite,
            "sum_dtype": sum_dtype,
        }
        self._set(_quantizer(quantizer, levels, bucket, norm)._spec(), given)
        if error_feedback and self._loss() > 0.9:
            warnings.warn(
                f"{self.quantizer} loses about as much as a gradient has, so the error that is fed back grows from step to "
                'step: take QSGD with more levels and norm="max", or error_feedback=False',
                stacklevel=2,
            )
        self.process_group = process_group
        self.step = 0
        self._numbers = layouts.Numbers()
        self._forget()

    def _loss(self) -> float:
        """The square of the error for normally distributed gradients, divided by their square."""
        # With the defaults of the process they may be of another type, or on another device.
        floats = torch.randn(
            max(self.bucket, 8192),
            generator=torch.Generator().manual_seed(1),
            dtype=torch.float32,
            device="cpu",
        )
        restored = torch.empty_like(floats)
        places = (floats.data_ptr(), floats.nbytes), (restored.data_ptr(), floats.nbytes)
        self._codecs[0].keep(places[0], None, places[1], 0, (1, 0, 1.0))
        return ((floats - restored).square().sum() / floats.square().sum()).item()

    def _set(self, spec: tuple[Any, ...], given: dict[str, Any]) -> None:
        """Checks settings, and takes them."""
        codec = _ExchangeCodec(spec)
        for name in ("warmup_steps", "min_elements", "seed"):
            check_whole(name, given[name], 0, (1 << 64) - 1)
        if given["non_finite"] not in ("raise", "nan"):
            raise OptionError(f'non_finite={given["non_finite"]!r}: give "raise" or "nan"')
        decay = given["error_decay"]
        if not isinstance(decay, int | float) or not 0 < decay <= 1:
            raise OptionError(f"error_decay={decay!r}: give a number above 0 and up to 1")
        if not isinstance(given["error_feedback"], bool):
            raise OptionError(f"error_feedback={given['error_feedback']!r}: give True or False")
        how_to_add(dist.ReduceOp.SUM, given["sum_dtype"])
        self._spec = spec
        self._codecs = codec, _ExchangeCodec(spec)
        for name in _SETTINGS:
            setattr(self, name, given[name])

    def _forget(self) -> None:
        """As at the beginning, but for the step and the numbers of the model's parameters."""
        self._layout: list[layouts.Bucket] = []
        self._complete = False
        self._place: tuple[int, int] | None = None
        self._errors: dict[int, torch.Tensor] = {}
        self._mean_errors: dict[int, torch.Tensor] = {}
        self._step_now: Step | None = None
        self._steps_here = 0
        self._regrouped = 0
        self._agreed = False

    @property
    def quantizer(self) -> str:
        """The quantizer and its parameters."""
        return quantizer_text(self._spec)

    @property
    def bucket(self) -> int:
        """Elements that share a scale."""
        return int(self._spec[{"qsgd": 2, "terngrad": 2, "sign": 2, "linear": 1}[self._spec[0]]])

    def reset_errors(self) -> None:
        """Empties all error memories, as after a change of the number of ranks. The step stays.

        All ranks must do so. The next step is one without loss.
        """
        self._forget()

    def __repr__(self) -> str:
        return f"<QuantizedState: {self.quantizer}, step {self.step}>"

    # What the hook asks for.

    def _at(self, bucket: GradBucket) -> Step:
        """The step of a bucket; a new one begins with the first bucket."""
        if self._step_now is None or bucket.index() == 0:
            self._numbers.restart(bucket.parameters())
            if not self._complete:
                # What a step that was not completed left.
                self._layout.clear()
                self._errors.clear()
                self._mean_errors.clear()
            can = self._complete or self._steps_here > 0
            self._step_now = Step(can and self.step >= self.warmup_steps, not self._complete)
        if not self._step_now.quantizes:
            # Parameters are numbered in the warm-up, too.
            layouts.of(self._numbers, bucket)
        return self._step_now

    def _add_to_layout(self, bucket: layouts.Bucket) -> None:
        self._layout.append(bucket)

    def _end(self, bucket: GradBucket) -> None:
        """After the hook was called for a bucket."""
        if bucket.is_last():
            if self._step_now is not None and self._step_now.quantizes:
                self._complete = True
                if self._step_now.collected is None:
                    self._regrouped = 0
            elif self._step_now is not None and self._steps_here == 0:
                self._numbers.settle()
            self._step_now = None
            self.step += 1
            self._steps_here += 1

    def _exchange(self, number: int, elements: int, rank: int, ranks: int) -> Exchange:
        """How a bucket of the layout is quantized in this step."""
        errors = mean_errors = None
        if self.error_feedback:
            bounds = share_bounds(elements, ranks, self.bucket)
            share = bounds[rank + 1] - bounds[rank]
            if number not in self._errors:
                self._errors[number] = torch.zeros(elements, dtype=torch.float32, device="cpu")
                self._mean_errors[number] = torch.zeros(share, dtype=torch.float32, device="cpu")
            errors, mean_errors = self._errors[number], self._mean_errors[number]
            # They are read and written by their addresses.
            if (errors.numel(), mean_errors.numel()) != (elements, share):
                raise MismatchError(
                    f"the QuantizedState keeps errors of {errors.numel()} elements for bucket {number}, and of "
                    f"{mean_errors.numel()} for this rank's share, which are {elements} and {share} now: if the model or "
                    "the number of ranks has changed, call reset_errors() on all ranks"
                )
            self._place = rank, ranks
        text = json.dumps([self._summary(), number, self._codecs[0].id])
        return Exchange(
            self._codecs,
            self.bucket,
            errors,
            mean_errors,
            float(self.error_decay),
            f"{self.seed}/{self.step}/{number}",
            hashlib.blake2b(text.encode(), digest_size=8).digest(),
            self.non_finite == "raise",
            f"step {self.step}, bucket {number}",
        )

    def _summary(self) -> dict[str, Any]:
        """What all ranks must have alike."""
        settings = {name: getattr(self, name) for name in _SETTINGS}
        layout = hashlib.blake2b(
            json.dumps(self._layout if self._complete else []).encode(), digest_size=8
        )
        return {
            **settings,
            "sum_dtype": str(self.sum_dtype),
            "quantizer": self.quantizer,
            "step": self.step,
            "buckets": layout.hexdigest(),
        }

    def _fits(self, rank: int, ranks: int) -> bool:
        """Whether the error memories are those of this rank."""
        return self._place in (None, (rank, ranks))

    # What checkpoints keep.

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this rank: settings, the step, and copies of the error memories.

        Call it between two steps.
        """
        return {
            "version": _VERSION,
            "quantizer": self._spec,
            **{name: getattr(self, name) for name in _SETTINGS},
            "step": self.step,
            "layout": [list(map(list, bucket)) for bucket in self._layout] if self._complete else None,
            "rank": self._place and list(self._place),
            "errors": {number: error.clone() for number, error in self._errors.items()},
            "mean_errors": {number: error.clone() for number, error in self._mean_errors.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` returned on the same rank, settings included. The process group stays.

        Raises:
            MismatchError: It is no such state, or a newer version of huffwire wrote it. This state stays as it was.
        """
        try:
            loaded = _Loaded(state)
            fresh = object.__new__(QuantizedState)
            fresh._set(loaded.spec, loaded.settings)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OptionError) as error:
            raise MismatchError(
                f"this is no state of QuantizedState that this version of huffwire knows ({error!r})"
            ) from error
        self._set(loaded.spec, loaded.settings)
        self._forget()
        self.step = loaded.step
        self._layout, self._complete = loaded.layout, bool(loaded.layout)
        self._place = loaded.place
        self._errors, self._mean_errors = loaded.errors, loaded.mean_errors

    def __getstate__(self) -> dict[str, Any]:
        return self.state_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.process_group = None
        self._numbers = layouts.Numbers()
        self.load_state_dict(state)


class _Loaded:
    """The parts of a saved state, checked. Raises any of the exceptions that `load_state_dict` expects."""

    def __init__(self, state: dict[str, Any]) -> None:
        if state["version"] != _VERSION:
            raise ValueError(f"version {state['version']}")
        self.spec = tuple(state["quantizer"])
        self.settings = {name: state[name] for name in _SETTINGS}
        self.step = int(state["step"])
        self.layout: list[layouts.Bucket] = [
            tuple((int(number), int(elements)) for number, elements in bucket)
            for bucket in state["layout"] or []
        ]
        self.place: tuple[int, int] | None = None
        if state["rank"] is not None:
            rank, ranks = state["rank"]
            self.place = int(rank), int(ranks)
        self.errors = self._memories(state["errors"], lambda elements: elements)
        self.mean_errors = self._memories(state["mean_errors"], self._share)
        if self.errors.keys() != self.mean_errors.keys():
            raise ValueError("error memories of different buckets")

    def _share(self, elements: int) -> int:
        if self.place is None:
            raise ValueError("error memories without a rank")
        rank, ranks = self.place
        bucket = self.spec[1] if self.spec[0] == "linear" else self.spec[2]
        bounds = share_bounds(elements, ranks, bucket)
        return bounds[rank + 1] - bounds[rank]

    def _memories(
        self, saved: dict[Any, torch.Tensor], size_of: Callable[[int], int]
    ) -> dict[int, torch.Tensor]:
        memories = {}
        for number, memory in saved.items():
            elements = sum(elements for _, elements in self.layout[int(number)])
            if memory.dtype is not torch.float32 or memory.shape != (size_of(elements),):
                raise ValueError(f"an error memory of another size for bucket {number}")
            memories[int(number)] = memory.detach().to("cpu", copy=True)
        return memories


def _quantizer(
    quantizer: str | gradient.Quantizer, levels: int, bucket: int, norm: Literal["max", "l2"]
) -> gradient.Quantizer:
    if isinstance(quantizer, gradient.Quantizer):
        return quantizer
    if quantizer == "qsgd":
        return gradient.Qsgd(levels, bucket, norm)
    if quantizer == "terngrad":
        return gradient.TernGrad(None, bucket)
    if quantizer == "int8":
        return gradient.Linear(bucket)
    if quantizer == "sign":
        return gradient.Sign("mean", bucket)
    raise OptionError(
        f'quantizer={quantizer!r}: give "qsgd", "terngrad", "int8" or "sign", or a quantizer of huffwire.gradient'
    )
