"""``napari-medlab predict``: a detector over image files, without a project."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from napari_medlab.annotations import Candidate
    from napari_medlab.jobs.worker_process import WorkerProcess
    from napari_medlab.models.bundles import Bundle

__all__ = ["VERB", "table_bytes"]

TABLE = "candidates.csv"


@dataclass
class _Case:
    """One image: its series, and what became of it."""

    path: Path
    series: str
    found: list[Candidate] = field(default_factory=list)
    seconds: float | None = None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "candidates": len(self.found),
            "seconds": self.seconds,
            "error": self.error,
        }


class _Workers:
    """The worker process, started when it is first needed and again where it died."""

    def __init__(self) -> None:
        self._worker: WorkerProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def living(self) -> WorkerProcess:
        from napari_medlab.jobs.worker_process import WorkerProcess
        from napari_medlab.models.inference.worker import MODULE

        if self._worker is None or not self._worker.is_alive:
            self._close()
            self._worker = WorkerProcess(MODULE)
        return self._worker

    def _close(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._worker = None


def table_bytes(write: Callable[[Path], None]) -> bytes:
    """Return the bytes of the file that ``write`` makes at the path it is given."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        write(path)
        return path.read_bytes()


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="image files, or folders of one series")
    parser.add_argument(
        "--model", required=True, metavar="NAME", help="a name, a hash (8 digits suffice) or a bundle's folder"
    )
    parser.add_argument("--out", required=True, metavar="DIR", type=Path, help=f"where {TABLE} is written")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the model runs (auto: the CPU)"
    )


def _run(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.models.bundles import find_bundle

    if options.device == "cuda":
        raise InputRefusedError(
            "Models do not run on CUDA devices yet.", code="no-cuda", hint="Use --device auto or --device cpu."
        )
    bundle = find_bundle(options.model)
    table = options.out / TABLE
    _refuse_existing(table)
    cases = _cases(options.paths)
    with _Workers() as workers:
        for number, case in enumerate(cases, start=1):
            _detect(workers, bundle, case)
            said = f"{len(case.found)} candidates, {case.seconds:.1f} s" if case.error is None else case.error
            sys.stderr.write(f"{number}/{len(cases)} {case.path.name}: {said}\n")
    _write(table, cases)
    return {
        "model": bundle.name,
        "hash": bundle.hash,
        "out": str(table.absolute()),
        "cases": [case.as_json() for case in cases],
    }


def _cases(paths: Sequence[Path]) -> list[_Case]:
    """Return the images with their series, which must tell them apart in the table."""
    cases = [_Case(path, _series_of(path)) for path in paths]
    names = [case.series for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputRefusedError(
            f"Several images would share a name in the table: {', '.join(twice[:10])}.",
            code="same-name",
            hint="Rename the files, or run the model on one folder at a time.",
        )
    return cases


def _series_of(path: Path) -> str:
    """Return the name of an image in the table: the file's without its ending."""
    resolved = path.resolve()
    if resolved.is_dir():
        return resolved.name
    return resolved.name[: -len(".nii.gz")] if resolved.name.lower().endswith(".nii.gz") else resolved.stem


def _detect(workers: _Workers, bundle: Bundle, case: _Case) -> None:
    """Run the model on one image; an image or a worker that fails is noted, as the others go on."""
    from napari_medlab.annotations import Candidate

    request = {
        "op": "detect",
        "bundle": str(bundle.folder.absolute()),
        "image": str(case.path.absolute()),
        "case_id": case.series,
    }
    try:
        for event in workers.living().events(request, CancelToken()):
            if event["event"] == "batch":
                case.found += [
                    Candidate(case.series, tuple(centre), score, diameter, label, candidate_id)
                    for candidate_id, centre, score, diameter, label in event["candidates"]
                ]
            elif event["event"] == "seconds":
                case.seconds = round(float(event["seconds"]), 3)
    except CancelledError:
        raise
    except MedlabError as error:
        case.found.clear()
        case.error = error.message


def _write(table: Path, cases: Sequence[_Case]) -> None:
    """Write the table, whole or not at all."""
    from napari_medlab.annotations import CandidateTable
    from napari_medlab.annotations.luna16 import write_candidates
    from napari_medlab.durable import replace_file

    found = CandidateTable.from_objects([candidate for case in cases for candidate in case.found])
    payload = table_bytes(lambda path: write_candidates(path, found))
    table.parent.mkdir(parents=True, exist_ok=True)
    _refuse_existing(table)
    replace_file(table, payload)


def _refuse_existing(table: Path) -> None:
    if table.exists():
        raise InputRefusedError(
            f"{table} exists already, and nothing is overwritten.", code="exists", hint="Choose another folder."
        )


VERB = Verb("predict", "run a detector over images", _configure, _run)
