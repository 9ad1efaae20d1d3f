"""Packages of hard examples: which model and which part of it they are for, and what they hold."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.models.bundles.documents import parse_json
from napari_medlab.models.training.parts import NETWORK, PARTS, BundlePart, PartName

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.bundles import Bundle

__all__ = ["MANIFEST", "REPLAY", "SCHEMA", "Example", "Package", "read_manifest"]

MANIFEST = "manifest.json"
SCHEMA = 2
REPLAY = "replay"
"""The reason of examples that are there so that what was learnt before is not forgotten."""

MOST_BYTES = 64 << 20
FILE = re.compile(r"examples/[0-9]{1,9}\.npz")
AGAIN = "Export the hard examples again for this model."


@dataclass(frozen=True)
class Example:
    """One example as the manifest of its package tells it.

    Parameters
    ----------
    file : str
        ``examples/NNNNN.npz`` within the package, as :func:`~napari_medlab.models.training.samples.write_sample` writes it.
    sha256 : str
        Of that file.
    reason : str
        Such as ``"miss"``, ``"false positive"`` or ``"replay"``.
    is_validation : bool
        Whether it is held out.
    """

    file: str
    sha256: str
    reason: str
    is_validation: bool


@dataclass(frozen=True)
class Package:
    """What the manifest of a package says.

    Parameters
    ----------
    folder : Path
    sha256 : str
        Of the manifest, and thereby of all that is in the package.
    about : dict
        The manifest.
    examples : tuple of Example
    """

    folder: Path
    sha256: str
    about: dict[str, Any]
    examples: tuple[Example, ...]

    @property
    def part(self) -> PartName:
        """Which part of a bundle the examples are for."""
        part: PartName = self.about.get("part", NETWORK)
        return part

    @property
    def task(self) -> str:
        """``"detection"``, ``"segmentation"`` or ``"classification"``."""
        return str(self.about["task"])

    @property
    def model(self) -> str:
        """The hash of the bundle whose errors these are."""
        return str((self.about.get("model") or {}).get("hash", ""))

    @property
    def created(self) -> str:
        """When it was written, ISO 8601."""
        return str(self.about.get("created", ""))

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many examples there are of each reason, those held out left out; ``"validation"`` counts these."""
        found = Counter("validation" if one.is_validation else one.reason for one in self.examples)
        return dict(found.most_common())

    def check_fits(self, bundle: Bundle) -> BundlePart:
        """Return the part of a bundle that the examples are for.

        Raises
        ------
        InputRefusedError
            ``"part"``, ``"task"``, ``"classes"`` or ``"preprocessing"``, with what to do.
        """
        part = BundlePart(bundle, self.part)
        what = "classifier of candidates" if part.name != NETWORK else "network"
        if self.task != part.task:
            raise self._refused(
                "task", f"is for {self.task}; the {what} of {bundle.title} is for {part.task}"
            )
        classes = tuple(map(str, self.about.get("classes") or ()))
        is_one_kind = self.task == "classification" and len(part.classes) == 1
        if classes != part.classes and not is_one_kind:
            raise self._refused(
                "classes", f"knows {_listed(classes)}; {bundle.title} knows {_listed(part.classes)}"
            )
        if not _is_prepared_alike(self.about.get("preprocessing"), part.preprocessing):
            raise self._refused(
                "preprocessing",
                f"was prepared with {_shown(self.about.get('preprocessing'))}; {bundle.title} reads images prepared with "
                f"{_shown(part.preprocessing)}",
            )
        return part

    def verified(self, example: Example) -> Path:
        """Return the file of an example, which is the one that was exported.

        Raises
        ------
        InputRefusedError
            ``"hash"`` where it is missing, or another.
        """
        path = self.folder / example.file
        if path.is_symlink() or not path.is_file():
            raise self._refused("hash", f"has lost {example.file}")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != example.sha256:
            raise self._refused("hash", f"holds a changed {example.file}")
        return path

    def _refused(self, code: str, reason: str) -> InputRefusedError:
        return InputRefusedError(f"The package {self.folder} {reason}.", code=code, hint=AGAIN)


def read_manifest(folder: Path) -> Package:
    """Return what a package says about itself; its examples are not looked at.

    Raises
    ------
    InputRefusedError
        ``"no-package"`` where the folder is none; ``"old-package"`` where an earlier version wrote it; ``"manifest"`` where
        its manifest is damaged.
    """
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise InputRefusedError(
            f"{folder} is no package of hard examples: it has no {MANIFEST}.", code="no-package",
            hint="Export one: napari-medlab export PROJECT --format hard --out DIR.",
        )  # fmt: skip
    payload = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b""
    try:
        about = parse_json(payload)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(about, dict) or about.get("format") not in ("hard", None):
        raise _damaged(path, "it is no manifest of hard examples")
    if about.get("schema") != SCHEMA:
        raise InputRefusedError(
            f"The package {folder} has the layout {about.get('schema')!r} of another version; this one reads {SCHEMA}.",
            code="old-package", hint=AGAIN,
        )  # fmt: skip
    examples = tuple(_example(path, number, value) for number, value in enumerate(_rows(path, about)))
    if not examples:
        raise _damaged(path, "it names no example")
    return Package(folder, hashlib.sha256(payload).hexdigest(), about, examples)


def _rows(path: Path, about: dict[str, Any]) -> list[Any]:
    rows = about.get("examples")
    is_known = about.get("part", NETWORK) in PARTS and isinstance(about.get("task"), str)
    if not is_known or not isinstance(rows, list):
        raise _damaged(path, "it lacks the task, a known part, or the list of examples")
    return rows


def _example(path: Path, number: int, value: object) -> Example:
    if not isinstance(value, dict):
        raise _damaged(path, f"examples[{number}] is no object")
    file, digest = value.get("file"), value.get("sha256")
    if not isinstance(file, str) or not FILE.fullmatch(file) or not isinstance(digest, str):
        raise _damaged(path, f"examples[{number}] names no file of its own with a SHA-256")
    return Example(file, digest, str(value.get("reason", ""))[:64], value.get("split") == "validation")


def _damaged(path: Path, reason: str) -> InputRefusedError:
    return InputRefusedError(f"{path} cannot be used: {reason}.", code="manifest", hint=AGAIN)


def _is_prepared_alike(said: object, wanted: dict[str, Any]) -> bool:
    from napari_medlab.models.preprocessing import Preprocessing

    if not isinstance(said, dict):
        return False
    try:
        return Preprocessing.from_json(said) == Preprocessing.from_json(wanted)
    except (MedlabError, KeyError, TypeError, ValueError):
        return False


def _listed(classes: tuple[str, ...]) -> str:
    return ", ".join(classes) or "no class"


def _shown(value: object) -> str:
    text = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else repr(value)
    return text if len(text) <= 120 else text[:119] + "…"
