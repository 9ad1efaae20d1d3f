"""One version of a model: weights, network, preprocessing, card; addressed by its hash, never overwritten."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_medlab.durable import new_folder, write_file
from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles.card import card_of
from napari_medlab.models.bundles.documents import read_document
from napari_medlab.models.bundles.spec import SCHEMA, problems_of_spec, spec_hash
from napari_medlab.models.bundles.tensors import LENGTH_BYTES, MAX_HEADER_BYTES, check_header
from napari_medlab.models.plugins.discovery import digest_of, plugin_at
from napari_medlab.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

__all__ = ["CARD", "CODE", "SPEC", "WEIGHTS", "Bundle", "bundle_refused", "read_bundle", "write_bundle"]

SPEC, WEIGHTS, CARD = "bundle.json", "model.safetensors", "CARD.md"
CODE = "code"
"""What stands for a network where a bundle is code of another package."""
MAX_SPEC_BYTES = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """A bundle as it lies in its folder.

    Parameters
    ----------
    folder : Path
    spec : dict
        What ``bundle.json`` says: ``schema``, ``name``, ``task``, ``network`` (name and arguments), ``classifier``,
        ``preprocessing``, ``tiling``, ``postprocessing``, ``classes``, ``training``, ``parent``, ``figures``, ``purpose``,
        ``licence``, ``limits``, ``created``, ``weights_sha256``. The properties give what an older schema lacks its default.
        Where the model is code of another package, the network is called ``code`` and ``weights_sha256`` is that of the
        package's files.
    hash : str
        SHA-256 of the spec, which holds that of the weights: the bundle's address.
    """

    folder: Path
    spec: dict[str, Any]
    hash: str

    @property
    def name(self) -> str:
        """The name for people."""
        return str(self.spec["name"])

    @property
    def title(self) -> str:
        """The name with the first eight digits of the hash, as shown in lists."""
        return f"{self.name} · {self.hash[:8]}"

    @property
    def task(self) -> Literal["detection", "segmentation", "classification"]:
        """What the network does."""
        task: Literal["detection", "segmentation", "classification"] = self.spec["task"]
        return task

    @property
    def classes(self) -> tuple[str, ...]:
        """What the outputs stand for, in their order."""
        return tuple(self.spec["classes"])

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to an image first."""
        return Preprocessing.from_json(self.spec["preprocessing"])

    @property
    def tiling(self) -> dict[str, Any]:
        """How an image is cut into tiles, as JSON values; empty where the bundle leaves that to the engine."""
        return dict(self.spec.get("tiling", {}))

    @property
    def postprocessing(self) -> dict[str, Any]:
        """What becomes of the network's outputs, as JSON values."""
        return dict(self.spec["postprocessing"])

    @property
    def classifier(self) -> dict[str, Any] | None:
        """The network that judges candidates, as JSON values: ``network``, ``spacing_mm``, ``shape``, ``window``, ``fusion``."""
        part: dict[str, Any] | None = self.spec.get("classifier")
        return part

    @property
    def code(self) -> dict[str, str] | None:
        """The code that the bundle runs, of another package: ``package``, ``version``, ``call``; None where it is data."""
        network = self.spec["network"]
        return dict(network["arguments"]) if network["name"] == CODE else None

    @property
    def parent(self) -> str | None:
        """The hash of the bundle that this one was trained from."""
        parent: str | None = self.spec.get("parent")
        return parent

    @property
    def figures(self) -> dict[str, Any]:
        """How good it was, where it was measured."""
        return dict(self.spec.get("figures", {}))

    @property
    def limits(self) -> tuple[str, ...]:
        """What it cannot do, one sentence or paragraph each."""
        limits = self.spec.get("limits", "")
        return tuple(limits) if isinstance(limits, list) else tuple([limits] if limits else [])


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle's spec and check its weights against the hash that the spec names; nothing of it is run.

    Where the folder is that of another package's model (:mod:`napari_medlab.models.plugins`), its ``bundle.json`` says
    nothing of a network: the package's files are hashed in its place, and still nothing is run.

    Raises
    ------
    InputRefusedError
        Where a file is missing, a link, not readable, too large, or has been changed, or a newer version wrote it; with
        every reason that was found.
    """
    try:
        spec = read_document(folder / SPEC, MAX_SPEC_BYTES)
        is_code = not spec.keys() & {"network", "weights_sha256"}
        spec = _with_code(folder, spec) if is_code else spec
        address = spec_hash(spec)
    except (OSError, ValueError) as error:
        raise bundle_refused(folder, [str(error)]) from error
    problems = [f"{SPEC}: {problem}" for problem in problems_of_spec(spec)]
    if not problems and not is_code:
        problems = _problems_of_weights(folder / WEIGHTS, spec["weights_sha256"])
        problems += [f"{SPEC}: no network is called {CODE!r}"] * (spec["network"]["name"] == CODE)
    if problems:
        raise bundle_refused(folder, problems)
    return Bundle(folder, spec, address)


def write_bundle(
    parent: Path, spec: dict[str, Any], weights: Mapping[str, torch.Tensor], card: str | None = None,
    *, precision: Literal["half", "as given"] = "half",
) -> Bundle:  # fmt: skip
    """Write a bundle into a folder of its own below ``parent``, whole or not at all, and return it.

    Parameters
    ----------
    parent : folder that holds bundles
    spec : as in :class:`Bundle`, without ``weights_sha256``; schema 2 where it names none
    weights : tensors by name
    card : the model card, Markdown; made from the spec where None
    precision : {"half", "as given"}
        Whether float32 is stored with 16 bits. What 16 bits cannot hold is stored as given.

    Raises
    ------
    InputRefusedError
        Where that very bundle exists already: nothing is overwritten.
    """
    from safetensors.torch import save

    keep = (lambda tensor: tensor) if precision == "as given" else _half
    payload = save({name: keep(tensor.detach()).contiguous() for name, tensor in weights.items()})
    full = {"schema": SCHEMA, **spec, "weights_sha256": hashlib.sha256(payload).hexdigest()}
    address = spec_hash(full)
    folder = parent / f"{spec['name']}-{address[:12]}"
    with new_folder(folder) as partial:
        write_file(partial / WEIGHTS, payload)
        write_file(partial / SPEC, json.dumps(full, indent=1, allow_nan=False).encode())
        write_file(partial / CARD, (card_of(full) if card is None else card).encode())
    return Bundle(folder, full, address)


def bundle_refused(folder: Path, problems: list[str]) -> InputRefusedError:
    """Return the refusal of a bundle, with everything that is wrong with it."""
    return InputRefusedError(
        f"The bundle {folder} cannot be used: {'; '.join(problems)}.", code="bundle",
        hint="Update napari-medlab." if "newer version" in problems[0] else "Copy or train the model again.",
    )  # fmt: skip


def _with_code(folder: Path, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the spec of a model that is code: its name and its code are those of the installed package."""
    plugin = plugin_at(folder)
    if plugin is None:
        raise ValueError(
            f"{SPEC} lacks network and weights_sha256, and no installed package offers a model from this folder"
        )
    about = {"package": plugin.distribution, "version": plugin.version, "call": plugin.entry.value}
    return {
        "schema": SCHEMA, "preprocessing": {}, "postprocessing": {}, **spec, "name": plugin.name,
        "network": {"name": CODE, "arguments": about}, "weights_sha256": digest_of(plugin.digests()),
    }  # fmt: skip


def _problems_of_weights(path: Path, expected: str) -> list[str]:
    try:
        if path.is_symlink():
            return [f"{path.name} is a link to another file"]
        with path.open("rb") as file:
            head = file.read(LENGTH_BYTES + MAX_HEADER_BYTES)
            check_header(head, path.stat().st_size)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        return [f"{path.name}: {error}"]
    return (
        []
        if digest == expected
        else [f"{path.name} has SHA-256 {digest[:12]}…, the spec says {expected[:12]}…"]
    )


def _half(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    if tensor.dtype != torch.float32:
        return tensor
    half = tensor.half()
    return half if bool((torch.isfinite(half) | ~torch.isfinite(tensor)).all()) else tensor
