"""Reading weights alone, whose network and preprocessing a person names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles.checkpoints import read_checkpoint, state_dict_in
from napari_medlab.models.bundles.intake import Draft, not_importable
from napari_medlab.models.bundles.tensors import parse_tensors
from napari_medlab.models.networks.monai_networks import monai_name

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from napari_medlab.models.bundles.intake import ImportOptions

__all__ = ["read_plain"]

MONAI = "monai"


def read_plain(path: Path, options: ImportOptions, *, is_archive: bool) -> Draft:
    """Return the weights in a file of PyTorch's or safetensors, with the network that a person named.

    Raises
    ------
    InputRefusedError
        Where it is neither, holds code, or no network was named.
    """
    if path.is_symlink():
        path = path.resolve()
    try:
        weights = state_dict_in(read_checkpoint(path, allow_numbers=True)) if is_archive else _tensors(path)
    except (OSError, ValueError) as error:
        raise not_importable(path, str(error)) from error
    if not options.network:
        names = ", ".join(list(weights)[:3])
        raise InputRefusedError(
            f"{path.name} holds {len(weights)} tensors ({names}, …) and says nothing of the network they belong to.",
            code="model-incomplete",
            hint="Give --network, --arguments, --task, --classes, --preprocessing, --axes and --output.",
        )
    origin = "weights of PyTorch" if is_archive else "weights as safetensors"
    network = _network(options)
    return Draft(origin, network, weights, is_ours=network["name"] != MONAI, files=(path,))


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return parse_tensors(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"it is neither a zip file of PyTorch's nor usable as safetensors: {error}"
        ) from error


def _network(options: ImportOptions) -> dict[str, Any]:
    """Return the named network: one of the closed table, or one of MONAI's by its own name."""
    from napari_medlab.models.networks import NETWORKS

    arguments = dict(options.arguments)
    if options.network not in NETWORKS and (target := monai_name(options.network)) is not None:
        return {"name": MONAI, "arguments": {"target": target, "arguments": arguments}}
    return {"name": options.network, "arguments": arguments}
