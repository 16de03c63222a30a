"""Pieces: what is written is read, and everything else is refused by the right error."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch
from huffwire import CodebookError, DamagedError, Error, OptionError
from huffwire._huffwire import _ExchangeCodec
from huffwire.distributed import DisagreementError, OutOfStepError, PeerError, PieceError, pieces

PLACE = pieces.Place("all_gather", 0, 7, torch.bfloat16, 40_000, 1, 3, 2, 16_000)
ELEMENTS = torch.randn(8000, generator=torch.Generator().manual_seed(3)).bfloat16()


def written(coded: bool, place: pieces.Place = PLACE) -> tuple[pieces.Coder, torch.Tensor, int]:
    coder = pieces.Coder(None)
    buffer = torch.empty(pieces.capacity(16_384), dtype=torch.uint8)
    return coder, buffer, coder.write(place, ELEMENTS, coded, buffer)


@pytest.mark.parametrize("coded", [True, False])
def test_a_piece_comes_back(coded: bool) -> None:
    coder, buffer, length = written(coded)
    restored = torch.zeros_like(ELEMENTS)
    assert coder.read(PLACE, 2, buffer, restored) == length == coder.length(PLACE, 2, buffer)
    assert torch.equal(restored.view(torch.int16), ELEMENTS.view(torch.int16))
    if coded:
        assert length < 0.75 * 16_000
    else:
        assert length == 16_000 + pieces.HEADER


@pytest.mark.parametrize("coded", [True, False])
def test_every_flipped_bit_is_noticed(coded: bool) -> None:
    coder, buffer, length = written(coded)
    bits = list(range(8 * pieces.HEADER)) + random.Random(1).sample(
        range(8 * pieces.HEADER, 8 * length), 800
    )
    for bit in bits:
        damaged = buffer.clone()
        damaged[bit // 8] ^= 1 << bit % 8
        # A version that differs is told as such.
        error = DisagreementError if bit // 8 == 4 else PieceError
        with pytest.raises(error):
            coder.read(PLACE, 2, damaged, torch.zeros_like(ELEMENTS))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            {"sequence": 8},
            OutOfStepError,
            r"call 8 \(all_gather\) while this rank is in call 7 \(all_gather\)",
        ),
        ({"collective": "broadcast"}, OutOfStepError, "same collectives"),
        (
            {"dtype": torch.float16},
            DisagreementError,
            "a tensor of float16, and this rank one of bfloat16",
        ),
        ({"stream": 50_000}, DisagreementError, "sends 50000 bytes in 3 pieces"),
        ({"count": 4}, DisagreementError, "shapes"),
        ({"stage": 1}, OutOfStepError, "stage 1"),
        ({"index": 2}, OutOfStepError, "piece 2"),
        ({"origin": 1}, OutOfStepError, "of rank 1"),
    ],
)
@pytest.mark.parametrize("coded", [True, False])
def test_a_piece_of_another_place(change: dict, error: type, text: str, coded: bool) -> None:
    coder, buffer, _ = written(coded, dataclasses.replace(PLACE, **change))
    restored = torch.zeros_like(ELEMENTS)
    with pytest.raises(error, match=text):
        coder.read(PLACE, 2, buffer, restored)
    assert not restored.any()


def test_other_codebooks() -> None:
    coder, buffer, _ = written(True)
    coder.generation = bytes(range(8))
    with pytest.raises(CodebookError, match="0001020304050607.*setup"):
        coder.read(PLACE, 2, buffer, torch.zeros_like(ELEMENTS))


def test_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "VERSION", 9)
    coder, buffer, _ = written(True)
    monkeypatch.undo()
    with pytest.raises(DisagreementError, match="version 9, and this rank reads version 1"):
        coder.read(PLACE, 2, buffer, torch.zeros_like(ELEMENTS))


def test_a_message_moved_into_another_piece() -> None:
    # Headers are right, the payload belongs elsewhere.
    coder, buffer, length = written(True, dataclasses.replace(PLACE, index=0))
    _, other, other_length = written(True)
    assert length == other_length
    other[pieces.HEADER : length] = buffer[pieces.HEADER : length]
    with pytest.raises(PieceError, match="context"):
        coder.read(PLACE, 2, other, torch.zeros_like(ELEMENTS))


def test_foreign_messages() -> None:
    coder = pieces.Coder(None)
    for fill in (torch.zeros, torch.ones):
        with pytest.raises(PieceError, match="foreign"):
            coder.read(PLACE, 2, fill(4096, dtype=torch.uint8), torch.zeros_like(ELEMENTS))
    generator = torch.Generator().manual_seed(5)
    for _ in range(200):
        noise = torch.randint(0, 256, (4096,), dtype=torch.uint8, generator=generator)
        with pytest.raises(Error):
            coder.read(PLACE, 2, noise, torch.zeros_like(ELEMENTS))


def test_a_failure_tells_its_reason() -> None:
    coder = pieces.Coder(None)
    buffer = torch.empty(4096, dtype=torch.uint8)
    coder.write_failure(PLACE, "the disk is full " * 500, buffer)
    with pytest.raises(PeerError, match="rank 2 failed: the disk is full"):
        coder.read(PLACE, 2, buffer, torch.zeros_like(ELEMENTS))


def test_sizes_of_pieces() -> None:
    assert pieces.checked_piece(4096) == 4096
    for size in (0, 1000, 4097, 1 << 30, True, "4096"):
        with pytest.raises(OptionError, match="piece="):
            pieces.checked_piece(size)


def quantized(generation: bytes = b"8 bytes.") -> tuple[pieces.Coder, torch.Tensor, int]:
    coder = pieces.Coder(None)
    buffer = torch.empty(pieces.capacity(16_384), dtype=torch.uint8)
    codec = _ExchangeCodec(("qsgd", 4, 512, "max"))
    floats = ELEMENTS.float()
    payload = buffer.data_ptr() + pieces.HEADER, buffer.numel() - pieces.HEADER
    length, checksum, not_finite = codec.encode(
        (floats.data_ptr(), floats.nbytes), None, payload, None, (1, 0, 1.0)
    )
    assert not_finite == 0
    return coder, buffer, coder.seal_quantized(QUANTIZED, generation, length, checksum, buffer)


QUANTIZED = dataclasses.replace(PLACE, collective="quantized_all_reduce")


def opened(coder: pieces.Coder, buffer: torch.Tensor, place: pieces.Place = QUANTIZED) -> None:
    payload, checksum = coder.open_quantized(place, b"8 bytes.", 2, buffer)
    restored = torch.empty(8000)
    codec = _ExchangeCodec(("qsgd", 4, 512, "max"))
    codec.decode(payload, checksum, (restored.data_ptr(), restored.nbytes), 0)
    assert (restored - ELEMENTS).norm() < 0.5 * ELEMENTS.norm()


def test_every_flipped_bit_of_quantized_values_is_noticed() -> None:
    coder, buffer, length = quantized()
    opened(coder, buffer)
    assert length < 8000 * 3 / 8
    for bit in [*range(8 * pieces.HEADER), *range(8 * pieces.HEADER, 8 * length, 23)]:
        damaged = buffer.clone()
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DisagreementError if bit // 8 == 4 else DamagedError):
            opened(coder, damaged)


def test_quantized_values_of_another_place_or_state_are_refused() -> None:
    coder, buffer, _ = quantized()
    with pytest.raises(OutOfStepError, match="call 7"):
        opened(coder, buffer, dataclasses.replace(QUANTIZED, sequence=8))
    with pytest.raises(OutOfStepError, match="stage 0, piece 1"):
        opened(coder, buffer, dataclasses.replace(QUANTIZED, stage=1))
    with pytest.raises(DisagreementError, match="shapes"):
        opened(coder, buffer, dataclasses.replace(QUANTIZED, stream=20_000))
    with pytest.raises(OutOfStepError):
        coder.read(PLACE, 2, buffer, torch.empty_like(ELEMENTS))
    with pytest.raises(PieceError, match="form 3"):
        coder.read(QUANTIZED, 2, quantized(coder.generation)[1], torch.empty_like(ELEMENTS))
    coder, buffer, _ = quantized(b"8 others")
    with pytest.raises(DisagreementError, match="another way"):
        opened(coder, buffer)
    coder, buffer, _ = written(True, QUANTIZED)
    with pytest.raises(PieceError, match="form 1"):
        opened(coder, buffer)
