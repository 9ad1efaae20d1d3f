"""Reading nnU-Net v2's trained models: the architecture from its plans, as data, and the weights of one fold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medlab.models.bundles.checkpoints import read_checkpoint, state_dict_in
from napari_medlab.models.bundles.documents import read_document
from napari_medlab.models.bundles.intake import Draft, not_importable, turn_of
from napari_medlab.models.bundles.monai_import import preprocessing_from, tiling_of
from napari_medlab.models.bundles.monai_transforms import Translation

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from napari_medlab.models.bundles.intake import ImportOptions

__all__ = ["is_nnunet", "read_nnunet"]

PLANS, DATASET = "plans.json", "dataset.json"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
ENCODERS = {"PlainConvUNet": "plain", "ResidualEncoderUNet": "residual"}
PACKAGE = "dynamic_network_architectures.architectures"
COPIES = (".all_modules.",)
"""Parts of names under which nnU-Net registers the same tensors again."""

ENCODER_COPY = "decoder.encoder."
AXES = "SPL"
PLANAR = "yx"
LEAKY = "torch.nn.modules.activation.LeakyReLU", "torch.nn.LeakyReLU"
NORMS = ("torch.nn.modules.instancenorm.InstanceNorm", "torch.nn.InstanceNorm")


def is_nnunet(folder: Path) -> bool:
    """Tell whether a folder is a trained model of nnU-Net v2."""
    return (folder / PLANS).is_file() and (folder / DATASET).is_file()


def read_nnunet(folder: Path, options: ImportOptions) -> Draft:
    """Return what a trained nnU-Net says about its model.

    Raises
    ------
    InputRefusedError
        Where its architecture is neither a PlainConvUNet nor a ResidualEncoderUNet with instance norm and leaky ReLU, or a
        file is missing or damaged.
    """
    try:
        plans, dataset = read_document(folder / PLANS), read_document(folder / DATASET)
        name, chosen = _configuration(folder, plans, options.configuration)
        path = _checkpoint_path(folder, options.fold)
        checkpoint = read_checkpoint(path, allow_numbers=True)
        network = _network(chosen, plans, dataset)
        weights = _without_copies(state_dict_in(checkpoint))
        classes, is_exclusive = _classes(dataset)
        axes = _axes(chosen, plans, network["arguments"]["spatial_dims"])
        said, limits = _preprocessing(chosen, plans, axes)
    except (OSError, ValueError) as error:
        raise not_importable(folder, str(error)) from error
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise not_importable(folder, f"its plans are not those of an nnU-Net v2: {error!r}") from error
    facts: dict[str, Any] = {
        "task": "segmentation", "classes": classes, "tiling": _tiling(chosen, axes),
        "postprocessing": {"threshold": 0.5},
        "purpose": f"nnU-Net {str(plans.get('dataset_name', ''))[:80]}, configuration {name}.",
        "training": {"data": str(dataset.get("name", plans.get("dataset_name", "")))[:200]},
    }  # fmt: skip
    if (preprocessing := preprocessing_from(said, network["arguments"]["in_channels"], limits)) is not None:
        facts["preprocessing"] = preprocessing
    limits += [
        "nnU-Net resamples by cubic splines, weighs tiles by a Gaussian and averages mirrored images; here images are "
        "resampled linearly, and mirroring is off unless test_time asks for it.",
        "nnU-Net reads images as they are stored; here they are turned towards S, P and L first.",
    ]
    output = "softmax" if is_exclusive else "sigmoid"
    return Draft(
        "nnU-Net v2",
        network,
        weights,
        facts,
        tuple(limits),
        axes,
        output,
        files=(folder / PLANS, folder / DATASET, path),
    )


def _configuration(folder: Path, plans: dict[str, Any], wanted: str) -> tuple[str, dict[str, Any]]:
    """Return the configuration that was trained, with what it inherits."""
    known = plans["configurations"]
    name = wanted or folder.resolve().name.rpartition("__")[2]
    if name not in known:
        if len(known) > 1:
            raise ValueError(
                f"its plans hold {', '.join(map(str, known))}: say which was trained (--configuration)"
            )
        name = next(iter(known))
    chosen: dict[str, Any] = {}
    seen: list[str] = []
    at: str | None = name
    while at is not None:
        if at in seen or at not in known:
            raise ValueError(f"its configuration {at[:40]!r} inherits from itself, or from none")
        seen.append(at)
        chosen = {**known[at], **chosen}
        at = known[at].get("inherits_from")
    return name, chosen


def _checkpoint_path(folder: Path, fold: str) -> Path:
    if fold and not fold.isalnum():
        raise ValueError(f"{fold[:20]!r} is no fold")
    folders = [folder / f"fold_{fold}"] if fold else sorted(folder.glob("fold_*"))
    found = [path / name for path in folders for name in CHECKPOINTS if (path / name).is_file()]
    first = {path.parent: path for path in reversed(found)}
    if not first:
        raise ValueError(f"it has no fold_{fold or '0'}/{CHECKPOINTS[0]}")
    if len(first) > 1:
        raise ValueError(
            f"it has {len(first)} folds: import them one by one (--fold), and make an ensemble of them"
        )
    (path,) = first.values()
    if path.is_symlink():
        raise ValueError(f"{path.name} is a link to another file")
    return path


def _network(chosen: dict[str, Any], plans: dict[str, Any], dataset: dict[str, Any]) -> dict[str, Any]:
    """Return the architecture by our table's name; the plans of newer versions name it, older ones give its numbers."""
    arguments = (
        _from_architecture(chosen["architecture"]) if "architecture" in chosen else _from_numbers(chosen)
    )
    if plans.get("label_manager", "LabelManager") != "LabelManager":
        raise ValueError(f"its labels are made by {str(plans['label_manager'])[:60]!r}, which is code")
    labels, _ = _classes(dataset)
    has_regions = any(isinstance(value, list) for value in dataset["labels"].values())
    channels = dataset["channel_names"] if "channel_names" in dataset else dataset["modality"]
    arguments |= {"in_channels": len(channels), "classes": len(labels) + (not has_regions)}
    return {"name": "staged-unet", "arguments": arguments}


def _from_architecture(architecture: dict[str, Any]) -> dict[str, Any]:
    package, _, name = str(architecture["network_class_name"]).rpartition(".")
    given = architecture["arch_kwargs"]
    if name not in ENCODERS or not package.startswith(PACKAGE):
        raise ValueError(
            f"its network is a {name[:60]}; {' and '.join(ENCODERS)} are read, import its predictions instead"
        )
    dims = _dimensions(given["conv_op"])
    odd = [
        key
        for key in ("dropout_op", "stem_channels", "bottleneck_channels", "nonlin_first")
        if given.get(key)
    ]
    odd += [] if given["nonlin"] in LEAKY else ["nonlin"]
    odd += [] if str(given["norm_op"]) in [f"{norm}{dims}d" for norm in NORMS] else ["norm_op"]
    odd += [] if str(given.get("block", "BasicBlockD")).endswith("BasicBlockD") else ["block"]
    if odd:
        raise ValueError(
            f"its network has its own {', '.join(odd)}, which are not read; import its predictions instead"
        )
    stages = int(given["n_stages"])
    if not 2 <= stages <= 16:
        raise ValueError(f"its network has {stages} stages")
    return {
        "spatial_dims": dims,
        "features": _each(given["features_per_stage"], stages),
        "kernels": [_each(one, dims) for one in _each(given["kernel_sizes"], stages)],
        "strides": [_each(one, dims) for one in _each(given["strides"], stages)],
        "blocks": _each(given.get("n_conv_per_stage", given.get("n_blocks_per_stage")), stages),
        "decoder_blocks": _each(given["n_conv_per_stage_decoder"], stages - 1),
        "encoder": ENCODERS[name],
        "bias": bool(given["conv_bias"]),
        "norm_eps": float(given["norm_op_kwargs"].get("eps", 1e-5)),
    }


def _from_numbers(chosen: dict[str, Any]) -> dict[str, Any]:
    """Return the architecture of plans before nnU-Net 2.4."""
    if (name := chosen["UNet_class_name"]) not in ENCODERS:
        raise ValueError(f"its network is a {str(name)[:60]}; {' and '.join(ENCODERS)} are read")
    kernels = chosen["conv_kernel_sizes"]
    base, most = int(chosen["UNet_base_num_features"]), int(chosen["unet_max_num_features"])
    return {
        "spatial_dims": len(kernels[0]),
        "features": [min(base * 2 ** min(depth, 16), most) for depth in range(len(kernels))],
        "kernels": kernels,
        "strides": chosen["pool_op_kernel_sizes"],
        "blocks": chosen["n_conv_per_stage_encoder"],
        "decoder_blocks": chosen["n_conv_per_stage_decoder"],
        "encoder": ENCODERS[name],
    }


def _dimensions(operation: object) -> int:
    for dims in (2, 3):
        if operation in (f"torch.nn.modules.conv.Conv{dims}d", f"torch.nn.Conv{dims}d"):
            return dims
    raise ValueError(f"its convolution is {str(operation)[:60]!r}")


def _each(value: Any, count: int) -> list[Any]:  # noqa: ANN401 - a number, or one for each
    return [value] * count if isinstance(value, int) else list(value)


def _without_copies(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return every tensor once: nnU-Net's modules register themselves under several names.

    Raises
    ------
    ValueError
        Where a copy is not the same as the original.
    """
    import torch

    kept = {}
    copies = []
    for name, tensor in weights.items():
        is_copy = name.startswith(ENCODER_COPY) or any(part in name for part in COPIES)
        if is_copy:
            copies.append((name, tensor))
        else:
            kept[name] = tensor
    for name, tensor in copies:
        original = kept.get(_original(name, kept))
        if original is not None and not torch.equal(original, tensor):
            raise ValueError(f"{name} differs from the tensor of which it is a copy")
    return kept


def _original(name: str, kept: dict[str, torch.Tensor]) -> str:
    """Return the name under which a copied tensor is kept: the convolution comes first, its norm thereafter."""
    bare = name.removeprefix("decoder.") if name.startswith(ENCODER_COPY) else name
    before, found, after = bare.partition(".all_modules.")
    if not found:
        return bare
    place, _, kind = after.partition(".")
    candidate = f"{before}.{'conv' if place == '0' else 'norm'}.{kind}"
    return candidate if candidate in kept else ""


def _classes(dataset: dict[str, Any]) -> tuple[list[str], bool]:
    """Return the names of the classes in the order of the outputs, and whether exactly one of them holds at a voxel."""
    labels = {str(key): value for key, value in dataset["labels"].items() if key != "ignore"}
    if any(isinstance(value, list) for value in labels.values()):
        return [key for key, value in labels.items() if value not in (0, [0])], False
    inner = {key: int(value) for key, value in labels.items() if int(value) != 0}
    if sorted(inner.values()) != list(range(1, len(inner) + 1)):
        raise ValueError(f"its labels are numbered {sorted(inner.values())[:10]}, not from 1 onwards")
    return sorted(inner, key=lambda key: inner[key]), True


def _axes(chosen: dict[str, Any], plans: dict[str, Any], dims: int) -> str:
    forward = [int(axis) for axis in plans.get("transpose_forward", [0, 1, 2])]
    if sorted(forward) != [0, 1, 2]:
        raise ValueError(f"its transpose_forward is {forward}")
    if dims == 3:
        return "".join(AXES[axis] for axis in forward)
    shape = plans.get("original_median_shape_after_transp", [0])
    if float(shape[0]) != 1 or forward != [0, 1, 2]:
        raise ValueError(
            "it reads the slices of volumes one by one, which is not done here; import a 3D configuration"
        )
    return PLANAR


def _tiling(chosen: dict[str, Any], axes: str) -> dict[str, Any]:
    window = [int(side) for side in chosen["patch_size"]]
    order, _ = turn_of(axes)
    return tiling_of([window[order.index(axis)] for axis in range(len(order))])


def _preprocessing(chosen: dict[str, Any], plans: dict[str, Any], axes: str) -> tuple[Translation, list[str]]:
    schemes = chosen["normalization_schemes"]
    limits: list[str] = []
    said = Translation(axes=axes)
    if axes != PLANAR:
        said.spacing = tuple(float(one) for one in chosen["spacing"])
    if len(set(schemes)) != 1 or (len(schemes) > 1 and schemes[0] == "CTNormalization"):
        limits.append(
            f"Not translated: every channel is normalised in its own way ({', '.join(map(str, schemes))})."
        )
        return said, limits
    if any(chosen.get("use_mask_for_norm", [])):
        limits.append("Not translated: values are normalised over voxels that are not zero alone.")
        return said, limits
    scheme = schemes[0]
    if scheme == "CTNormalization":
        found = plans["foreground_intensity_properties_per_channel"]["0"]
        said.intensity = {
            "rule": "linear", "low": float(found["percentile_00_5"]), "high": float(found["percentile_99_5"]),
            "shift": float(found["mean"]), "scale": max(float(found["std"]), 1e-8),
        }  # fmt: skip
    elif scheme in RULES:
        said.intensity = dict(RULES[scheme])
    else:
        limits.append(f"Not translated: the normalisation {str(scheme)[:60]!r}.")
    return said, limits


RULES: dict[str, dict[str, Any]] = {
    "ZScoreNormalization": {"rule": "z-score"},
    "RescaleTo01Normalization": {"rule": "percentiles", "low": 0.0, "high": 100.0},
    "RGBTo01Normalization": {"rule": "bytes"},
}
