"""Writing a bundle as a MONAI bundle, for programs that read those."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from io import BytesIO
from typing import TYPE_CHECKING, Any

from napari_medlab import __version__
from napari_medlab.durable import new_folder, write_file
from napari_medlab.models.bundles.card import card_of
from napari_medlab.models.bundles.intake import argument_of
from napari_medlab.models.bundles.loading import load_classifier, load_network
from napari_medlab.models.bundles.monai_import import CLASSIFIER_WEIGHTS, METADATA, OWN_BLOCK, WEIGHTS

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from napari_medlab.models.bundles.bundle import Bundle

__all__ = ["export_monai"]

INFERENCE, README, LICENSE = "configs/inference.json", "docs/README.md", "LICENSE"
SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
OUR_AXES = "SPL"
WINDOW = 96
MONAI = "monai"
MODALITIES = {"volume": "CT", "mammogram": "MG", "slide": "SM", "photo": "XC"}


def export_monai(bundle: Bundle, folder: Path) -> Path:
    """Write a bundle as a MONAI bundle into a new folder, and return it.

    ``configs/inference.json`` holds no expression: everything in it is plain data. A network that MONAI has is named by
    MONAI's name; any other by ours, so that it is built where napari-medlab is installed. The whole spec lies in the
    metadata, so that importing it again gives the same model.

    Parameters
    ----------
    bundle : Bundle
    folder : must not exist

    Raises
    ------
    InputRefusedError
        Where the folder exists, or the bundle is damaged.
    DiskError
        Where it cannot be written.
    """
    network = load_network(bundle)
    classifier = load_classifier(bundle)
    files = {
        INFERENCE: _json(_inference(bundle)),
        METADATA: _json(_metadata(bundle)),
        WEIGHTS: _weights(network),
        README: _readme(bundle).encode(),
        LICENSE: f"{bundle.spec.get('licence') or 'No licence was stated for this model.'}\n".encode(),
    }
    if classifier is not None:
        files[CLASSIFIER_WEIGHTS] = _weights(classifier)
    with new_folder(folder) as partial:
        for name, payload in files.items():
            (partial / name).parent.mkdir(exist_ok=True)
            write_file(partial / name, payload)
    return folder


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=4, allow_nan=False).encode()


def _weights(network: nn.Module) -> bytes:
    import torch

    buffer = BytesIO()
    torch.save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, buffer)
    return buffer.getvalue()


def _readme(bundle: Bundle) -> str:
    name = bundle.spec["network"]["name"]
    where = "The network is MONAI's own." if name == MONAI else (
        f"The network {name!r} is not part of MONAI: its `_target_` is built where napari-medlab {__version__} is installed."
    )  # fmt: skip
    return f"{card_of(bundle.spec)}\n## As a MONAI bundle\n\n{where} Written by napari-medlab; bundle {bundle.hash}.\n"


def _inference(bundle: Bundle) -> dict[str, Any]:
    """Return a configuration of everything that MONAI's workflow asks for, without any expression."""
    is_segmenter = bundle.task == "segmentation"
    inferer = {
        "_target_": "SlidingWindowInferer",
        "roi_size": _window(bundle),
        "sw_batch_size": 1,
        "overlap": 0.5,
    }
    activation = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
    return {
        "bundle_root": ".",
        "dataset_dir": "/workspace/data",
        "device": "cpu",
        "network_def": _network_def(bundle.spec["network"]),
        "preprocessing": {"_target_": "Compose", "transforms": _transforms(bundle)},
        "dataset": {"_target_": "Dataset", "data": [], "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": inferer if is_segmenter else {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": [] if bundle.task == "detection" else [activation]},
        "evaluator": {
            "_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader",
            "network": "@network_def", "inferer": "@inferer", "postprocessing": "@postprocessing",
        },
    }  # fmt: skip


def _network_def(network: dict[str, Any]) -> dict[str, Any]:
    from napari_medlab.models.networks import NETWORKS

    arguments = network["arguments"]
    if network["name"] == MONAI:
        return {"_target_": f"monai.networks.nets.{arguments['target']}", **arguments["arguments"]}
    return {"_target_": ".".join(NETWORKS[network["name"]]), **arguments}


def _transforms(bundle: Bundle) -> list[dict[str, Any]]:
    """Return MONAI's transforms for what the preprocessing does, as far as MONAI has them."""
    given = bundle.preprocessing
    dims = argument_of(bundle.spec["network"], "spatial_dims", 3)
    found: list[dict[str, Any]] = [{"_target_": "LoadImaged"}, {"_target_": "EnsureChannelFirstd"}]
    if dims == 3:
        found.append({"_target_": "Orientationd", "axcodes": OUR_AXES})
        if given.spacing_mm is not None:
            spacing = given.spacing_mm if isinstance(given.spacing_mm, tuple) else (given.spacing_mm,) * dims
            found.append({"_target_": "Spacingd", "pixdim": list(spacing), "mode": "bilinear"})
    if given.window is not None:
        mean, std = (given.mean or (0.0,))[0], (given.std or (1.0,))[0]
        scaled = {
            "a_min": given.window[0],
            "a_max": given.window[1],
            "b_min": -mean / std,
            "b_max": (1 - mean) / std,
        }
        found.append({"_target_": "ScaleIntensityRanged", **scaled, "clip": True})
    elif given.percentiles is not None:
        low, high = given.percentiles
        limits = {"lower": low, "upper": high, "b_min": 0, "b_max": 1, "clip": True}
        found.append({"_target_": "ScaleIntensityRangePercentilesd", **limits})
    if given.standardise:
        found.append({"_target_": "NormalizeIntensityd"})
    found.append({"_target_": "EnsureTyped"})
    return [{**transform, "keys": "image"} for transform in found]


def _metadata(bundle: Bundle) -> dict[str, Any]:
    spec = bundle.spec
    kinds = bundle.preprocessing.kinds
    channels = argument_of(spec["network"], "in_channels", 1)
    shape = _window(bundle)
    labels = {str(number): label for number, label in enumerate(bundle.classes)}
    common = {"dtype": "float32", "is_patch_data": True, "spatial_shape": shape, "value_range": [0, 1]}
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by napari-medlab {__version__} on Python {platform.python_version()}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {} if spec["network"]["name"] == MONAI else {"napari-medlab": __version__},
        "name": bundle.name,
        "task": f"{bundle.task} of {', '.join(bundle.classes)}",
        "description": str(spec.get("purpose") or f"{bundle.task} of {', '.join(bundle.classes)}"),
        "authors": "see docs/README.md",
        "copyright": str(spec.get("licence") or "not stated"),
        "intended_use": " ".join(bundle.limits) or "Research.",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image", "format": "magnitude", "modality": MODALITIES[kinds[0]], "num_channels": channels,
                    **common, "channel_def": {str(number): "image" for number in range(channels)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image", "format": bundle.task, "num_channels": len(labels), **common, "channel_def": labels,
                }
            },
        },
        OWN_BLOCK: spec,
    }  # fmt: skip


def _window(bundle: Bundle) -> list[int]:
    """Return the size of the windows in which MONAI is to look at an image, which every network here can halve."""
    dims = argument_of(bundle.spec["network"], "spatial_dims", 3)
    tiling = bundle.tiling
    if len(core := tiling.get("core", [])) != dims:
        return [WINDOW] * dims
    halo = tiling.get("halo", 0)
    margins = [halo] * dims if isinstance(halo, int) else halo
    return [side + 2 * margin for side, margin in zip(core, margins, strict=True)]
