"""Data to train on: images, text, and a synthetic set of either kind. Nothing is downloaded."""

from __future__ import annotations

import re
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Sequence

import peers

if TYPE_CHECKING:
    import numpy as np

CLASSES = 10
# A record of CIFAR-10's binary files: the class, then 32 x 32 of red, green and blue.
CIFAR_SIDE = 32
CIFAR_RECORD = 1 + 3 * CIFAR_SIDE * CIFAR_SIDE
CIFAR_FILES = ("data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin")
# Python's own library is larger: this is enough for some thousand steps.
FOUND_TEXT_BYTES = 4 << 20
WORD = re.compile(r"\w+|[^\w\s]|\n")
VOCABULARY = 4000
SYNTHETIC_VOCABULARY = 512


@dataclass
class Images:
    """Pictures as floats (number, channels, height, width), and their classes."""

    pictures: np.ndarray
    classes: np.ndarray
    source: str


@dataclass
class Tokens:
    """A sequence of numbers below `vocabulary`."""

    tokens: np.ndarray
    vocabulary: int
    source: str


def cifar10(folder: Path) -> Images:
    """CIFAR-10's training set, "binary version", from the folder where its files are."""
    import numpy as np

    records = []
    for name in CIFAR_FILES:
        path = folder / name
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise peers.Failure(f"{path}: {error.strerror}; it is in cifar-10-binary.tar.gz") from None
        if not raw or len(raw) % CIFAR_RECORD:
            raise peers.Failure(f"{path} has {len(raw)} bytes, which is no multiple of {CIFAR_RECORD}: not CIFAR-10's")
        records.append(np.frombuffer(raw, np.uint8).reshape(-1, CIFAR_RECORD))
    table = np.concatenate(records)
    if table[:, 0].max() >= CLASSES:
        raise peers.Failure(f"{folder}: a class of {table[:, 0].max()}; CIFAR-10 has {CLASSES}")
    pictures = table[:, 1:].reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE).astype(np.float32) / 127.5 - 1.0
    return Images(pictures, table[:, 0].astype(np.int64), f"CIFAR-10, {len(table)} pictures of 3 x 32 x 32")


def digits() -> Images:
    """scikit-learn's digits, each pixel four times, so that there is something to pool."""
    import numpy as np
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pictures = (bunch.images / 8.0 - 1.0).astype(np.float32)[:, None].repeat(2, axis=2).repeat(2, axis=3)
    return Images(pictures, bunch.target.astype(np.int64), f"scikit-learn's digits, {len(pictures)} pictures of 1 x 16 x 16")


def synthetic_images(seed: int, number: int = 4096, side: int = 16) -> Images:
    """Each class is a smooth pattern, shifted at random and drowned in noise."""
    import numpy as np

    random = np.random.default_rng(seed)
    coarse = random.standard_normal((CLASSES, 3, side // 4, side // 4))
    patterns = coarse.repeat(4, axis=2).repeat(4, axis=3)
    classes = random.integers(CLASSES, size=number)
    shifts = random.integers(side, size=(number, 2))
    pictures = np.stack([np.roll(patterns[one], shift, (1, 2)) for one, shift in zip(classes, shifts)])
    pictures += random.standard_normal(pictures.shape)
    return Images(pictures.astype(np.float32), classes, f"synthetic images, {number} of 3 x {side} x {side}, seed {seed}")


def words(text: str, vocabulary: int = VOCABULARY) -> tuple[list[int], int]:
    """Words as numbers, the frequent ones first; 0 is a word that is none of them. And how many numbers there are."""
    found = WORD.findall(text)
    # Equal counts in the order of the alphabet: the same text gives the same numbers.
    frequent = sorted(Counter(found).items(), key=lambda item: (-item[1], item[0]))[: vocabulary - 1]
    numbers = {word: number for number, (word, _) in enumerate(frequent, 1)}
    return [numbers.get(word, 0) for word in found], len(numbers) + 1


def text(paths: Sequence[Path]) -> Tokens:
    """The words of text files, or of the modules of Python's library."""
    import numpy as np

    if paths:
        source = ", ".join(path.name for path in paths)
    else:
        paths, source = found_text()
    try:
        content = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)
    except OSError as error:
        raise peers.Failure(f"{error.filename}: {error.strerror}") from None
    numbers, vocabulary = words(content)
    if len(numbers) < 10_000:
        raise peers.Failure(f"{source}: {len(numbers)} words are too few to train on; 10000 are needed")
    return Tokens(np.array(numbers), vocabulary, f"{source}: {len(numbers)} words, {vocabulary} different ones kept")


def found_text() -> tuple[list[Path], str]:
    """Python's library, as far as it is needed."""
    paths, total = [], 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        if total >= FOUND_TEXT_BYTES:
            break
        paths.append(path)
        total += path.stat().st_size
    if not paths:
        raise peers.Failure("Python's library has no sources here: name text files with --text")
    return paths, f"{len(paths)} modules of Python {sysconfig.get_python_version()}'s library"


def synthetic_sequence(seed: int, length: int = 200_000, vocabulary: int = SYNTHETIC_VOCABULARY) -> Tokens:
    """A Markov chain: eight tokens may follow each, more often those that are frequent in all."""
    import numpy as np

    random = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, vocabulary + 1)
    followers = random.choice(vocabulary, size=(vocabulary, 8), p=weights / weights.sum())
    choices = random.integers(8, size=length)
    tokens = np.empty(length, np.int64)
    token = 0
    for place in range(length):
        token = followers[token, choices[place]]
        tokens[place] = token
    return Tokens(tokens, vocabulary, f"a synthetic Markov chain, {length} tokens of {vocabulary}, seed {seed}")
