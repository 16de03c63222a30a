"""The figures of docs/single-stage.md, in the form of those of Agrawal et al.; they need matplotlib."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import plot
from gemma import document, measure

_PAPER = "#b04a4a"


def draw(found: dict[str, Any], folder: Path) -> list[Path]:
    """Draws everything; returns the paths."""
    import matplotlib

    matplotlib.use("svg")
    paths = []
    with matplotlib.rc_context(plot.STYLE):
        for name, one in (("pmf", _pmf), ("savings", _savings), ("kl", _divergence), ("loss", _loss)):
            paths.append(folder / f"single-stage-{name}.svg")
            figure = one(found)
            figure.set_layout_engine("constrained")
            plot.save(figure, paths[-1])
    return paths


def _panels(found: dict[str, Any], height: float) -> Iterator[tuple[Any, Any, str, dict[str, Any]]]:
    """A panel for each of the two kinds: figure, axes, name, lists."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(len(measure.SHOWN), 1, figsize=(7.2, height), sharex=True)
    for axes, name in zip(panels, measure.SHOWN, strict=True):
        axes.set_title(name, fontsize=8, loc="left")
        yield figure, axes, name, found["shown"][name]


def _pmf(found: dict[str, Any]) -> Any:
    """One shard against the average of all."""
    for figure, axes, _, lists in _panels(found, 4.2):
        axes.bar(range(256), lists["shard_pmf"], 1.0, color=plot.ENCODE,
                 label=f"layer {measure.SHOWN_LAYER}, shard {measure.SHOWN_SHARD}: {lists['shard_entropy']:.2f} bits")
        axes.step(range(256), lists["average_pmf"], where="mid", color=plot.DECODE, linewidth=0.8, label="average of all shards")
        axes.set_ylabel("probability")
        axes.set_xlim(-1, 256)
        axes.legend(fontsize=7)
    axes.set_xlabel("byte of a bf16 value")
    return figure


def _by_shard(axes: Any, values: Sequence[float], label: str, colour: str) -> None:
    axes.plot(range(len(values)), values, color=colour, linewidth=0.6, label=label)


def _shards(axes: Any, lists: dict[str, Any]) -> None:
    number = len(lists["kl_bits"])
    axes.set_xlim(0, number)
    axes.set_xlabel(f"shard ({number // lists['layers']} of each of {lists['layers']} layers)")


def _savings(found: dict[str, Any]) -> Any:
    """What each shard saves, three ways."""
    for figure, axes, _, lists in _panels(found, 4.6):
        _by_shard(axes, lists["shannon_saving_percent"], "Shannon", plot.BOUND)
        _by_shard(axes, lists["huffman_saving_percent"], "Huffman for each shard", plot.ENCODE)
        _by_shard(axes, lists["fixed_saving_percent"], "fixed codebook of the step before", plot.DECODE)
        axes.axhspan(21.3, 21.9, color=_PAPER, alpha=0.15, label="the paper's shards")
        axes.set_ylabel("% saved")
    _shards(axes, lists)
    _legend(figure, axes)
    return figure


def _legend(figure: Any, axes: Any) -> None:
    figure.legend(*axes.get_legend_handles_labels(), fontsize=7, ncols=4, loc="outside upper center")


def _divergence(found: dict[str, Any]) -> Any:
    """KL divergence of each shard from the average."""
    for figure, axes, name, lists in _panels(found, 4.2):
        row = document.one(found, "previous", name=name, symbols="bytes")
        _by_shard(axes, lists["kl_bits"], "each shard", plot.ENCODE)
        axes.axhline(0.06, color=_PAPER, linewidth=0.8, label="the paper's bound")
        axes.axhline(row["chance_kl_bits"], color=plot.BOUND, linewidth=0.8, label="by chance, in the mean")
        axes.set_ylabel("KL divergence, bits")
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_yticks([0.003, 0.01, 0.03, 0.1], ["0.003", "0.01", "0.03", "0.1"])
    _shards(axes, lists)
    _legend(figure, axes)
    return figure


def _loss(found: dict[str, Any]) -> Any:
    """What the fixed codebook loses to Huffman, by kind and symbol rule."""
    import matplotlib.pyplot as plt

    names = [row["name"] for row in document.rows(found, "previous", symbols="bytes")]
    figure, axes = plt.subplots(figsize=(7.2, 0.24 * len(names) + 1.0))
    for number, (rule, title, colour) in enumerate((("bytes", "bytes", plot.ENCODE), ("auto", "exponents", plot.SAVED))):
        values = [document.one(found, "earlier", name=name, symbols=rule)["over_huffman_percent"] for name in names]
        places = [place + 0.2 - 0.4 * number for place in range(len(names))]
        axes.barh(places, values, 0.38, color=colour, label=title)
    axes.axvline(0.5, color=_PAPER, linewidth=0.8, label="the paper's bound")
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("codebook of an earlier step, over Huffman for each shard, %")
    axes.legend(fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure
