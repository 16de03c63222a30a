"""The package as a whole: what an import brings, the stubs, the version, the program."""

import ast
import doctest
import importlib
import inspect
import os
import pickle
import pkgutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import ranks

import huffwire
from huffwire import _huffwire

PACKAGE = Path(huffwire.__file__).parent
ROOT = Path(__file__).parents[2]


def run(*arguments, **options):
    """Runs another Python; returns its exit code, output and errors."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


def program(*arguments, **options):
    return run("-m", "huffwire", *arguments, **options)


# The import.


def test_an_import_brings_neither_torch_nor_numpy():
    code = "import sys, huffwire; print(*{'torch', 'numpy', 'ml_dtypes'} & set(sys.modules))"
    assert run("-c", code) == (0, "\n", "")


def test_the_version_is_that_of_the_crates():
    manifest = (ROOT / "Cargo.toml").read_text()
    assert f'\n[workspace.package]\nversion = "{huffwire.__version__}"\n' in manifest


def test_what_is_public_is_there_and_documented():
    modules = ["huffwire", *(f"huffwire.{name}" for name in public_modules())]
    for module in map(importlib.import_module, modules):
        assert module.__doc__, module
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isroutine(value) or inspect.isclass(value):
                assert value.__doc__, f"{module.__name__}.{name}"


def public_modules():
    found = [module.name for module in pkgutil.iter_modules([str(PACKAGE)])]
    return [name for name in found if not name.startswith("_")]


def test_the_errors_are_a_family():
    for name in huffwire._errors.__all__:
        error = getattr(huffwire, name)
        assert issubclass(error, huffwire.Error)
        assert error.__module__ == "huffwire"
        assert str(error("what to do")) == "what to do"
        # They cross to other processes.
        assert str(pickle.loads(pickle.dumps(error("what to do")))) == "what to do"
    assert issubclass(huffwire.LimitError, ValueError)
    assert issubclass(huffwire.FileError, OSError)


# The examples.


MODULES = [module.name for module in pkgutil.walk_packages([str(PACKAGE)], "huffwire.")]


def module_marks(name):
    return [ranks.needs_hooks] if name == "huffwire._observe" else []


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=module_marks(name)) for name in ["huffwire", *MODULES]]
)
def test_examples_of_the_documentation_run(name):
    module = importlib.import_module(name)
    options = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=options)
    for test in finder.find(module):
        runner.run(test)
    if name == "huffwire._huffwire":
        # The finder does not look at compiled functions.
        for compiled in vars(module).values():
            if inspect.isroutine(compiled) or inspect.isclass(compiled):
                for member in [compiled, *members(compiled)]:
                    text = getattr(member, "__doc__", None) or ""
                    parser = doctest.DocTestParser()
                    name = getattr(member, "__name__", "property")
                    runner.run(parser.get_doctest(text, {}, name, None, None))
    assert runner.failures == 0


def members(value):
    return vars(value).values() if inspect.isclass(value) else []


# The stubs.


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").exists()


def parameters_of_stub(function):
    arguments = function.args
    names = [argument.arg for argument in arguments.posonlyargs + arguments.args]
    return [name for name in names if name != "self"], [a.arg for a in arguments.kwonlyargs]


def parameters_of_compiled(function):
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY and p.name != "self"]
    return names, [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


def test_the_stubs_are_those_of_the_module():
    stub = ast.parse((PACKAGE / "_huffwire.pyi").read_text())
    described = set()
    for node in stub.body:
        if isinstance(node, ast.FunctionDef):
            described.add(node.name)
            compiled = getattr(_huffwire, node.name)
            assert parameters_of_stub(node) == parameters_of_compiled(compiled), node.name
        elif isinstance(node, ast.ClassDef):
            described.add(node.name)
            compare_class(node, getattr(_huffwire, node.name))
        elif isinstance(node, ast.AnnAssign):
            described.add(node.target.id)
            assert hasattr(_huffwire, node.target.id)
    found = {name for name in vars(_huffwire) if not name.startswith("__")}
    assert found | {"__version__"} == described


def compare_class(stub, compiled):
    described = set()
    for node in stub.body:
        if isinstance(node, ast.FunctionDef):
            described.add(node.name)
            found = inspect.getattr_static(compiled, node.name, None)
            if found is None:
                found = getattr(compiled, node.name)
            elif not inspect.isdatadescriptor(found) and not node.name.startswith("__"):
                found = getattr(compiled, node.name)
                assert parameters_of_stub(node) == parameters_of_compiled(found), node.name
    public = {name for name in vars(compiled) if not name.startswith("_")}
    assert public == {name for name in described if not name.startswith("_")}, compiled


# The program.


def test_the_program_is_the_one_of_the_crates():
    assert program("--version") == (0, f"huffwire {huffwire.__version__}\n", "")
    code, output, _ = program("--help")
    assert code == 0 and "Usage: huffwire [OPTIONS] <COMMAND>" in output


def test_the_program_round_trips_a_file(tmp_path):
    original = tmp_path / "weights.bin"
    original.write_bytes(bytes(range(256)) * 1000)
    packed, copy = tmp_path / "weights.hw", tmp_path / "copy.bin"
    assert program("compress", original, "--dtype", "u8", "-o", packed)[0] == 0
    assert program("verify", packed)[0] == 0
    assert program("decompress", packed, "-o", copy)[0] == 0
    assert copy.read_bytes() == original.read_bytes()


def test_the_exit_codes_are_those_of_the_program(tmp_path):
    code, output, errors = program("inspect", tmp_path / "nothing.hw")
    assert (code, output) == (1, "") and errors.startswith("error: ")
    code, output, errors = program("frobnicate")
    assert (code, output) == (2, "") and "Usage: huffwire" in errors
    environment = {**os.environ, "HUFFWIRE_PLATFORM": "abacus"}
    code, _, errors = program("codebooks", "list", env=environment)
    assert code == 1 and "abacus" in errors


def test_the_program_takes_names_that_are_not_unicode(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.bin"
    code = subprocess.run([sys.executable, "-m", "huffwire", "inspect", path], capture_output=True)
    assert code.returncode == 1 and b"No such file" in code.stderr


def test_whoever_closes_the_output_is_not_bothered():
    command = [sys.executable, "-m", "huffwire", "codebooks", "show", "0"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_closed_output_is_an_error_and_no_file_takes_its_place(tmp_path):
    original = tmp_path / "weights.bin"
    original.write_bytes(bytes(100_000))
    line = f"{sys.executable} -m huffwire compress {original} --dtype u8 -o - >&-"
    done = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1 and "standard output is closed" in done.stderr
    assert os.listdir(tmp_path) == ["weights.bin"]
    # With another output, a report to the closed one is all that is lost.
    line = f"{sys.executable} -m huffwire compress {original} --dtype u8 --quiet <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", line], timeout=60).returncode == 0
    assert program("verify", tmp_path / "weights.bin.hw")[0] == 0


def test_an_interruption_leaves_nothing_behind(tmp_path):
    output = tmp_path / "out.hw"
    command = [sys.executable, "-m", "huffwire", "compress", "-", "--dtype", "u8", "-o", output]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    running = subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    # More than a pipe holds: once it is written, the program reads, and waits for more.
    running.stdin.write(bytes(1 << 20))
    running.stdin.flush()
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=60) == 130
    running.stdin.close()
    assert os.listdir(tmp_path) == []


def test_the_script_is_there():
    if "site-packages" not in PACKAGE.parts:
        pytest.skip("huffwire is imported from a checkout, and only pip makes scripts")
    script = Path(sys.executable).with_name("huffwire")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"huffwire {huffwire.__version__}\n"
