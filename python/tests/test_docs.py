"""The blocks of code in the documents run, and print no error."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import huffwire

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "python.md"
DOCUMENTS = [GUIDE, ROOT / "docs" / "sync.md", ROOT / "docs" / "gpu.md", ROOT / "README.md", ROOT / "python" / "README.md"]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path) -> list[tuple[str, int, str]]:
    """The blocks of a document: language, number of the first line, content."""
    text = document.read_text()
    return [(m[1], text.count("\n", 0, m.start(2)), m[2]) for m in BLOCK.finditer(text)]


def run(arguments: list[str], folder: Path) -> None:
    # The package that is tested, wherever it is.
    environment = os.environ | {"PYTHONPATH": str(Path(huffwire.__file__).parents[1])}
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{arguments}:\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_run(document: Path, tmp_path: Path) -> None:
    """Python blocks are one program. Commands of huffwire run where they stand."""
    # Lines keep their numbers, so that a traceback points into the document.
    lines: list[str] = []
    for language, start, content in blocks(document):
        if language not in ("python", "sh"):
            assert language in ("", "rust"), f"{document}: a block of {language}"
            continue
        lines += [""] * (start - len(lines))
        for line in content.splitlines():
            lines.append(line if language == "python" else of_command(document, line))
    program = tmp_path / document.name
    program.write_text("\n".join(lines) + "\n")
    (tmp_path / "work").mkdir()
    run([sys.executable, str(program)], tmp_path / "work")


def of_command(document: Path, line: str) -> str:
    """A command of a shell as a line of Python; what is tested elsewhere becomes nothing."""
    words = shlex.split(line, comments=True)
    if words[:1] == ["huffwire"] and document == GUIDE:
        command = f"[__import__('sys').executable, '-m', *{words!r}]"
        return f"__import__('subprocess').run({command}, check=True, stdout=-3)"
    if words[:2] == ["pip", "install"]:
        extras = re.findall(r"\[(\w+)\]", words[2])
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
            "optional-dependencies"
        ]
        assert set(extras) <= set(known), f"{document}: {line}"
        return ""
    # The commands of the README are tests of the program, see crates/huffwire-cli.
    assert document != GUIDE or not words, f"{document}: a command that nothing tests: {line}"
    return ""


def test_the_guide_has_all_its_parts() -> None:
    text = GUIDE.read_text()
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    for linked in re.findall(r"\]\(#([\w-]+)\)", text):
        assert linked in [heading.lower().replace(" ", "-") for heading in headings]
    for linked in re.findall(r"\]\((?!#|https?:)([^)#]+)", text):
        assert (GUIDE.parent / linked).exists(), linked
    assert len([b for b in blocks(GUIDE) if b[0] == "python"]) >= 12


def test_the_guide_names_errors_that_there_are() -> None:
    builtin = {"ValueError", "TypeError", "OSError", "KeyError", "RuntimeError"}
    named = set(re.findall(r"`(\w+Error)`", GUIDE.read_text())) - builtin
    for name in named:
        assert issubclass(getattr(huffwire, name), huffwire.Error)
