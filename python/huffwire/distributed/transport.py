"""What carries pieces from rank to rank: the interface behind which gloo and other transports stand.

The parts of the house meet like this. A *schedule* says which rank sends which piece to whom (`schedules`). A *part*
of a call writes pieces into memory, hands them over, and reads those that came (`engine.Sender`,
`engine.Receiver`). A *transport* brings the bytes of a piece to another rank, in the order in which they were handed
over. It knows ranks and memory, and neither collectives nor codes. So a schedule is written once, and what it gives
does not depend on the transport.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import torch

from huffwire.distributed.c10d import Store
from huffwire.distributed.errors import DisagreementError

if TYPE_CHECKING:
    from huffwire.distributed.calls import Operation
    from huffwire.distributed.engine import Engine
    from huffwire.distributed.pieces import Place

# The transports that there are. With "device" tensors of devices take another way (`device_engine`), and pieces of all other
# tensors go as with "gloo".
TransportName: TypeAlias = Literal["gloo", "tcp", "device"]

# A message under way, as the transport that carries it knows it.
Pending: TypeAlias = Any


class Stream(Protocol):
    """The pieces that one peer sends in a call, in their order."""

    peer: int

    def next(self, place: Place, elements: torch.Tensor | None) -> torch.Tensor | None:
        """Receives the next piece, which must belong to `place`.

        Args:
            elements: Where its elements belong, if it is not needed as a whole.

        Returns:
            Memory that holds the piece, and must be handed back by `release`; None if the transport has brought the
            elements to their place.
        """

    def release(self, buffer: torch.Tensor) -> None:
        """Hands back the memory of a piece that was read."""

    def abandon(self) -> None:
        """Gives up after a failure."""


class Transport(Protocol):
    """Messages between the ranks of a group.

    A failure raises RuntimeError or OSError; the engine tells callers what it means.

    Attributes:
        takes_at_once: Whether a few short messages can be sent before anybody receives them.
        sends_parts: Whether it has `post_parts`.
    """

    takes_at_once: bool
    sends_parts: bool

    def check(self, engine: Engine) -> None:
        """Raises what is known to have happened to other ranks, before a call begins."""

    def post_send(self, message: torch.Tensor, peer: int, tag: int) -> Pending:
        """Starts to send bytes, which must stay as they are until they were waited for."""

    def post_parts(self, head: bytes, elements: torch.Tensor, peer: int) -> Pending:
        """Starts to send a header, and behind it elements from where they lie."""

    def post_receive(self, buffer: torch.Tensor, peer: int, tag: int) -> Pending:
        """Starts to receive a message as long as the buffer."""

    def wait(self, pending: Pending) -> None:
        """Waits for the end of what was started. Each is waited for exactly once, of a peer in the order of starts."""

    def stream(self, engine: Engine, operation: Operation, peer: int, pieces: int) -> Stream:
        """Starts to receive so many pieces from a peer."""

    def exchange(self, mine: torch.Tensor) -> list[torch.Tensor]:
        """Every rank's bytes to every rank; all give as many."""

    def barrier(self) -> None:
        """Waits until all ranks have called this."""

    def fail(self, reason: bytes, tag: int) -> None:
        """Sends a last message to all ranks that can be reached."""

    def close(self) -> None:
        """Ends what is under way, as far as the transport can."""


def check_same_transport(
    store: Store, size: int, name: TransportName, timeout: timedelta
) -> None:
    """Compares the transports that the ranks want, before any rank waits for a connection of the wrong kind.

    The number of questions to the store does not depend on the number of ranks.

    Raises:
        DisagreementError: They differ. All ranks raise it.
        RuntimeError: A rank did not say its transport in time.
    """
    store.add(f"transport/{name}", 1)
    if store.add("transport/all", 1) == size:
        # All ranks have said by now what they want.
        alike = store.add(f"transport/{name}", 0) == size
        store.set("transport/verdict", "alike" if alike else "different")
    store.wait(["transport/verdict"], timeout)
    if store.get("transport/verdict") != b"alike":
        raise DisagreementError(
            f"the ranks of the group differ in transport: this rank has {name!r}, and others have not; give all ranks "
            "the same (the environment variable HUFFWIRE_TRANSPORT too)"
        )
