"""A package of hard examples on the disk: whole or not at all, every file with its hash."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_medlab.durable import new_folder, write_file
from napari_medlab.exchange.parts import attempt_in, move_in
from napari_medlab.models.training.packages import MANIFEST
from napari_medlab.models.workflows.hard_cutting import ExampleCutter
from napari_medlab.models.workflows.sample_storing import store_sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_medlab.jobs import CancelToken
    from napari_medlab.jobs.spreading import Tell
    from napari_medlab.models.training.samples import Sample
    from napari_medlab.models.workflows.hard_cutting import CutExample

__all__ = ["PackageWriter", "new_package", "write_examples"]

FOLDER = "examples"


@dataclass
class PackageWriter:
    """Writes into the folder of a package that is being made.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    records : list of dict
        What the manifest tells of each example, in the order in which they were added.
    """

    folder: Path
    records: list[dict[str, Any]] = field(default_factory=list)

    def add(self, sample: Sample, about: Mapping[str, Any]) -> None:
        """Write a sample under the next number; it is on the disk then."""
        name = self._next_name()
        self.records.append({"file": name, "sha256": store_sample(self.folder / name, sample), **about})

    def take(self, part: Path, records: Sequence[Mapping[str, Any]]) -> None:
        """Take the samples that another writer added to a folder of its own, in their order, under the next numbers."""
        for record in records:
            name = self._next_name()
            move_in(part / record["file"], self.folder / name)
            self.records.append({**record, "file": name})

    def finish(self, about: Mapping[str, Any]) -> bytes:
        """Write the manifest, and return what is in it."""
        text = json.dumps({**about, "examples": self.records}, indent=1, allow_nan=False).encode()
        write_file(self.folder / MANIFEST, text)
        return text

    def _next_name(self) -> str:
        return f"{FOLDER}/{len(self.records):05d}.npz"


@contextmanager
def new_package(folder: Path) -> Iterator[PackageWriter]:
    """Make a package in a folder that must not exist; nothing is left of one that is not finished.

    Raises
    ------
    InputRefusedError
        ``exists``.
    DiskError
    """
    with new_folder(folder) as partial:
        (partial / FOLDER).mkdir()
        yield PackageWriter(partial)


def write_examples(request: dict[str, Any], cancel: CancelToken, tell: Tell) -> dict[str, Any]:
    """Cut the examples of one case and write them into a folder of their own.

    Parameters
    ----------
    request : dict
        ``bundle`` and ``options``, as :class:`~napari_medlab.models.workflows.hard_cutting.ExampleCutter` takes them; ``known``,
        the case; ``examples``, the places; and ``parts``, the folder for attempts.
    cancel : CancelToken
    tell : callable

    Returns
    -------
    dict
        ``attempt``, the name of the folder; ``records``, what the manifest tells of each example by itself; and ``counts``, how
        often something happened that it is to tell.
    """
    cutter, examples = ExampleCutter(request["bundle"], request["options"], cancel.check), request["examples"]
    with attempt_in(request["parts"]) as own:
        (own / FOLDER).mkdir()
        writer = PackageWriter(own)
        for cut in cutter.cut(request["known"], examples):
            writer.add(cut.sample, _about(cut))
            tell(len(writer.records), len(examples))
    return {"attempt": own.name, "records": writer.records, "counts": cutter.counts}


def _about(cut: CutExample) -> dict[str, Any]:
    example, sample = cut.example, cut.sample
    return {
        "case_id": example.case_id, "centre": list(example.centre), "reason": example.reason, "weight": example.weight,
        "object_id": example.object_id, "verdict": example.verdict, "boxes": int((~sample.is_ignored).sum()),
        "label": sample.label,
    }  # fmt: skip
