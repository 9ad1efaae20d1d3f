from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from foreign_models import (
    METADATA,
    UNET,
    image_transform,
    imported,
    inference,
    monai_bundle,
    unet_weights,
    zipped,
)
from monai.bundle.config_parser import ConfigParser
from monai.networks.nets.unet import UNet

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles import export_monai, import_model, load_network, read_bundle, write_bundle
from napari_medlab.models.bundles.intake import turn_of
from napari_medlab.models.networks import build_network

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.bundles import Bundle

CODE = {
    "imports": ["$import os"],
    "device": "$torch.device('cpu')",
    "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]"},
}


def test_a_bundle_without_code_is_read_as_it_is(tmp_path: Path) -> None:
    bundle = imported(monai_bundle(tmp_path / "spleen"), tmp_path / "out")
    assert (bundle.name, bundle.task, bundle.classes) == ("spleen", "segmentation", ("spleen",))
    assert bundle.preprocessing.window == (-57.0, 164.0)
    # pixdim is in the order x, y, z of RAS
    assert bundle.preprocessing.spacing_mm == (2.0, 1.25, 1.5)
    assert bundle.tiling["core"] == [8, 16, 16]
    assert bundle.tiling["halo"] == [4, 8, 8]
    assert bundle.spec["licence"] == "Apache-2.0"
    assert set(bundle.spec["training"]["imported_from"]["files"]) == {
        "inference.json",
        "metadata.json",
        "model.pt",
    }
    assert "spleen" in (bundle.folder / "CARD.md").read_text()


def test_the_network_sees_what_it_was_trained_on(tmp_path: Path) -> None:
    """Turned to RAS, and one logit whose sigmoid is the softmax of the class."""
    bundle = imported(monai_bundle(tmp_path / "spleen"), tmp_path / "out")
    original = UNet(**UNET)
    original.load_state_dict(unet_weights())
    ours = torch.randn(1, 1, 8, 12, 16)
    with torch.inference_mode():
        # (z, y, x) towards S, P, L is (x, y, z) towards R, A, S after two flips
        theirs = original.eval()(ours.permute(0, 1, 4, 3, 2).flip(2, 3)).softmax(1)[:, 1:]
        expected = theirs.flip(2, 3).permute(0, 1, 4, 3, 2)
        torch.testing.assert_close(load_network(bundle)(ours).sigmoid(), expected, atol=1e-6, rtol=1e-5)


def test_a_zip_file_is_the_same_model(tmp_path: Path) -> None:
    folder = monai_bundle(tmp_path / "spleen")
    of_folder = imported(folder, tmp_path / "a")
    of_archive = imported(zipped(folder, tmp_path / "spleen.zip"), tmp_path / "b")
    assert of_folder.spec["weights_sha256"] == of_archive.spec["weights_sha256"]
    assert of_folder.spec["preprocessing"] == of_archive.spec["preprocessing"]
    assert of_archive.name == "spleen"


def test_yaml_says_the_same(tmp_path: Path) -> None:
    import yaml

    folder = monai_bundle(tmp_path / "spleen")
    expected = imported(folder, tmp_path / "a").spec["network"]
    (folder / "configs/inference.json").unlink()
    (folder / "configs/inference.yaml").write_text(yaml.safe_dump(inference()))
    assert imported(folder, tmp_path / "b").spec["network"] == expected


def test_code_is_refused_by_name_or_passed_over_by_choice(tmp_path: Path) -> None:
    folder = monai_bundle(tmp_path / "spleen", inference(**CODE))
    with pytest.raises(InputRefusedError, match="code in 4 places") as caught:
        imported(folder, tmp_path / "out")
    for place in ("imports", "device", "dataset#data"):
        assert place in caught.value.message
    bundle = imported(folder, tmp_path / "out", skip_code=True)
    assert any("Passed over as code: device" in limit for limit in bundle.limits)
    assert bundle.preprocessing.window == (-57.0, 164.0)


def test_code_in_the_network_is_never_passed_over(tmp_path: Path) -> None:
    config = inference(network_def={"_target_": "UNet", **UNET, "out_channels": "$1 + 1"})
    with pytest.raises(InputRefusedError, match="network_def cannot be read"):
        imported(monai_bundle(tmp_path / "spleen", config), tmp_path / "out", skip_code=True)


@pytest.mark.parametrize(
    "transforms",
    [
        [image_transform("ScaleIntensityd", minv=-1, maxv=1)],
        [image_transform("NormalizeIntensityd", nonzero=True)],
        [image_transform("ScaleIntensityRanged", a_min=0, a_max=10, b_min=0, b_max=1)],
        [image_transform("GaussianSmoothd", sigma=1.0)],
        [],
    ],
    ids=["range", "nonzero", "unclipped", "unknown", "none"],
)
def test_what_cannot_be_translated_has_to_be_given(tmp_path: Path, transforms: list[Any]) -> None:
    oriented = [image_transform("Orientationd", axcodes="RAS"), *transforms]
    folder = monai_bundle(tmp_path / "spleen", inference(preprocessing=oriented))
    with pytest.raises(InputRefusedError, match="--preprocessing") as caught:
        imported(folder, tmp_path / "out", skip_code=True)
    assert caught.value.code == "model-incomplete"
    given = {"spacing_mm": 2.0, "window": [0.0, 10.0]}
    bundle = imported(folder, tmp_path / "out", preprocessing=given, skip_code=True)
    assert bundle.preprocessing.window == (0.0, 10.0)


@pytest.mark.parametrize(
    ("transform", "values", "expected"),
    [
        (
            image_transform("ScaleIntensityRanged", a_min=0, a_max=10, b_min=-1, b_max=1, clip=True),
            [-5, 5, 20],
            [-1, 0, 1],
        ),
        (
            image_transform("ScaleIntensityRanged", a_min=0, a_max=10, b_min=0, b_max=1, clip=True),
            [0, 5, 20],
            [0, 0.5, 1],
        ),
    ],
)
def test_values_become_what_monai_makes_of_them(
    tmp_path: Path, transform: dict[str, Any], values: list[float], expected: list[float]
) -> None:
    oriented = [image_transform("Orientationd", axcodes="SPL"), transform]
    bundle = imported(monai_bundle(tmp_path / "spleen", inference(preprocessing=oriented)), tmp_path / "out")
    low, high = bundle.preprocessing.window or (0.0, 1.0)
    scaled = (np.clip(values, low, high) - low) / (high - low)
    mean, std = (bundle.preprocessing.mean or (0.0,))[0], (bundle.preprocessing.std or (1.0,))[0]
    np.testing.assert_allclose((scaled - mean) / std, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("axes", "order", "flips"),
    [
        ("SPL", (0, 1, 2), ()),
        ("RAS", (2, 1, 0), (0, 1)),
        ("LPS", (2, 1, 0), ()),
        ("IAR", (0, 1, 2), (0, 1, 2)),
        ("xy", (1, 0), ()),
    ],
)
def test_letters_say_how_arrays_are_turned(axes: str, order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    assert turn_of(axes) == (order, flips)


@pytest.mark.parametrize("axes", ["RAR", "RA", "", "zyx", "RASS"])
def test_letters_that_name_no_axes_are_refused(axes: str) -> None:
    with pytest.raises(InputRefusedError):
        turn_of(axes)


def test_the_import_in_a_process_of_its_own(tmp_path: Path) -> None:
    folder = monai_bundle(tmp_path / "spleen", inference(**CODE))
    said: list[str] = []
    with pytest.raises(InputRefusedError, match="holds code"):
        import_model(folder, tmp_path / "out", on_progress=said.append)
    assert said == ["Reading spleen"]
    assert not (tmp_path / "out").exists()


def ours(tmp_path: Path) -> Bundle:
    arguments = {"spatial_dims": 2, "channels": [4, 4, 4], "classes": 1}
    spec = {
        "name": "tiny", "task": "detection", "network": {"name": "centre-heatmap", "arguments": arguments},
        "preprocessing": {"kind": "mammogram", "percentiles": [1.0, 99.0]}, "tiling": {"core": [32, 32], "halo": 8},
        "postprocessing": {"threshold": 0.1}, "classes": ["mass"], "parent": "0" * 64, "limits": ["Phantoms alone."],
        "figures": {"held out": {"cpm": 0.5, "cpm_interval": [0.4, 0.6]}}, "licence": "BSD-3-Clause",
    }  # fmt: skip
    torch.manual_seed(0)
    return write_bundle(tmp_path / "bundles", spec, build_network("centre-heatmap", arguments).state_dict())


def test_what_was_exported_is_imported_again(tmp_path: Path) -> None:
    bundle = ours(tmp_path)
    folder = export_monai(bundle, tmp_path / "exported")
    again = imported(folder, tmp_path / "again")
    for key in (
        "name",
        "task",
        "network",
        "preprocessing",
        "tiling",
        "postprocessing",
        "classes",
        "parent",
        "figures",
        "licence",
    ):
        assert again.spec[key] == bundle.spec[key], key
    expected = load_network(bundle).state_dict()
    for name, tensor in load_network(again).state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    with pytest.raises(InputRefusedError) as caught:
        export_monai(bundle, folder)
    assert caught.value.code == "exists"


def test_an_export_holds_what_a_monai_bundle_has_to_hold(tmp_path: Path) -> None:
    folder = export_monai(ours(tmp_path), tmp_path / "exported")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {
        "LICENSE",
        "configs/inference.json",
        "configs/metadata.json",
        "docs/README.md",
        "models/model.pt",
    }
    metadata = json.loads((folder / "configs/metadata.json").read_text())
    required = {"version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task",
                "description", "authors", "copyright", "network_data_format"}  # fmt: skip
    assert required <= set(metadata)
    for part in (
        metadata["network_data_format"]["inputs"]["image"],
        metadata["network_data_format"]["outputs"]["pred"],
    ):
        assert {
            "type",
            "format",
            "num_channels",
            "spatial_shape",
            "dtype",
            "value_range",
            "channel_def",
        } <= set(part)
    assert "$" not in (folder / "configs/inference.json").read_text()
    assert "BSD-3-Clause" in (folder / "LICENSE").read_text()


def test_monai_builds_an_exported_network_by_itself(tmp_path: Path) -> None:
    """Its own parser reads the export, its network takes the weights, and both say the same."""
    config = inference(
        preprocessing=[
            image_transform("Orientationd", axcodes="SPL"),
            *inference()["preprocessing"]["transforms"][3:],
        ],
        postprocessing=[{"_target_": "Activationsd", "sigmoid": True}],
        network_def={"_target_": "monai.networks.nets.UNet", **UNET},
    )
    metadata = {**METADATA, "network_data_format": {"outputs": {"pred": {
        "format": "segmentation", "channel_def": {"0": "organ", "1": "spleen"}}}}}  # fmt: skip
    bundle = imported(monai_bundle(tmp_path / "spleen", config, metadata=metadata), tmp_path / "out")
    assert bundle.spec["network"]["name"] == "monai"
    folder = export_monai(bundle, tmp_path / "exported")
    parser = ConfigParser()
    parser.read_config(folder / "configs/inference.json")
    parser.read_meta(folder / "configs/metadata.json")
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(folder / "models/model.pt", weights_only=True))
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(network.eval()(image), load_network(read_bundle(bundle.folder))(image))
    (spacing,) = [t for t in parser.get("preprocessing")["transforms"] if t["_target_"] == "Spacingd"]
    # the order of SPL is ours
    assert spacing["pixdim"] == [1.5, 1.25, 2.0]
