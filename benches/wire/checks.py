"""What must be the same, bit for bit."""

from __future__ import annotations


def unequal(collective: str, ranks: int, digests: list[dict[str, str]]) -> list[str]:
    """Contenders whose results are not what they must be.

    Args:
        collective: Its name.
        ranks: How many there are.
        digests: For each rank, a hash of each contender's result.
    """
    wrong = []
    for name in digests[0]:
        mine = [each[name] for each in digests]
        if collective == "all_reduce" and len(set(mine)) != 1:
            wrong.append(f"{name} between ranks")
        # With more than 2 ranks gloo adds in another order than huffwire.
        allowed = ["gloo"] if collective != "all_reduce" or ranks == 2 else ["coded"]
        if name.startswith("auto"):
            allowed = ["gloo", "coded"]
        if name == "gloo":
            continue
        if not any(mine == [each[other] for each in digests] for other in allowed):
            wrong.append(name)
    return wrong
