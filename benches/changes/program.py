"""huffwire's deltas, by the example `delta_pair` of the library."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

import peers

NAMES = {np.dtype(np.uint16): "bf16", np.dtype(np.uint32): "f32"}


def build() -> Path:
    return peers.build("-p", "huffwire", "--example", "delta_pair")


class Huffwire:
    """The program, and a folder for the files that it reads."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.folder = program, folder

    def pair(self, base: np.ndarray, new: np.ndarray) -> dict[str, Any]:
        """What the program tells of a pair. It has applied the delta, and compared."""
        self.put(base, new)
        return self.run(base.dtype)

    def put(self, base: np.ndarray, new: np.ndarray) -> None:
        """Writes the files of a pair."""
        base.tofile(self.folder / "base")
        new.tofile(self.folder / "new")

    def run(self, kind: np.dtype, rounds: int = 0) -> dict[str, Any]:
        """What the program tells of the pair that is there."""
        command = [str(self.program), NAMES[kind], str(self.folder / "base"), str(self.folder / "new"), *([str(rounds)] if rounds else [])]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise peers.Failure(f"{self.program} cannot be run: {error}") from None
        if done.returncode != 0:
            raise peers.Failure(f"`{' '.join(command)}` failed:\n{done.stderr.strip()}")
        found = json.loads(done.stdout)
        for what in ("compare", "encode", "apply"):
            seconds = found.pop(f"{what}_seconds")
            if rounds:
                found[what] = min(seconds)
        return found
