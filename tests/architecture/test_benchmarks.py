"""Every benchmark gives figures beside a peer or a limit, stands in the README, and finds its way into RESULTS.md."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from rooms import ROOT

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

FOLDER = ROOT / "benchmarks"
MODULES = sorted(FOLDER.glob("*.py"))
SCRIPTS = [path for path in MODULES if "__main__" in path.read_text(encoding="utf-8") and path.stem != "run"]
SHARED = ("figures", "measuring", "results_page", "run")
LINES, FUNCTION_LINES = 300, 60


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Import what the benchmarks share, which lies in no package, and forget it afterwards."""
    monkeypatch.syspath_prepend(FOLDER)
    for name in SHARED:
        monkeypatch.delitem(sys.modules, name, raising=False)
    modules: dict[str, ModuleType] = {name: importlib.import_module(name) for name in SHARED}
    for name in SHARED:
        monkeypatch.setitem(sys.modules, name, modules[name])
    return modules


def calls(tree: ast.AST) -> set[str]:
    """Return the names of everything that is called, with the object where it is called on one."""
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {ast.unparse(function) for function in functions}


def used_by(path: Path) -> list[Path]:
    """Return a script and the modules of the folder that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return [path, *(other for other in MODULES if other.stem in names and other.stem not in SHARED)]


def a_figure(bench: dict[str, Any], **changed: Any) -> Any:  # noqa: ANN401 - a class of a module without a package
    goal = bench["figures"].Goal(1.5, "ratio")
    values = {"area": "Slides", "what": "first | pixels", "ours": 12.0, "unit": "ms", "goal": goal, "peer": "bare tifffile",
              "peer_value": 10.0} | changed  # fmt: skip
    return bench["figures"].Figure(**values)


def a_record(bench: dict[str, Any], **changed: object) -> dict[str, Any]:
    figures = bench["figures"]
    growth = figures.Growth("Slides", "opening", "ms", "pixels", "constant", (1e8, 1e9), (2.0, 9.0))
    return {
        "script": "open_slide", "date": "2026-11-21T12:00:00+00:00", "quick": False, "arguments": {"views": "3"},
        "code": bench["measuring"].code_of(FOLDER / "open_slide.py"), "seconds": 12.0, "is_complete": True, "notes": [],
        "machine": bench["measuring"].machine(), "figures": [a_figure(bench).as_json()], "growths": [growth.as_json()],
    } | changed  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_records_figures_with_goals(script: Path) -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in used_by(script)]
    called = set().union(*(calls(tree) for tree in trees))
    assert {"arguments", "recording"} <= calls(trees[0])
    assert {"Figure", "Figure.of_turns"} & called
    assert "Goal" in called


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_stands_in_the_readme(script: Path) -> None:
    assert f"[{script.name}]({script.name})" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_readme_names_no_benchmark_that_is_gone() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = [line.split("]", 1)[0].removeprefix("| [") for line in text.splitlines() if line.startswith("| [")]
    assert sorted(rows) == [script.name for script in SCRIPTS]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_modules_and_functions_stay_small(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert len(text.splitlines()) <= LINES
    assert max((node.end_lineno or 0) - node.lineno + 1 for node in functions) <= FUNCTION_LINES


def test_a_figure_needs_something_to_be_held_against(bench: dict[str, Any]) -> None:
    figures = bench["figures"]
    for changed in (
        {"goal": None, "peer": "", "peer_value": None},
        {"peer_value": None},
        {"peer": ""},
        {"peer": "", "peer_value": None},  # its goal is a ratio
    ):
        with pytest.raises(ValueError, match="needs"):
            a_figure(bench, **changed)
    limited = a_figure(bench, goal=figures.Goal(16.0), peer="", peer_value=None)
    assert (limited.ratio, limited.met) == (0.75, True)


def test_ratios_are_taken_turn_by_turn(bench: dict[str, Any]) -> None:
    turns = {"ours": [1.0, 10.0, 3.0], "peer": [2.0, 20.0, 1.0]}
    figure = bench["figures"].Figure.of_turns(
        "Slides", "opening", turns, "s", bench["figures"].Goal(1.0, "ratio")
    )
    assert (figure.ours, figure.peer_value, figure.ratio, figure.met) == (3.0, 2.0, 0.5, True)


@pytest.mark.parametrize(
    ("figures", "seen"),
    [((5.0, 5.5), "constant"), ((1.0, 3.0), "less than n"), ((1.0, 9.0), "n"), ((1.0, 14.0), "n log n"),
     ((1.0, 90.0), "more than n log n")],
)  # fmt: skip
def test_growth_is_told_by_its_order(bench: dict[str, Any], figures: tuple[float, float], seen: str) -> None:
    growth = bench["figures"].Growth("Slides", "opening", "s", "pixels", "n", (10, 100), figures)
    assert growth.seen == seen
    assert growth.is_as_expected == (seen in ("constant", "less than n", "n"))


def test_growth_over_a_hundredfold_is_brought_to_a_tenfold(bench: dict[str, Any]) -> None:
    growth = bench["figures"].Growth("Slides", "opening", "s", "pixels", "n", (10, 1000), (1.0, 100.0))
    assert growth.factors == pytest.approx((10.0,))


def test_records_survive_json(bench: dict[str, Any]) -> None:
    figures, record = bench["figures"], json.loads(json.dumps(a_record(bench)))
    assert figures.Figure.from_json(record["figures"][0]) == a_figure(bench)
    assert figures.Growth.from_json(record["growths"][0]).factors == pytest.approx((4.5,))


def test_the_page_shows_figures_goals_growth_and_failures(bench: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "open_slide.json").write_text(json.dumps(a_record(bench)), encoding="utf-8")
    page = bench["results_page"].render(tmp_path, FOLDER, {"gallery": "ended with status 1"})
    assert "| first \\| pixels | 12 ms | bare tifffile: 10 ms | 1.2 | ≤ 1.5 × peer | yes |" in page
    assert "| opening | 1.0e8 → 1.0e9 pixels | 2 → 9 ms | × 4.5 | less than n | constant | **no** |" in page
    assert "1 of 1 goals are met; 0 of 1 figures" in page
    assert "* `gallery.py` ended with status 1." in page
    assert "older than the script" not in page


def test_a_record_says_what_speaks_against_it(bench: dict[str, Any], tmp_path: Path) -> None:
    doubtful = a_record(bench, code="", quick=True, is_complete=False)
    (tmp_path / "open_slide.json").write_text(json.dumps(doubtful), encoding="utf-8")
    page = bench["results_page"].render(tmp_path, FOLDER, {})
    for remark in ("older than the script", "a trial", "did not come to its end", "views 3"):
        assert remark in page


def test_the_runner_goes_on_where_a_benchmark_fails(
    bench: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Run three scripts of our own: one that ends well, one that fails half way, and one that is too slow."""
    run = bench["run"]
    body = (
        "import sys, time\nsys.path.insert(0, {folder!r})\nfrom figures import Figure, Goal\n"
        "from measuring import arguments, recording\n"
        "if __name__ == '__main__':\n    with recording(__file__, arguments('').parse_args()) as record:\n"
        "        record.add(Figure('A', 'b', 1.0, 's', Goal(2.0)))\n        {end}\n"
    )
    ends = {"well": "pass", "fails": "raise SystemExit(3)", "slow": "time.sleep(60)"}
    for name, end in ends.items():
        (tmp_path / f"{name}.py").write_text(body.format(folder=str(FOLDER), end=end), encoding="utf-8")
    monkeypatch.setattr(run, "FOLDER", tmp_path)
    monkeypatch.setattr(run, "MINUTES", {"slow": 3 / 60})
    assert run.names() == sorted(ends)
    errors = {name: run.run(name, tmp_path / "results", quick=False).error for name in run.names()}
    assert errors["well"] == ""
    assert errors["fails"] == "ended with status 3"
    assert "did not end within" in errors["slow"]
    records = {name: json.loads((tmp_path / "results" / f"{name}.json").read_text("utf-8")) for name in ends}
    assert [records[name]["is_complete"] for name in ends] == [True, False, False]
    assert all(len(record["figures"]) == 1 for record in records.values())


@pytest.mark.parametrize("name", ["many_cases", "froc_speed"])
def test_the_quickest_benchmarks_run(name: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(FOLDER / f"{name}.py"),
        "--quick",
        "--record",
        str(tmp_path / "record.json"),
    ]
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert record["is_complete"]
    assert record["quick"]
    assert record["figures"]
    assert record["growths"]
