"""The kernels compile for every architecture that is promised, and take what they took.

NVRTC comes with PyTorch's wheels for CUDA. It needs neither a GPU nor a driver.
"""

from __future__ import annotations

import json

import kernel_resources
import pytest
from kernel_resources import ARCHITECTURES, TABLE

import huffwire
from huffwire.cuda import _nvrtc, _program
from huffwire.cuda._nvrtc import Compiler

# Of a multiprocessor, and of one CTA without a special launch.
MAX_SHARED_BYTES = 48 << 10
MAX_REGISTERS = 255
# Of a compiler whose results are not in the table: stores and loads together. NVRTC 12.8 spills up to 400 bytes.
MAX_SPILLED_BYTES = 512


@pytest.fixture(scope="module")
def compiler() -> Compiler:
    try:
        return _nvrtc.compiler()
    except huffwire.DeviceError as error:
        pytest.skip(f"NOTHING IS TESTED ABOUT COMPILING THE KERNELS: {error}")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_and_take_what_they_took(
    compiler: Compiler, architecture: int, record_property
) -> None:
    kernels = kernel_resources.measure(compiler, architecture)
    assert sorted(kernels) == kernel_resources.kernel_names()
    for name, kernel in kernels.items():
        assert kernel["shared_bytes"] <= MAX_SHARED_BYTES, name
        assert 0 < kernel["registers"] <= MAX_REGISTERS, name
    recorded = json.loads(TABLE.read_text())
    version = ".".join(map(str, compiler.version))
    record_property("nvrtc", version)
    if version == recorded["nvrtc"]:
        before = recorded["kernels"][f"sm_{architecture}"]
        changed = {name: (before.get(name), found) for name, found in kernels.items() if not alike(before.get(name), found)}
        assert not changed, (
            f"kernels take other resources than before: {changed}. If that is meant: kernel_resources.py --write"
        )
    else:
        print(f"NVRTC is {version}, the table is of {recorded['nvrtc']}: only spills are looked at")
        spilled = {name: kernel["spilled_bytes"] for name, kernel in kernels.items()}
        assert max(spilled.values()) <= MAX_SPILLED_BYTES, f"NVRTC {version} spills {spilled}"


def alike(before: dict[str, int] | None, found: dict[str, int]) -> bool:
    """Whether a kernel takes what it took. NVRTC 13.2 made two versions of the same code of `decode_plan`, which differ in
    1.3 % of their instructions."""
    if before is None or before.keys() != found.keys():
        return False
    least, most = sorted([before["instructions"], found["instructions"]])
    others = before.keys() - {"instructions"}
    return most <= 1.02 * least and all(before[what] == found[what] for what in others)


def test_the_table_has_every_kernel() -> None:
    recorded = json.loads(TABLE.read_text())["kernels"]
    assert list(recorded) == [f"sm_{a}" for a in ARCHITECTURES]
    assert all(sorted(kernels) == kernel_resources.kernel_names() for kernels in recorded.values())


def test_errors_of_the_compiler_reach_the_caller(compiler: Compiler) -> None:
    with pytest.raises(huffwire.DeviceError, match=r"(?s)sm_90.*kernels\.cu.*nonsense"):
        compiler.compile("nonsense;", {}, 90, ())
    cubin, log = compiler.compile('#include "a.h"\n', {"a.h": 'extern "C" __global__ void a() {}'}, 90, ())
    assert cubin.startswith(b"\x7fELF") and log == ""


def test_each_gpu_gets_the_code_that_it_runs(compiler: Compiler) -> None:
    known = compiler.architectures()
    assert set(ARCHITECTURES) <= set(known)
    for architecture in ARCHITECTURES:
        assert compiler.architecture(divmod(architecture, 10)) == architecture
    # Ampere and Ada run the code of 8.0; nothing newer does.
    assert compiler.architecture((8, 9)) in (80, 86, 87, 88, 89)
    with pytest.raises(huffwire.DeviceError, match=r"7\.5.*Ampere"):
        compiler.architecture((7, 5))
    with pytest.raises(huffwire.DeviceError, match="newer PyTorch"):
        compiler.architecture((99, 0))


def test_a_driver_that_is_too_old_is_named(compiler: Compiler) -> None:
    with pytest.raises(huffwire.DeviceError, match="the driver is of CUDA 11.*newer driver"):
        _nvrtc.compiler(11)
    assert _nvrtc.compiler(compiler.version[0]).version == compiler.version


def test_compiled_kernels_are_kept(compiler: Compiler, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HUFFWIRE_CACHE", str(tmp_path))
    monkeypatch.setattr(_program, "sources", lambda: {"kernels.cu": 'extern "C" __global__ void a() {}'})
    first = _program.cubin(compiler, 90)
    monkeypatch.setattr(Compiler, "compile", None)
    assert _program.cubin(compiler, 90) == first
