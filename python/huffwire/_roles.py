"""The roles of tensors in a training, by their names, and how much each role saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

WEIGHTS = "weights"
MASTER_WEIGHTS = "master weights"
FIRST_MOMENT = "first moment"
SECOND_MOMENT = "second moment"
OTHER = "other"

#: The roles, in the order in which reports list them.
ROLES = (WEIGHTS, MASTER_WEIGHTS, FIRST_MOMENT, SECOND_MOMENT, OTHER)

# What optimizers call their tensors: torch.optim, Apex, Transformer Engine, bitsandbytes,
# DeepSpeed, Megatron.
_MASTER_WEIGHTS = frozenset(
    "master master_param master_params master_weight master_weights fp32_param fp32_params"
    " fp32_master main_param main_params".split()
)
_FIRST_MOMENTS = frozenset("exp_avg momentum_buffer momentum state1 mu".split())
_SECOND_MOMENTS = frozenset("exp_avg_sq max_exp_avg_sq square_avg sum state2 nu".split())
_OPTIMIZERS = frozenset("optim optimizer optimizers optim_state optimizer_state opt".split())
# The state of an optimizer that was saved without its model begins with one of these.
_BARE_OPTIMIZERS = frozenset("state param_groups".split())


def role_of(name: str, floating: bool) -> str:
    """The role of a tensor, from its name in a checkpoint.

    Args:
        name: the fully qualified name, as `model.layers.0.weight` or
            `optim.state.layers.0.weight.exp_avg`.
        floating: whether its elements are floats. Integers and bytes are of the role "other".

    >>> role_of("model.layers.0.weight", floating=True)
    'weights'
    >>> role_of("optim.state.layers.0.weight.exp_avg_sq", floating=True)
    'second moment'
    >>> role_of("optim.state.layers.0.weight.step", floating=True)
    'other'
    """
    if not floating:
        return OTHER
    parts = name.split(".")
    if not _MASTER_WEIGHTS.isdisjoint(parts):
        return MASTER_WEIGHTS
    if _OPTIMIZERS.isdisjoint(parts) and parts[0] not in _BARE_OPTIMIZERS:
        return WEIGHTS
    if parts[-1] in _FIRST_MOMENTS:
        return FIRST_MOMENT
    if parts[-1] in _SECOND_MOMENTS:
        return SECOND_MOMENT
    return OTHER


@dataclass(frozen=True)
class Share:
    """What one role has in a checkpoint.

    Attributes:
        parts: how many tensors, shards of tensors, or other values.
        bytes: their size in memory.
        stored: their size in the files.
    """

    parts: int = 0
    bytes: int = 0
    stored: int = 0

    @property
    def saved(self) -> float:
        """The share of `bytes` that is not stored, from 0 to 1; below 0 if the role grew."""
        return 1.0 - self.stored / self.bytes if self.bytes else 0.0

    def __add__(self, other: Share) -> Share:
        return Share(self.parts + other.parts, self.bytes + other.bytes, self.stored + other.stored)


@dataclass(frozen=True)
class Report:
    """What a checkpoint holds, for each role. `print` shows it as one line.

    Attributes:
        roles: a `Share` for each role that is there; `ROLES` has the order.
        whole: whether this is about the whole checkpoint, or about what one rank wrote.

    >>> weights = Share(parts=2, bytes=4_000_000, stored=2_640_000)
    >>> moment = Share(parts=2, bytes=8_000_000, stored=6_700_000)
    >>> report = Report({"weights": weights, "first moment": moment})
    >>> print(report)
    12.0 MB in 9.34 MB (22.2 % saved): weights 34.0 % of 4.00 MB, first moment 16.2 % of 8.00 MB
    >>> report.roles["first moment"].stored
    6700000
    """

    roles: Mapping[str, Share] = field(default_factory=dict)
    whole: bool = True

    @classmethod
    def of(cls, parts: Iterable[tuple[str, Share]], *, whole: bool) -> Report:
        """The sum of parts, each with its role. Roles that `ROLES` lacks come last, by name."""
        sums: dict[str, Share] = {}
        for role, share in parts:
            sums[role] = sums.get(role, Share()) + share
        order = [role for role in ROLES if role in sums]
        order += sorted(sums.keys() - set(ROLES))
        return cls({role: sums[role] for role in order}, whole)

    @property
    def total(self) -> Share:
        """All roles together."""
        return sum(self.roles.values(), Share())

    def __str__(self) -> str:
        total = self.total
        roles = ", ".join(
            f"{role} {100 * share.saved:.1f} % of {_size(share.bytes)}"
            for role, share in self.roles.items()
        )
        whose = "" if self.whole else "this rank: "
        line = f"{whose}{_size(total.bytes)} in {_size(total.stored)}"
        line += f" ({100 * total.saved:.1f} % saved)"
        return f"{line}: {roles}" if roles else line


def _size(count: int) -> str:
    """A number of bytes in three digits: 512 B, 2.46 kB, 31.0 GB."""
    size = float(count)
    if size < 1000:
        return f"{count} B"
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.5 or unit == "TB":
            return f"{size:.{max(0, 3 - len(str(int(size))))}f} {unit}"
    raise AssertionError("unreachable")
