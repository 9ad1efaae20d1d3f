"""Reading MONAI bundles: plain data and weights, translated into a bundle of ours; nothing in them is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medlab.models.bundles.checkpoints import read_checkpoint, state_dict_in
from napari_medlab.models.bundles.documents import read_document
from napari_medlab.models.bundles.intake import PLANAR_AXES, Draft, argument_of, not_importable, turn_of
from napari_medlab.models.bundles.monai_config import IS_CODE, code_in, own_network, resolve
from napari_medlab.models.bundles.monai_transforms import Translation, transform_name, translate
from napari_medlab.models.networks.monai_networks import monai_name

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.bundles.intake import ImportOptions

__all__ = ["METADATA", "OWN_BLOCK", "is_monai_bundle", "preprocessing_from", "read_monai"]

METADATA = "configs/metadata.json"
INFERENCES = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
WEIGHTS = "models/model.pt"
CLASSIFIER_WEIGHTS = "models/classifier.pt"
NETWORK_PLACES = ("network_def", "network", "net", "model")
PREPROCESSING_PLACES = ("preprocessing", "pre_transforms", "transforms_infer", "inference_transforms")
POSTPROCESSING_PLACES = ("postprocessing", "post_transforms")
OWN_BLOCK = "napari_medlab"
"""Where an export of ours puts the whole spec into the metadata."""

LISTED = 12
MAX_FILES = 2000
BACKGROUND = ("background", "everything else")


def is_monai_bundle(folder: Path) -> bool:
    """Tell whether a folder is laid out as a MONAI bundle."""
    return any((folder / name).is_file() for name in (METADATA, *INFERENCES))


def read_monai(folder: Path, options: ImportOptions) -> Draft:
    """Return what a MONAI bundle says about its model.

    Raises
    ------
    InputRefusedError
        Where it holds code and the person did not choose to pass over it, where its network is not one that is built, or
        where a file is missing or damaged; with every place at fault.
    """
    config_path = next((folder / name for name in INFERENCES if (folder / name).is_file()), None)
    if config_path is None:
        raise not_importable(folder, "it has no configs/inference.json or inference.yaml")
    try:
        config = read_document(config_path)
        metadata = read_document(folder / METADATA) if (folder / METADATA).is_file() else {}
    except (OSError, ValueError) as error:
        raise not_importable(folder, str(error)) from error
    code = [*code_in(config), *_programs(folder)]
    if code and not options.skip_code:
        raise not_importable(
            folder, f"it holds code in {len(code)} places: {'; '.join(code[:LISTED])}",
            "Nothing of it was run. --skip-code reads what is plain data, passes over the code, and asks for what is missing.",
        )  # fmt: skip
    if isinstance(metadata.get(OWN_BLOCK), dict):
        return _own(folder, metadata[OWN_BLOCK], (config_path, folder / METADATA))
    network = _network(folder, config)
    said, left = _preprocessing(config)
    said.axes = said.axes or options.axes
    limits = [f"Passed over as code: {one}." for one in code[:LISTED]] + [
        f"Not translated: {one}." for one in left
    ]
    facts = _facts(metadata, config)
    if (
        not left
        and (found := preprocessing_from(said, argument_of(network, "in_channels", 1), limits)) is not None
    ):
        facts["preprocessing"] = found
    if tiling := _tiling(config, said.axes):
        facts["tiling"] = tiling
    return Draft(
        "a MONAI bundle", network, _weights(folder, WEIGHTS), facts, tuple(limits), said.axes, _output(config),
        files=(config_path, *(path for path in (folder / METADATA, folder / WEIGHTS) if path.is_file())),
    )  # fmt: skip


def preprocessing_from(said: Translation, channels: int, limits: list[str]) -> dict[str, Any] | None:
    """Return a bundle's preprocessing that does what was said; None where it cannot, and ``limits`` then says why."""
    if not said.axes or not said.intensity:
        return None
    is_planar = said.axes in PLANAR_AXES
    found: dict[str, Any] = {
        "kind": ["photo", "mammogram"] if is_planar else "volume",
        **_intensity(said.intensity),
    }
    if said.intensity["rule"] == "linear" and "window" not in found:
        limits.append("Not translated: values are shifted and scaled without being cut at limits.")
        return None
    if is_planar and channels in (1, 3):
        found["channels"] = channels
    if said.spacing:
        order, _ = turn_of(said.axes)
        found["spacing_mm"] = [said.spacing[order.index(axis)] for axis in range(len(order))]
    else:
        limits.append("The model reads images at the spacing that they happen to have.")
    return found


def _intensity(rule: dict[str, Any]) -> dict[str, Any]:
    """Return what becomes of values; a bundle's mean and deviation are those of values already scaled to 0 … 1."""
    limits = [rule.get("low"), rule.get("high")]
    if rule["rule"] in ("window", "percentiles"):
        return {rule["rule"]: limits}
    if rule["rule"] == "z-score":
        return {"standardise": True}
    if rule["rule"] == "linear" and "low" in rule and rule["scale"] > 0 and rule["low"] < rule["high"]:
        width = rule["high"] - rule["low"]
        return {
            "window": limits,
            "mean": [(rule["shift"] - rule["low"]) / width],
            "std": [rule["scale"] / width],
        }
    return {}


def _programs(folder: Path) -> list[str]:
    """Return the Python files of a bundle and its logging configuration's, which Python would evaluate."""
    names = []
    for count, path in enumerate(folder.rglob("*")):
        if count > MAX_FILES:
            raise not_importable(folder, f"it holds over {MAX_FILES} files")
        if path.suffix in (".py", ".pyc", ".so", ".pyd", ".dll"):
            names.append(f"{path.relative_to(folder).as_posix()} is a program")
    return sorted(names)


def _network(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return the network by our table's name, from the first place that holds one."""
    place = next((one for one in NETWORK_PLACES if isinstance(config.get(one), dict)), None)
    if place is None:
        raise not_importable(folder, f"its configuration names no network as {NETWORK_PLACES[0]}")
    try:
        definition = resolve(config, config[place], trail=(f"@{place}",))
    except ValueError as error:
        raise not_importable(folder, f"its {place} cannot be read: {error}") from error
    target = str(definition.pop("_target_", ""))
    arguments = {key: value for key, value in definition.items() if not key.startswith("_")}
    if own := own_network(target):
        return {"name": own, "arguments": arguments}
    if (name := monai_name(target)) is None:
        raise not_importable(folder, f"its network {target[:80]!r} is not one of those that are built")
    # nothing is downloaded: the weights come with the bundle
    kept = {key: value for key, value in arguments.items() if key not in ("pretrained", "progress")}
    return {"name": "monai", "arguments": {"target": name, "arguments": kept}}


def _preprocessing(config: dict[str, Any]) -> tuple[Translation, list[str]]:
    transforms = _transforms(config, PREPROCESSING_PLACES)
    plain, left = [], []
    for transform in transforms:
        try:
            plain.append(resolve(config, transform))
        except ValueError as error:
            left.append(
                f"{str(transform.get('_target_', ''))[:60]}: {error}"
                if isinstance(transform, dict)
                else str(error)
            )
    said = translate(plain)
    return said, left + said.left + ([] if transforms else ["the configuration names no preprocessing"])


def _transforms(config: dict[str, Any], places: tuple[str, ...]) -> list[Any]:
    """Return a list of transforms, or those of a Compose, from the first place that holds them."""
    found: Any = next((config[one] for one in places if one in config), [])
    transforms = found.get("transforms", []) if isinstance(found, dict) else found
    if isinstance(transforms, str) and not transforms.startswith(IS_CODE):
        try:
            transforms = resolve(config, transforms)
        except ValueError:
            return []
    return transforms if isinstance(transforms, list) else []


def _output(config: dict[str, Any]) -> str:
    """Return what turns outputs into probabilities, as the post-processing says; empty where it does not."""
    for transform in _transforms(config, POSTPROCESSING_PLACES):
        if (
            isinstance(transform, dict)
            and transform_name(str(transform.get("_target_", ""))) == "Activations"
        ):
            return next((name for name in ("softmax", "sigmoid") if transform.get(name) is True), "")
    return ""


def _tiling(config: dict[str, Any], axes: str) -> dict[str, Any]:
    """Return tiles of the size of the sliding window, in our order of axes."""
    inferer = config.get("inferer")
    roi = inferer.get("roi_size") if isinstance(inferer, dict) else None
    if (
        not axes
        or not isinstance(roi, list)
        or not all(type(one) is int and 16 <= one <= 4096 for one in roi)
    ):
        return {}
    order, _ = turn_of(axes)
    if len(order) != len(roi):
        return {}
    return tiling_of([roi[order.index(axis)] for axis in range(len(order))])


def tiling_of(window: list[int]) -> dict[str, Any]:
    """Return tiles that are read in windows of a size, and whose middle half of each side counts."""
    halo = [side // 4 for side in window]
    core = [side - 2 * margin for side, margin in zip(window, halo, strict=True)]
    return {"core": core, "halo": halo, "batch": 1, "skip": {"rule": "none"}}


def _facts(metadata: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return what the metadata say of task, classes, licence and purpose."""
    facts: dict[str, Any] = {}
    formats = metadata.get("network_data_format")
    outputs = formats.get("outputs") if isinstance(formats, dict) else None
    output: Any = next(iter(outputs.values()), {}) if isinstance(outputs, dict) else {}
    if isinstance(output, dict):
        channels = output.get("channel_def")
        names = (
            [str(channels[key])[:128] for key in sorted(channels, key=_number)]
            if isinstance(channels, dict)
            else []
        )
        facts["classes"] = (
            names[1:] if names and names[0].lower() in BACKGROUND and _output(config) != "sigmoid" else names
        )
        kind = str(output.get("format", output.get("type", ""))).lower()
        facts["task"] = next((task for task in ("segmentation", "classification") if task in kind), "")
    for ours, theirs in (("purpose", "description"), ("licence", "copyright")):
        if isinstance(metadata.get(theirs), str):
            facts[ours] = metadata[theirs][:2000]
    return {key: value for key, value in facts.items() if value}


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 1 << 30


def _weights(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if path.is_symlink() or not path.is_file():
        other = " (model.ts is a program, and not read)" if (folder / "models/model.ts").exists() else ""
        raise not_importable(folder, f"it has no file {name}{other}")
    try:
        return dict(state_dict_in(read_checkpoint(path)))
    except ValueError as error:
        raise not_importable(folder, f"{name}: {error}") from error


def _own(folder: Path, spec: dict[str, Any], files: tuple[Path, ...]) -> Draft:
    """Return an export of ours: the spec lies in the metadata, and is checked like any other."""
    facts = {
        key: value
        for key, value in spec.items()
        if key not in ("weights_sha256", "schema", "network", "name")
    }
    weights = _weights(folder, WEIGHTS)
    read = [folder / WEIGHTS]
    if spec.get("classifier"):
        weights |= {
            f"classifier.{name}": tensor for name, tensor in _weights(folder, CLASSIFIER_WEIGHTS).items()
        }
        read.append(folder / CLASSIFIER_WEIGHTS)
    network = spec.get("network")
    if not isinstance(network, dict) or not {"name", "arguments"} <= set(network):
        raise not_importable(folder, f"{METADATA} holds no network")
    limits = spec.get("limits", [])
    facts["limits"] = limits if isinstance(limits, list) else [limits]
    facts["name"] = str(spec.get("name", ""))
    return Draft(
        "a MONAI bundle written by napari-medlab",
        network,
        weights,
        facts,
        is_ours=True,
        files=(*files, *read),
    )
