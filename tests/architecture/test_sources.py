"""Rules that hold for every source file: nothing that runs what it reads, nothing too long, nothing undocumented."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest
from rooms import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONGEST = 600
LONGEST_FUNCTION = 60
"""Lines of code, without the docstring."""
MODULES = files()


def dotted(node: ast.expr) -> str:
    """Return ``a.b.c`` for such an expression, with a leading dot where it begins with something else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def keyword(call: ast.Call, name: str) -> object:
    """Return the constant that a call passes by a keyword; None where it is missing or no constant."""
    for given in call.keywords:
        if given.arg == name and isinstance(given.value, ast.Constant):
            return given.value.value
    return None


def runs_what_it_reads(call: ast.Call) -> str | None:
    """Return why a call is forbidden: it can run the content of a file, or write outside its folder."""
    name = dotted(call.func)
    last = name.rsplit(".", 1)[-1]
    if name in ("eval", "exec"):
        return f"{name}()"
    if name.split(".")[0] in ("pickle", "cloudpickle", "dill", "joblib") and last in (
        "load",
        "loads",
        "Unpickler",
    ):
        return name
    if keyword(call, "allow_pickle") is True:
        return f"{name}(allow_pickle=True)"
    if name == "torch.load" and keyword(call, "weights_only") is not True:
        return "torch.load without weights_only=True"
    if last in ("extractall", "extract", "unpack_archive") and keyword(call, "filter") not in ("data", "tar"):
        return f"{name} without a filter"
    if name in ("yaml.load", "yaml.unsafe_load", "os.system") or keyword(call, "shell") is True:
        return name
    return None


def imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    """Return the top-level names of what an import statement imports."""
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return {name.split(".")[0] for name in names}


def forbidden(tree: ast.Module) -> Iterator[str]:
    """Yield what a module does and must not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (why := runs_what_it_reads(node)):
            yield f"line {node.lineno}: {why}"
        if isinstance(node, ast.Import | ast.ImportFrom) and "cv2" in imported(node):
            yield f"line {node.lineno}: cv2"  # it brings a Qt of its own, which cannot share a process with PySide6


def public_without_docstring(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[str]:
    """Yield the public classes, functions and methods that say nothing of themselves."""
    for child in node.body:
        if not isinstance(
            child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) or child.name.startswith("_"):
            continue
        decorators = {
            dotted(d.func if isinstance(d, ast.Call) else d).rsplit(".", 1)[-1] for d in child.decorator_list
        }
        if not ast.get_docstring(child) and not decorators & {"overload", "override", "setter"}:
            yield f"{prefix}{child.name}"
        if isinstance(child, ast.ClassDef):
            yield from public_without_docstring(child, f"{prefix}{child.name}.")


def too_long(tree: ast.Module) -> Iterator[str]:
    """Yield the functions that are too long, with their lines."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) else node.body
        lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
        if lines > LONGEST_FUNCTION:
            yield f"{node.name}: {lines} lines"


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("source", MODULES.values(), ids=MODULES.keys())
def test_nothing_runs_what_it_reads(source: Path) -> None:
    assert list(forbidden(parse(source))) == []


@pytest.mark.parametrize("source", MODULES.values(), ids=MODULES.keys())
def test_no_module_is_too_long_to_be_read_in_one_go(source: Path) -> None:
    assert len(source.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("source", MODULES.values(), ids=MODULES.keys())
def test_no_function_is_too_long_to_be_seen_at_once(source: Path) -> None:
    assert list(too_long(parse(source))) == []


def test_the_rule_notices_a_long_function() -> None:
    lines = "\n".join(["    x = 1"] * (LONGEST_FUNCTION + 1))
    assert list(too_long(ast.parse(f"def f():\n{lines}\n"))) == ["f: 61 lines"]


@pytest.mark.parametrize("source", MODULES.values(), ids=MODULES.keys())
def test_everything_public_says_what_it_is(source: Path) -> None:
    tree = parse(source)
    assert ast.get_docstring(tree), "the module itself"
    assert list(public_without_docstring(tree)) == []


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)", "pickle.load(file)", "np.load(path, allow_pickle=True)", "torch.load(path)", "import cv2",
        "torch.load(path, weights_only=False)", "archive.extractall(folder)", "from cv2 import imread",
        "subprocess.run(line, shell=True)",
    ],
)  # fmt: skip
def test_the_rule_notices(line: str) -> None:
    assert list(forbidden(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    [
        "model.eval()", "json.load(file)", "np.load(path)", "torch.load(path, weights_only=True)",
        "archive.extractall(folder, filter='data')", "re.compile(text)",
    ],
)  # fmt: skip
def test_the_rule_lets_pass(line: str) -> None:
    assert list(forbidden(ast.parse(line))) == []
