"""Models as others hand them on, small enough to be made in a test."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medlab.models.bundles.importing import ImportOptions, import_here

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.bundles import Bundle

UNET: dict[str, Any] = {
    "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2], "num_res_units": 1,
    "norm": "batch",
}  # fmt: skip

METADATA = {
    "version": "0.1.0", "monai_version": "1.6.1", "pytorch_version": "2.13.0", "numpy_version": "2.0.0",
    "task": "spleen segmentation", "description": "A spleen segmenter.", "copyright": "Apache-2.0",
    "network_data_format": {
        "inputs": {"image": {"type": "image", "num_channels": 1}},
        "outputs": {"pred": {"format": "segmentation", "channel_def": {"0": "background", "1": "spleen"}}},
    },
}  # fmt: skip


def image_transform(name: str, **arguments: object) -> dict[str, Any]:
    return {"_target_": name, "keys": "image", **arguments}


def inference(**changes: object) -> dict[str, Any]:
    """Return a configuration without any code, as the model zoo's spleen segmenter has it otherwise."""
    scaled = {"a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1, "clip": True}
    return {
        "roi": [32, 32, 16],
        "classes": 2,
        "network_def": {"_target_": "UNet", **UNET, "out_channels": "@classes"},
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                image_transform("LoadImaged"),
                image_transform("EnsureChannelFirstd"),
                image_transform("Orientationd", axcodes="RAS"),
                image_transform("Spacingd", pixdim=[1.5, 1.25, 2.0], mode="bilinear"),
                image_transform("ScaleIntensityRanged", **scaled),
                image_transform("EnsureTyped"),
            ],
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 16], "overlap": 0.5},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Activationsd", "softmax": True}],
        },
        **changes,
    }


def unet_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    from monai.networks.nets.unet import UNet

    torch.manual_seed(seed)
    return dict(UNet(**UNET).state_dict())


def monai_bundle(
    folder: Path, config: object = None, weights: object = None, metadata: dict[str, Any] | None = None
) -> Path:
    """Write a MONAI bundle; with a plain U-Net where nothing else is given."""
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    (folder / "configs/metadata.json").write_text(json.dumps(METADATA if metadata is None else metadata))
    (folder / "configs/inference.json").write_text(json.dumps(inference() if config is None else config))
    torch.save(unet_weights() if weights is None else weights, folder / "models/model.pt")
    return folder


def zipped(folder: Path, path: Path) -> Path:
    """Return a folder's files as a zip file, below a folder of its name."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{folder.name}/{file.relative_to(folder).as_posix()}")
    return path


def plans(kind: str = "PlainConvUNet", **changes: object) -> dict[str, Any]:
    """Return the plans of a tiny nnU-Net v2 for CT."""
    counts = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    architecture = {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
        "arch_kwargs": {
            "n_stages": 3, "features_per_stage": [4, 6, 8], "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]], "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
            counts: [2, 1, 2], "n_conv_per_stage_decoder": [2, 1], "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }  # fmt: skip
    configuration = {
        "spacing": [2.0, 0.75, 0.75], "patch_size": [16, 32, 32], "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False], "architecture": architecture,
    }  # fmt: skip
    found = {"mean": 40.0, "std": 120.0, "percentile_00_5": -960.0, "percentile_99_5": 240.0}
    return {
        "dataset_name": "Dataset001_Tiny", "plans_name": "nnUNetPlans", "transpose_forward": [0, 1, 2],
        "configurations": {"base": configuration, "3d_fullres": {"inherits_from": "base", **changes}},
        "foreground_intensity_properties_per_channel": {"0": found},
    }  # fmt: skip


DATASET = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "tumour": 2, "organ": 1}, "name": "Tiny"}


def nnunet_copies(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights with the copies under which nnU-Net's modules register the same tensors again."""
    copies = {}
    for name, tensor in weights.items():
        place, _, kind = name.rpartition(".")
        layer = {"conv": "0", "norm": "1"}.get(place.rpartition(".")[2])
        if layer is not None:
            copies[f"{place.rpartition('.')[0]}.all_modules.{layer}.{kind}"] = tensor
    both = {**copies, **weights}
    return {
        **both,
        **{f"decoder.{name}": tensor for name, tensor in both.items() if name.startswith("encoder.")},
    }


def nnunet(folder: Path, weights: dict[str, torch.Tensor], document: dict[str, Any] | None = None) -> Path:
    """Write a trained nnU-Net v2 with one fold, its checkpoint as its trainer writes it."""
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans() if document is None else document))
    (folder / "dataset.json").write_text(json.dumps(DATASET))
    checkpoint = {
        "network_weights": nnunet_copies(weights), "optimizer_state": {"state": {}, "param_groups": []},
        "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.25)]}, "_best_ema": np.float64(0.8),
        "current_epoch": 1000, "init_args": {"configuration": "3d_fullres"}, "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }  # fmt: skip
    torch.save(checkpoint, folder / "fold_0/checkpoint_final.pth")
    return folder


def imported(path: Path, out: Path, **options: Any) -> Bundle:  # noqa: ANN401 - as ImportOptions has them
    """Return the bundle that an import in this very process makes."""
    steps = import_here(path, out, ImportOptions(**options))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            bundle: Bundle = end.value
            return bundle
