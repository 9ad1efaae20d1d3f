"""One version of a model: weights, network, preprocessing, card; addressed by its hash, never overwritten."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medlab.durable import new_folder, write_file
from napari_medlab.errors import InputRefusedError
from napari_medlab.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

__all__ = ["Bundle", "load_network", "read_bundle", "write_bundle"]

SPEC, WEIGHTS, CARD = "bundle.json", "model.safetensors", "CARD.md"
MAX_SPEC_BYTES = 1 << 20
MAX_HEADER_BYTES = 8 << 20
MAX_TENSORS = 10_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names become parts of paths."""

FIELDS = {
    "name": str, "task": str, "network": dict, "preprocessing": dict, "postprocessing": dict, "classes": list,
    "weights_sha256": str,
}  # fmt: skip
"""What every spec holds, and as what."""


@dataclass(frozen=True)
class Bundle:
    """A bundle as it lies in its folder.

    Parameters
    ----------
    folder : Path
    spec : dict
        What ``bundle.json`` says: ``name``, ``task``, ``network`` (name and arguments), ``preprocessing``,
        ``postprocessing``, ``classes``, ``parent``, ``training``, ``figures``, ``licence``, ``limits``, ``created``,
        ``weights_sha256``.
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
    def preprocessing(self) -> Preprocessing:
        """What is done to an image first."""
        return Preprocessing.from_json(self.spec["preprocessing"])


def spec_hash(spec: dict[str, Any]) -> str:
    """Return the address of a spec: SHA-256 of its canonical JSON."""
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle's spec and check its weights against the hash that the spec names; nothing of it is run.

    Raises
    ------
    InputRefusedError
        Where a file is missing, not readable, too large, or has been changed.
    """
    try:
        path = folder / SPEC
        if path.stat().st_size > MAX_SPEC_BYTES:
            raise _refused(folder, f"{SPEC} is larger than {MAX_SPEC_BYTES} bytes")
        spec = json.loads(path.read_text(encoding="utf-8"))
        address = spec_hash(spec)
        digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(folder, str(error)) from error
    _check_spec(folder, spec)
    if digest != spec["weights_sha256"]:
        raise _refused(folder, f"the weights have SHA-256 {digest[:12]}…, the spec says {spec['weights_sha256'][:12]}…")
    return Bundle(folder, spec, address)


def _check_spec(folder: Path, spec: object) -> None:
    """Refuse a spec that lacks something, or whose parts are not what they ought to be."""
    if not isinstance(spec, dict):
        raise _refused(folder, f"{SPEC} holds no object")
    missing = set(FIELDS) - set(spec)
    if missing:
        raise _refused(folder, f"{SPEC} lacks {', '.join(sorted(missing))}")
    odd = sorted(key for key, kind in FIELDS.items() if not isinstance(spec[key], kind))
    if odd:
        raise _refused(folder, f"{', '.join(odd)} in {SPEC} are of the wrong kind")
    if NAME.fullmatch(spec["name"]) is None:
        raise _refused(folder, f"its name {spec['name'][:80]!r} is not made of letters, digits, '.', '_' and '-'")
    if not spec["classes"] or not {"name", "arguments"} <= set(spec["network"]):
        raise _refused(folder, f"{SPEC} names no class, or no network with its arguments")
    try:
        Preprocessing.from_json(spec["preprocessing"])
    except (KeyError, TypeError, ValueError) as error:
        raise _refused(folder, f"preprocessing in {SPEC} is not usable: {error!r}") from error


def write_bundle(parent: Path, spec: dict[str, Any], weights: dict[str, torch.Tensor], card: str) -> Bundle:
    """Write a bundle into a folder of its own below ``parent``, whole or not at all, and return it.

    Parameters
    ----------
    parent : folder that holds bundles
    spec : as in :class:`Bundle`, without ``weights_sha256``
    weights : tensors by name; floats are stored with 16 bits
    card : the model card, Markdown

    Raises
    ------
    InputRefusedError
        Where that very bundle exists already: nothing is overwritten.
    """
    import torch
    from safetensors.torch import save

    stored = {k: (v.half() if v.dtype == torch.float32 else v).contiguous() for k, v in weights.items()}
    payload = save(stored)
    full = {**spec, "weights_sha256": hashlib.sha256(payload).hexdigest()}
    address = spec_hash(full)
    folder = parent / f"{spec['name']}-{address[:12]}"
    with new_folder(folder) as partial:
        write_file(partial / WEIGHTS, payload)
        write_file(partial / SPEC, json.dumps(full, indent=1, allow_nan=False).encode())
        write_file(partial / CARD, card.encode())
    return Bundle(folder, full, address)


def load_network(bundle: Bundle) -> nn.Module:
    """Return the bundle's network with its weights, ready for inference.

    Raises
    ------
    InputRefusedError
        Where names, shapes or types of the weights do not fit the network, or a weight is not finite.
    """
    import torch

    from napari_medlab.models.networks import build_network

    network = build_network(bundle.spec["network"]["name"], bundle.spec["network"]["arguments"])
    weights = _read_weights(bundle.folder)
    expected = network.state_dict()
    if set(weights) != set(expected):
        odd = sorted(set(weights) ^ set(expected))[:3]
        raise _refused(bundle.folder, f"the names of its weights do not fit the network, beginning with {odd}")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape or tensor.is_floating_point() != expected[name].is_floating_point():
            raise _refused(bundle.folder, f"{name} is {tuple(tensor.shape)} {tensor.dtype}, expected "
                           f"{tuple(expected[name].shape)} {expected[name].dtype}")  # fmt: skip
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise _refused(bundle.folder, f"{name} holds values that are not finite")
    network.load_state_dict({k: v.to(expected[k].dtype) for k, v in weights.items()})
    return network.eval()


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    payload = (folder / WEIGHTS).read_bytes()
    header = int.from_bytes(payload[:8], "little")
    if header > MAX_HEADER_BYTES:
        raise _refused(folder, f"the header of {WEIGHTS} claims {header} bytes, more than {MAX_HEADER_BYTES}")
    try:
        weights = load(payload)
    except (SafetensorError, ValueError) as error:
        raise _refused(folder, f"{WEIGHTS} is damaged: {error}") from error
    if len(weights) > MAX_TENSORS:
        raise _refused(folder, f"{WEIGHTS} holds {len(weights)} tensors, more than {MAX_TENSORS}")
    return weights


def _refused(folder: Path, reason: str) -> InputRefusedError:
    return InputRefusedError(
        f"The bundle {folder} cannot be used: {reason}.", code="bundle", hint="Copy or train the model again."
    )
