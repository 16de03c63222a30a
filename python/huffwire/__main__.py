"""The program ``huffwire``, as ``python -m huffwire`` and as the script of that name."""

from __future__ import annotations

import os
import sys

from huffwire import _huffwire


def main() -> int:
    """Runs the program with the arguments of this process; returns its exit code.

    It handles signals of the whole process, which should do nothing else.
    """
    # Python leaves closed standard streams closed. The next file that is opened would take their place.
    closed = sys.stdout is None
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    return _huffwire._program(["huffwire", *sys.argv[1:]], closed)


if __name__ == "__main__":
    sys.exit(main())
