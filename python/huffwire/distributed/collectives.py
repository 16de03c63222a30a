"""Collectives with the signatures of `torch.distributed`, which code large tensors.

Each call is carried in one of two ways, and all ranks take the same: in coded pieces beside the group, or by the
group itself, unchanged. What the group carries and what huffwire carries gives the same result, but for the order
of sums: see `all_reduce`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist

from huffwire._errors import MismatchError, OptionError, UnsupportedError
from huffwire._options import check_whole
from huffwire.distributed import device_schedules, plain, schedules, totals
from huffwire.distributed.device_engine import DeviceEngine
from huffwire.distributed.engine import Engine, Receiver, Sender
from huffwire.distributed.errors import DisagreementError
from huffwire.distributed.groups import (
    CodedGroup,
    coded_group,
    codes_itself,
    is_no_member,
    remember_plain,
    resolve,
)
from huffwire.distributed.memory import Memory, check_same, flat
from huffwire.distributed.policy import Way

__all__ = [
    "all_gather",
    "all_gather_into_tensor",
    "all_reduce",
    "all_to_all_single",
    "broadcast",
    "irecv",
    "isend",
    "recv",
    "reduce_scatter_tensor",
    "send",
]

_SUMS = {
    torch.bfloat16,
    torch.float16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
    torch.int8,
    torch.uint8,
    torch.int16,
    torch.int32,
    torch.int64,
}


def _simple(tensor: object) -> bool:
    """Whether a tensor is one that pieces can be cut from. What is not is passed to the group, which may know it."""
    return (
        isinstance(tensor, torch.Tensor)
        and tensor.layout is torch.strided
        and not tensor.is_quantized
        and type(tensor).__torch_dispatch__ is torch.Tensor.__torch_dispatch__
    )


def _refuse_meta(*tensors: torch.Tensor) -> None:
    if any(tensor.is_meta for tensor in tensors):
        raise UnsupportedError("a tensor on the device meta has no data: give one that has")


def is_sum(op: dist.ReduceOp | dist.ReduceOp.RedOpType, dtype: torch.dtype) -> bool:
    """Whether a reduction is made by huffwire: a sum or an average of elements that torch can add."""
    if op == dist.ReduceOp.SUM:
        return dtype in _SUMS
    return (
        op == dist.ReduceOp.AVG and dtype in _SUMS and (dtype.is_floating_point or dtype.is_complex)
    )


def real(tensor: torch.Tensor) -> torch.Tensor:
    """Complex numbers as pairs of real ones, for sums."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def how_to_add(
    op: dist.ReduceOp | dist.ReduceOp.RedOpType, sum_dtype: torch.dtype | None
) -> schedules.Sum:
    if sum_dtype is not None and not sum_dtype.is_floating_point:
        raise OptionError(f"sum_dtype={sum_dtype}: give a floating-point type, or None")
    return schedules.Sum(op == dist.ReduceOp.AVG, sum_dtype)


def _check_sum_dtype(sum_dtype: torch.dtype | None, dtype: torch.dtype) -> None:
    """Checks that sums of elements of a type can be kept in another type without loss.

    Raises:
        UnsupportedError: They cannot.
    """
    if sum_dtype is None or sum_dtype == dtype:
        return
    try:
        holds = dtype.is_floating_point and torch.promote_types(dtype, sum_dtype) == sum_dtype
    except RuntimeError:
        # torch has no common type of floats of 8 bits and others.
        holds = False
    if not holds:
        raise UnsupportedError(
            f"sum_dtype={sum_dtype} for a tensor of {dtype}: give a floating-point type that holds all of its values, "
            "such as torch.float32 for torch.bfloat16; tensors of integers have none"
        )


def _find(
    group: dist.ProcessGroup | None, *tensors: torch.Tensor
) -> tuple[dist.ProcessGroup, CodedGroup | None]:
    group = resolve(group)
    if not all(map(_simple, tensors)):
        return group, None
    _refuse_meta(*tensors)
    return group, coded_group(group)


def _plain(
    collective: str,
    group: dist.ProcessGroup,
    given: dist.ProcessGroup | None = None,
    size: int | None = None,
    *tensors: torch.Tensor,
) -> None:
    """Counts a call that the group carries. With the group that was given, a size and tensors it is remembered, too."""
    if codes_itself(group):
        return
    totals.fallback(collective)
    if size is not None and not is_no_member(group) and all(map(plain.is_common, tensors)):
        remember_plain(group, given is None, collective, tensors[0].dtype, size)


def _bytes(tensor: torch.Tensor) -> int:
    """Bytes of a common tensor, and nothing of others, which may not know it."""
    return tensor.nbytes if plain.is_common(tensor) else 0


def _finish(work: dist.Work, async_op: bool) -> dist.Work | None:
    if async_op:
        return work
    work.wait()
    return None


def gather(
    coded: CodedGroup,
    outputs: Sequence[torch.Tensor],
    tensor: torch.Tensor,
    result: list[torch.Tensor],
    here: bool = False,
) -> dist.Work | None:
    """Starts an all_gather in pieces; None if the group shall carry it."""
    way = coded.way("all_gather", tensor, sum(output.nbytes for output in outputs))
    if way == "plain":
        return None
    if len(outputs) != coded.size:
        raise MismatchError(
            f"{len(outputs)} outputs for {coded.size} ranks: give one for each rank"
        )
    shard = flat(tensor, "the input")
    flats = [flat(output, f"output {rank}") for rank, output in enumerate(outputs)]
    for rank, output in enumerate(flats):
        check_same(output, output.numel(), shard, f"output {rank}")
    check_same(
        flats[coded.rank], shard.numel(), shard, f"output {coded.rank}, which is this rank's,"
    )
    carrier = coded.carrier(tensor)
    if isinstance(carrier, DeviceEngine):
        return device_schedules.all_gather(carrier, shard, flats, result, way == "coded")
    return schedules.all_gather(carrier, shard, flats, result, way == "coded", here)


def all_gather(
    tensor_list: list[torch.Tensor],
    tensor: torch.Tensor,
    group: dist.ProcessGroup | None = None,
    async_op: bool = False,
) -> dist.Work | None:
    """Every rank's tensor to every rank, as `torch.distributed.all_gather`.

    Args:
        tensor_list: For each rank of the group a contiguous tensor of that rank's size. The sizes may differ, if
            compression is not off: every rank must know all of them.
        tensor: This rank's tensor.
        group: The group; None for the default one.
        async_op: Whether the call returns at once.

    Returns:
        With ``async_op`` a handle with `wait`, `is_completed` and `get_future`; else None. None also if this rank
        is no member of the group.

    Raises:
        DisagreementError: The ranks gave tensors of different sizes or types, or differ in their settings.
        PeerError: A rank died, failed, or did not answer within the group's time-out.
        PieceError: A piece was changed on its way.
        OutOfStepError: The ranks called different collectives.
        GroupError: The group was destroyed, or failed earlier.
    """
    done = plain.all_gather(tensor_list, tensor, group, async_op)
    if done is not plain.UNKNOWN:
        return done
    found, coded = _find(group, tensor, *tensor_list)
    work = (
        None
        if coded is None
        else gather(coded, tensor_list, tensor, list(tensor_list), not async_op)
    )
    if work is None:
        size = sum(map(_bytes, tensor_list))
        _plain("all_gather", found, group, size, tensor, *tensor_list)
        return dist.all_gather(tensor_list, tensor, group=found, async_op=async_op)
    return _finish(work, async_op)


def all_gather_into_tensor(
    output_tensor: torch.Tensor,
    input_tensor: torch.Tensor,
    group: dist.ProcessGroup | None = None,
    async_op: bool = False,
) -> dist.Work | None:
    """Every rank's tensor to every rank, one behind the other, as `torch.distributed.all_gather_into_tensor`.

    Args:
        output_tensor: A contiguous tensor of as many elements as all ranks' inputs have together.
        input_tensor: This rank's tensor; it may lie in its place of the output.
        group, async_op: As for `all_gather`, like what is returned and raised.
    """
    if plain.is_common(output_tensor) and plain.is_common(input_tensor):
        known = plain.find(group, "all_gather", input_tensor.dtype, output_tensor.nbytes)
        if known is not None:
            return dist.all_gather_into_tensor(
                output_tensor, input_tensor, group=known, async_op=async_op
            )
    found, coded = _find(group, output_tensor, input_tensor)
    work = (
        None
        if coded is None
        else gather_into(coded, output_tensor, input_tensor, not async_op)
    )
    if work is None:
        _plain("all_gather", found, group, _bytes(output_tensor), input_tensor, output_tensor)
        return dist.all_gather_into_tensor(
            output_tensor, input_tensor, group=found, async_op=async_op
        )
    return _finish(work, async_op)


def gather_into(
    coded: CodedGroup, output: torch.Tensor, tensor: torch.Tensor, here: bool = False
) -> dist.Work | None:
    """Starts an all_gather into one tensor in pieces; None if the group shall carry it."""
    if coded.way("all_gather", tensor, output.nbytes) == "plain":
        return None
    whole = flat(output, "the output")
    check_same(whole, tensor.numel() * coded.size, tensor, "the output")
    shards = whole.chunk(coded.size) if whole.numel() else [whole] * coded.size
    return gather(coded, shards, tensor, [output], here)


def _summing(coded: CodedGroup, collective: str, tensor: torch.Tensor, how: schedules.Sum) -> Way:
    _check_sum_dtype(how.dtype, tensor.dtype)
    way = coded.way(collective, tensor, tensor.nbytes)
    # The group would add in another type.
    if way == "plain" and how.dtype is not None and how.dtype != tensor.dtype:
        return "raw"
    return way


def scatter_sum(
    coded: CodedGroup,
    output: torch.Tensor,
    tensor: torch.Tensor,
    how: schedules.Sum,
    here: bool = False,
) -> dist.Work | None:
    """Starts a reduce_scatter in pieces; None if the group shall carry it."""
    whole = real(tensor)
    way = _summing(coded, "reduce_scatter", whole, how)
    if way == "plain":
        return None
    source, target = flat(whole, "the input"), flat(real(output), "the output")
    if source.numel() % coded.size:
        raise MismatchError(
            f"the input has {tensor.numel()} elements, which {coded.size} ranks cannot share"
        )
    share = source.numel() // coded.size
    check_same(target, share, source, "the output")
    shares = [share] * coded.size
    carrier = coded.carrier(tensor)
    if isinstance(carrier, DeviceEngine):
        return device_schedules.reduce_scatter(
            carrier, source, target, shares, how, [output], way == "coded"
        )
    return schedules.reduce_scatter(
        carrier, source, target, shares, how, [output], way == "coded", here
    )


def reduce_scatter_tensor(
    output: torch.Tensor,
    input: torch.Tensor,
    op: dist.ReduceOp | dist.ReduceOp.RedOpType = dist.ReduceOp.SUM,
    group: dist.ProcessGroup | None = None,
    async_op: bool = False,
    *,
    sum_dtype: torch.dtype | None = None,
) -> dist.Work | None:
    """The sum of all ranks' tensors, a part of it to each rank, as `torch.distributed.reduce_scatter_tensor`.

    SUM and AVG are coded, and made as `all_reduce` makes them. All other operations are passed to the group.

    Args:
        output: A contiguous tensor of one part.
        input: A contiguous tensor of as many parts as there are ranks.
        op: The operation.
        group, async_op: As for `all_gather`, like what is returned and raised.
        sum_dtype: As for `all_reduce`.
    """
    if sum_dtype is None and plain.is_common(output) and plain.is_common(input):
        known = plain.find(group, "reduce_scatter", input.dtype, input.nbytes)
        if known is not None:
            return dist.reduce_scatter_tensor(output, input, op=op, group=known, async_op=async_op)
    found, coded = _find(group, output, input)
    work = None
    if coded is not None and is_sum(op, input.dtype):
        work = scatter_sum(coded, output, input, how_to_add(op, sum_dtype), not async_op)
    if work is None:
        _refuse_sum_dtype(sum_dtype, input, found)
        _plain("reduce_scatter", found, group, _bytes(input), input, output)
        return dist.reduce_scatter_tensor(output, input, op=op, group=found, async_op=async_op)
    return _finish(work, async_op)


def _refuse_sum_dtype(
    sum_dtype: torch.dtype | None, tensor: torch.Tensor, group: dist.ProcessGroup
) -> None:
    if sum_dtype is None or sum_dtype == tensor.dtype:
        return
    if not is_no_member(group) and group.size() > 1:
        raise UnsupportedError(
            f"sum_dtype={sum_dtype}: only SUM and AVG of floating-point tensors have it, and not in "
            "groups of the backend huffwire"
        )


def add_up(
    coded: CodedGroup, tensor: torch.Tensor, how: schedules.Sum, here: bool = False
) -> dist.Work | None:
    """Starts an all_reduce in pieces; None if the group shall carry it."""
    whole = real(tensor)
    way = _summing(coded, "all_reduce", whole, how)
    if way == "plain":
        return None
    total, carrier = flat(whole, "the tensor"), coded.carrier(tensor)
    if isinstance(carrier, DeviceEngine):
        return device_schedules.all_reduce(carrier, total, how, [tensor], way == "coded")
    return schedules.all_reduce(carrier, total, how, [tensor], way == "coded", here)


def all_reduce(
    tensor: torch.Tensor,
    op: dist.ReduceOp | dist.ReduceOp.RedOpType = dist.ReduceOp.SUM,
    group: dist.ProcessGroup | None = None,
    async_op: bool = False,
    *,
    sum_dtype: torch.dtype | None = None,
) -> dist.Work | None:
    """The sum of all ranks' tensors to each rank, as `torch.distributed.all_reduce`.

    SUM and AVG are coded. The owner of a part of the tensor adds it in the order of ranks, ((x0 + x1) + x2) + ...,
    and sends the sum to all. So all ranks get the same bits. With 2 ranks they are also those of gloo, which adds
    in another order if there are more. All other operations are passed to the group.

    Args:
        tensor: A contiguous tensor, which the sum replaces.
        op: The operation. AVG divides the sum by the number of ranks.
        group, async_op: As for `all_gather`, like what is returned and raised.
        sum_dtype: The type that sums are kept in until the last one is rounded to the tensor's type, such as
            torch.float32 for a tensor of torch.bfloat16; None to round every sum, as gloo does. It must hold all
            values of the tensor's type.

    Raises:
        UnsupportedError: ``sum_dtype`` is narrower than the tensor's type, which has to be a floating-point one.
    """
    if sum_dtype is None:
        done = plain.all_reduce(tensor, op, group, async_op)
        if done is not plain.UNKNOWN:
            return done
    found, coded = _find(group, tensor)
    work = None
    if coded is not None and is_sum(op, tensor.dtype):
        work = add_up(coded, tensor, how_to_add(op, sum_dtype), not async_op)
    if work is None:
        _refuse_sum_dtype(sum_dtype, tensor, found)
        _plain("all_reduce", found, group, _bytes(tensor), tensor)
        return dist.all_reduce(tensor, op=op, group=found, async_op=async_op)
    return _finish(work, async_op)


# The size by which uneven exchanges are judged: no rank knows what the others exchange among themselves, so that the type
# alone decides.
UNEVEN = 64 << 20


def exchange(
    coded: CodedGroup,
    output: torch.Tensor,
    tensor: torch.Tensor,
    receives: Sequence[int] | None,
    sends: Sequence[int] | None,
    here: bool = False,
) -> dist.Work | None:
    """Starts an all_to_all in pieces; None if the group shall carry it."""
    way = coded.way("all_to_all", tensor, UNEVEN if receives or sends else tensor.nbytes)
    if way == "plain":
        return None
    source, target = flat(tensor, "the input"), flat(output, "the output")
    outgoing = _rows(tensor, sends, coded.size, "the input")
    incoming = _rows(output, receives, coded.size, "the output")
    check_same(target, sum(incoming), source, "the output")
    if outgoing[coded.rank] != incoming[coded.rank]:
        raise DisagreementError(
            f"this rank sends {outgoing[coded.rank]} elements to itself, and expects {incoming[coded.rank]}"
        )
    carrier = coded.carrier(tensor)
    if isinstance(carrier, DeviceEngine):
        return device_schedules.all_to_all(
            carrier, source, outgoing, target, incoming, [output], way == "coded"
        )
    return schedules.all_to_all(
        carrier, source, outgoing, target, incoming, [output], way == "coded", here
    )


def _rows(tensor: torch.Tensor, splits: Sequence[int] | None, ranks: int, what: str) -> list[int]:
    """Elements of each rank's part of a tensor whose first dimension is split."""
    rows = tensor.shape[0] if tensor.dim() else 1
    width = tensor.numel() // rows if rows else 0
    if not splits:
        if rows % ranks:
            raise MismatchError(
                f"{what} has {rows} rows, which {ranks} ranks cannot share: give split sizes"
            )
        return [rows // ranks * width] * ranks
    if len(splits) != ranks or sum(splits) != rows or min(splits) < 0:
        raise MismatchError(
            f"{what} has {rows} rows, and split sizes are {list(splits)} for {ranks} ranks"
        )
    return [split * width for split in splits]


def all_to_all_single(
    output: torch.Tensor,
    input: torch.Tensor,
    output_split_sizes: list[int] | None = None,
    input_split_sizes: list[int] | None = None,
    group: dist.ProcessGroup | None = None,
    async_op: bool = False,
) -> dist.Work | None:
    """A part of the tensor from every rank to every rank, as `torch.distributed.all_to_all_single`.

    Args:
        output: A contiguous tensor for what all ranks send to this one.
        input: A contiguous tensor: a part of its rows for each rank.
        output_split_sizes, input_split_sizes: Rows from each rank and for each rank; None for equal parts. Either
            all ranks give them or none does.
        group, async_op: As for `all_gather`, like what is returned and raised.
    """
    has_splits = bool(output_split_sizes or input_split_sizes)
    if plain.is_common(output) and plain.is_common(input):
        size = UNEVEN if has_splits else input.nbytes
        known = plain.find(group, "all_to_all", input.dtype, size)
        if known is not None:
            return dist.all_to_all_single(
                output, input, output_split_sizes, input_split_sizes, group=known, async_op=async_op
            )
    found, coded = _find(group, output, input)
    work = (
        None
        if coded is None
        else exchange(coded, output, input, output_split_sizes, input_split_sizes, not async_op)
    )
    if work is None:
        size = UNEVEN if has_splits else _bytes(input)
        _plain("all_to_all", found, group, size, input, output)
        return dist.all_to_all_single(
            output, input, output_split_sizes, input_split_sizes, group=found, async_op=async_op
        )
    return _finish(work, async_op)


def spread(
    coded: CodedGroup, tensor: torch.Tensor, root: int, here: bool = False
) -> dist.Work | None:
    """Starts a broadcast in pieces; None if the group shall carry it."""
    way = coded.way("broadcast", tensor, tensor.nbytes)
    if way == "plain":
        return None
    whole, carrier = flat(tensor, "the tensor"), coded.carrier(tensor)
    if isinstance(carrier, DeviceEngine):
        return device_schedules.broadcast(carrier, whole, root, [tensor], way == "coded")
    return schedules.broadcast(carrier, whole, root, [tensor], way == "coded", here)


def _rank_in(group: dist.ProcessGroup, rank: int | None, group_rank: int | None, what: str) -> int:
    """The rank within a group that a caller names one way or the other."""
    if (rank is None) == (group_rank is None):
        raise OptionError(f"give either {what} or group_{what}")
    if rank is not None:
        return dist.get_group_rank(group, rank)
    assert group_rank is not None
    if not 0 <= group_rank < group.size():
        raise OptionError(f"group_{what}={group_rank}: the group has {group.size()} ranks")
    return group_rank


def broadcast(
    tensor: torch.Tensor,
    src: int | None = None,
    group: dist.ProcessGroup | None = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> dist.Work | None:
    """One rank's tensor to every rank, as `torch.distributed.broadcast`.

    Args:
        tensor: A contiguous tensor of the same size and type on all ranks.
        src, group_src: The rank that it comes from, globally or within the group: one of the two.
        group, async_op: As for `all_gather`, like what is returned and raised.
    """
    done = plain.broadcast(tensor, src, group, async_op, group_src)
    if done is not plain.UNKNOWN:
        return done
    found, coded = _find(group, tensor)
    work = None
    if coded is not None:
        work = spread(coded, tensor, _rank_in(found, src, group_src, "src"), not async_op)
    if work is None:
        _plain("broadcast", found, group, _bytes(tensor), tensor)
        return dist.broadcast(tensor, src=src, group=found, async_op=async_op, group_src=group_src)
    return _finish(work, async_op)


def send_to(coded: CodedGroup, tensor: torch.Tensor, peer: int, tag: int) -> dist.Work:
    """Starts a send."""
    memory = Memory(flat(tensor, "the tensor"))

    def body(engine: Engine, as_codes: bool, sender: Sender) -> None:
        schedules.send(engine, memory, 1 - engine.rank, as_codes, sender)

    return coded.pair(peer).start(True, tensor, tag, body)


def receive_from(coded: CodedGroup, tensor: torch.Tensor, peer: int, tag: int) -> dist.Work:
    """Starts a receive."""
    memory = Memory(flat(tensor, "the tensor"))

    def body(engine: Engine, _: bool, receiver: Receiver) -> None:
        schedules.receive(engine, memory, 1 - engine.rank, receiver)

    return coded.pair(peer).start(False, tensor, tag, body)


def _check_peer(group: dist.ProcessGroup, peer: int, tag: int) -> None:
    if peer == group.rank():
        raise OptionError("a rank cannot send to itself")
    check_whole("tag", tag, 0, (1 << 31) - 1)


def isend(
    tensor: torch.Tensor,
    dst: int | None = None,
    group: dist.ProcessGroup | None = None,
    tag: int = 0,
    group_dst: int | None = None,
) -> dist.Work | None:
    """Starts to send a tensor to one rank, as `torch.distributed.isend`. The tensor must stay as it is until the
    handle's `wait` returns.

    Args:
        tensor: A contiguous tensor.
        dst, group_dst: The rank that gets it, globally or within the group: one of the two.
        group: The group; None for the default one.
        tag: Matches a send with a receive.

    Returns:
        A handle with `wait`, which raises what `all_gather` raises.
    """
    group, coded = _find(group, tensor)
    if coded is None or coded.stays(tensor):
        _plain("send", group)
        return dist.isend(tensor, dst, group=group, tag=tag, group_dst=group_dst)
    peer = _rank_in(group, dst, group_dst, "dst")
    _check_peer(group, peer, tag)
    return send_to(coded, tensor, peer, tag)


def irecv(
    tensor: torch.Tensor,
    src: int | None = None,
    group: dist.ProcessGroup | None = None,
    tag: int = 0,
    group_src: int | None = None,
) -> dist.Work | None:
    """Starts to receive a tensor from one rank, as `torch.distributed.irecv`.

    Args:
        tensor: A contiguous tensor of the size and type that the other rank sends.
        src, group_src: The rank that sends it, globally or within the group: one of the two. Sends from any rank
            are received only with compression off.
        group, tag: As for `isend`, like what is returned.
    """
    group, coded = _find(group, tensor)
    any_source = src is None and group_src is None
    if coded is not None and coded.stays(tensor):
        coded = None
    if any_source and coded is not None and coded.settings.compression != "never":
        raise UnsupportedError("a receive from any rank cannot be coded: name the rank that sends")
    if coded is None or any_source:
        _plain("send", group)
        return dist.irecv(tensor, src, group=group, tag=tag, group_src=group_src)
    peer = _rank_in(group, src, group_src, "src")
    _check_peer(group, peer, tag)
    return receive_from(coded, tensor, peer, tag)


def send(
    tensor: torch.Tensor,
    dst: int | None = None,
    group: dist.ProcessGroup | None = None,
    tag: int = 0,
    group_dst: int | None = None,
) -> None:
    """Sends a tensor to one rank, as `torch.distributed.send`: `isend`, and waits."""
    work = isend(tensor, dst, group, tag, group_dst)
    if work is not None:
        work.wait()


def recv(
    tensor: torch.Tensor,
    src: int | None = None,
    group: dist.ProcessGroup | None = None,
    tag: int = 0,
    group_src: int | None = None,
) -> int:
    """Receives a tensor from one rank, as `torch.distributed.recv`: `irecv`, and waits.

    Returns:
        The global rank that sent it; -1 if this rank is no member of the group.
    """
    group, coded = _find(group, tensor)
    any_source = src is None and group_src is None
    if (
        coded is None
        or coded.stays(tensor)
        or any_source
        and coded.settings.compression == "never"
    ):
        _plain("send", group)
        return dist.recv(tensor, src, group=group, tag=tag, group_src=group_src)
    work = irecv(tensor, src, group, tag, group_src)
    assert work is not None
    work.wait()
    return dist.get_global_rank(group, _rank_in(group, src, group_src, "src"))
