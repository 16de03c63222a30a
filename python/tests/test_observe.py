"""`huffwire.observe`: a program is watched, and does the same."""

from __future__ import annotations

import io

import pytest
import ranks
import torch
import torch.distributed as dist


def watched(rank: int, size: int) -> tuple[str, list]:
    import huffwire

    text = io.StringIO()
    generator = torch.Generator().manual_seed(rank)
    with huffwire.observe(file=text) as found:
        for _ in range(6):
            x = torch.randn(300_000, generator=generator).bfloat16()
            dist.all_reduce(x)
            dist.all_gather_into_tensor(torch.empty(size * 1000), torch.randn(1000))
        # A long run keeps the sizes that there are, not one for each call.
        assert [list(row._sizes.values()) for row in found._found.values()] == [[6], [6]]
        dist.broadcast(x, 0)
        dist.barrier()
        dist.all_reduce(torch.randint(0, 9, (5000,)))
    assert torch.equal(x, _broadcast(x))
    dist.all_reduce(x)
    assert 1e6 < found.link.bytes_per_second
    rows = [
        (row.collective, row.dtype, row.calls, row.bytes, row.builtin, row.calibrated, row.seconds)
        for row in found.rows
    ]
    return text.getvalue(), rows


def _broadcast(x: torch.Tensor) -> torch.Tensor:
    """What rank 0 has."""
    kept = x.clone()
    dist.broadcast(kept, 0)
    return kept


@ranks.needs_hooks
def test_what_is_seen() -> None:
    (text, rows), (silent, others) = ranks.run(watched, 2)
    assert silent == ""
    assert text.startswith("huffwire: 2 ranks, link of ")
    found = {row[:2]: row[2:] for row in rows}
    assert set(found) == {
        ("all_reduce", "bf16"),
        ("all_gather", "f32"),
        ("broadcast", "bf16"),
        ("all_reduce", "i64"),
    }
    calls, size, builtin, calibrated, seconds = found["all_reduce", "bf16"]
    assert (calls, size) == (6, 3_600_000)
    assert 0.30 < builtin < 0.36 and 0.30 < calibrated < 0.37
    assert seconds > 0
    assert found["all_gather", "f32"][:2] == (6, 6 * 8000)
    # The ranks that a broadcast overwrites have nothing to sample.
    assert {row[:2]: row[2:] for row in others}["broadcast", "bf16"][2] is None
    assert found["broadcast", "bf16"][2] is not None
    assert text.count("\n") == 6 and "33." in text


def watched_in_parts(rank: int, size: int) -> list[int]:
    import huffwire

    found = []
    groups = [dist.new_group([0]), dist.new_group([0, 1]), dist.group.WORLD]
    for group in [*groups, *groups]:
        if group is not dist.GroupMember.NON_GROUP_MEMBER:
            with huffwire.observe(group, file=io.StringIO()) as seen:
                dist.all_reduce(torch.ones(10), group=group)
            found.append(seen.rows[0].calls)
    return found


@ranks.needs_hooks
def test_groups_with_other_members_are_watched_one_after_the_other() -> None:
    assert ranks.run(watched_in_parts, 3, seconds=30) == [[1] * 6, [1] * 4, [1] * 2]


def test_without_a_group() -> None:
    import huffwire
    from huffwire.distributed import GroupError

    with pytest.raises(GroupError), huffwire.observe():
        pass
    with pytest.raises(AttributeError, match="nothing"):
        huffwire.nothing  # noqa: B018
