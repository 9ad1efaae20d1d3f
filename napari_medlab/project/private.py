"""What must never leave: which case came from which file and which patient."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_medlab.annotations import new_id
from napari_medlab.durable import sync_folder
from napari_medlab.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

__all__ = ["PrivateNames"]


class PrivateNames:
    """The mapping from the project's keys to the names outside, in a file that only its owner can read.

    Parameters
    ----------
    folder : Path
        The folder ``private`` of a project.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "names.json"

    def patient_key(self, patient: str) -> str:
        """Return the random key that stands for a patient's own identifier, the same at every call."""
        names = self._read()
        key = names["patients"].get(patient)
        if key is None:
            key = names["patients"][patient] = new_id()
            self._write(names)
        return str(key)

    def known_patient_key(self, patient: str) -> str | None:
        """Return the key of a patient who has one; None, and nothing is written, for everybody else."""
        key = self._read()["patients"].get(patient)
        return None if key is None else str(key)

    def remember(self, case_id: str, *, source: str, patient: str | None = None) -> None:
        """Write down where a case came from; durable when this returns."""
        names = self._read()
        names["cases"][case_id] = {"source": source, "patient": patient}
        self._write(names)

    def sources(self) -> dict[str, str]:
        """Return the source of each case by its id."""
        return {case_id: str(entry["source"]) for case_id, entry in self._read()["cases"].items()}

    def forget(self, case_ids: Collection[str], patient_keys: Collection[str]) -> None:
        """Remove cases, and the patients with these keys; durable when this returns."""
        names = self._read()
        left = {
            "cases": {case: entry for case, entry in names["cases"].items() if case not in case_ids},
            "patients": {who: key for who, key in names["patients"].items() if key not in patient_keys},
        }
        if left != {part: names[part] for part in left}:
            self._write({**names, **left})

    def names_of(self, case_id: str, patient_key: str) -> set[str]:
        """Return what is known of a case that names somebody or something: its source, and its patient."""
        names = self._read()
        entry = names["cases"].get(case_id, {})
        told = {str(entry[part]) for part in ("source", "patient") if entry.get(part)}
        return told | {who for who, key in names["patients"].items() if key == patient_key and key}

    def known_names(self) -> set[str]:
        """Return every name that must not leave: of files and of patients."""
        names = self._read()
        entries = names["cases"].values()
        told = {str(entry[part]) for entry in entries for part in ("source", "patient") if entry.get(part)}
        return told | set(names["patients"])

    def _read(self) -> dict[str, Any]:
        try:
            names: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"cases": {}, "patients": {}}
        except (OSError, ValueError) as error:
            raise ProjectError(f"The private names cannot be read: {error}.", code="private") from error
        return names

    def _write(self, names: dict[str, Any]) -> None:
        partial = self._path.with_name("names.json.partial")
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            partial.unlink(missing_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(names, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)
            sync_folder(self._folder)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise ProjectError(f"The private names cannot be written: {error}.", code="disk") from error
