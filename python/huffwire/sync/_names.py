"""Names of tensors that are published."""

from __future__ import annotations

from huffwire._errors import UnsupportedError


def check_name(name: object) -> None:
    """Refuses what is no name of a tensor.

    Raises:
        UnsupportedError: It is no string, or one that is no text.
    """
    if not isinstance(name, str):
        raise UnsupportedError("give a dictionary of tensors by their names")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UnsupportedError(f"the name {name!r} is no text: {error}") from None
