from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from foreign_models import UNET, imported, monai_bundle, unet_weights
from safetensors.torch import save_file

from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.bundles import ImportOptions, importing, load_network, write_bundle
from napari_medlab.models.bundles.arguments import build_bounded
from napari_medlab.models.bundles.intake import Draft
from napari_medlab.models.networks import build_network
from napari_medlab.models.networks.adapted import Adapted
from napari_medlab.models.networks.monai_networks import MONAI_NETWORKS, build_monai, monai_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SAID: dict[str, Any] = {
    "network": "UNet", "arguments": UNET, "task": "segmentation", "classes": ("spleen",), "output": "softmax",
    "axes": "SPL", "preprocessing": {"window": [0.0, 1.0]},
}  # fmt: skip


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 7},
        lambda weights: {"model": {"state_dict": weights}},
        lambda weights: {f"module.{name}": tensor for name, tensor in weights.items()},
        lambda weights: {"network": {f"_orig_mod.module.{name}": tensor for name, tensor in weights.items()}},
        lambda weights: {name: torch.nn.Parameter(tensor) if tensor.is_floating_point() else tensor
                         for name, tensor in weights.items()},
    ],
    ids=["bare", "checkpoint", "nested", "parallel", "compiled", "parameters"],
)  # fmt: skip
def test_weights_are_found_however_they_were_saved(
    tmp_path: Path, wrap: Callable[[dict[str, torch.Tensor]], dict[str, Any]]
) -> None:
    torch.save(wrap(unet_weights()), tmp_path / "seg.pt")
    state = load_network(imported(tmp_path / "seg.pt", tmp_path / "out", **SAID)).state_dict()
    for name, tensor in unet_weights().items():
        assert torch.equal(state[f"inner.{name}"], tensor)


def test_safetensors_are_read_the_same(tmp_path: Path) -> None:
    save_file(unet_weights(), tmp_path / "seg.safetensors")
    bundle = imported(tmp_path / "seg.safetensors", tmp_path / "out", **SAID)
    assert bundle.spec["training"]["imported_from"]["format"] == "weights as safetensors"


def test_a_network_of_ours_needs_no_axes(tmp_path: Path) -> None:
    arguments = {"spatial_dims": 2, "channels": [4, 4, 4], "classes": 1}
    torch.save(build_network("centre-heatmap", arguments).state_dict(), tmp_path / "found.pt")
    said = {"network": "centre-heatmap", "arguments": arguments, "task": "detection", "classes": ("mass",)}
    bundle = imported(
        tmp_path / "found.pt", tmp_path / "out", **said, preprocessing={"kind": "photo", "channels": 1}
    )
    assert bundle.spec["network"] == {"name": "centre-heatmap", "arguments": arguments}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "detection"}, "no boxes"),
        ({"classes": ("a", "b")}, "expected"),
        ({"output": "sigmoid"}, "expected"),
        ({"arguments": {**UNET, "in_channels": 2}}, "expected"),
        ({"arguments": {**UNET, "channels": [4, 8, 16]}}, "larger than|it has no|do not fit"),
        ({"network": "Nothing"}, "Nothing"),
        ({"preprocessing": {"spacing_mm": 1.0}}, "--preprocessing"),
        ({"preprocessing": {"colour": 1.0, "window": [0, 1]}}, "colour"),
        ({"name": "../x"}, "name"),
        ({"axes": "XYZ"}, "axes"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    torch.save(unet_weights(), tmp_path / "seg.pt")
    with pytest.raises(InputRefusedError, match=said):
        imported(tmp_path / "seg.pt", tmp_path / "out", **{**SAID, **changes})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "beginning"),
    [("a.onnx", b"\x08\x07"), ("a.h5", b"\x89HDF\r\n"), ("a.bin", b"hello"), ("a.pt", b"")],
)
def test_other_kinds_of_files_are_refused(tmp_path: Path, name: str, beginning: bytes) -> None:
    (tmp_path / name).write_bytes(beginning)
    with pytest.raises(InputRefusedError) as caught:
        imported(tmp_path / name, tmp_path / "out", **SAID)
    assert caught.value.code == "model"


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError, match="not there"):
        imported(tmp_path / "nothing.pt", tmp_path / "out", **SAID)


@pytest.mark.parametrize(
    ("name", "value", "said"), [("BASE_SECONDS", -1e9, "s"), ("BASE_BYTES", -(1 << 40), "MiB")]
)
def test_a_process_that_takes_too_much_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: float, said: str
) -> None:
    monkeypatch.setattr(importing, name, value)
    monkeypatch.setattr(importing, "POLL_SECONDS", 0.01)
    with pytest.raises(InputRefusedError, match=f"reading it takes over .* {said}"):
        importing.import_model(monai_bundle(tmp_path / "spleen"), tmp_path / "out")


def test_an_import_can_be_cancelled(tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(CancelledError):
        importing.import_model(monai_bundle(tmp_path / "spleen"), tmp_path / "out", cancel=cancel)


def test_options_survive_their_way_to_another_process() -> None:
    options = ImportOptions(**SAID, skip_code=True, fold="0")
    assert ImportOptions.from_json(options.as_json()) == options


def test_what_a_person_says_goes_before_what_the_files_say() -> None:
    draft = Draft(
        "a test", {"name": "x", "arguments": {}}, {}, is_ours=True,
        facts={"task": "segmentation", "classes": ["a"],
               "preprocessing": {"spacing_mm": [1.0, 2.0, 3.0], "window": [0, 1], "mean": [0.5], "std": [2.0]}},
    )  # fmt: skip
    spaced = draft.completed(ImportOptions(preprocessing={"spacing_mm": 2.0}))
    assert spaced.facts["preprocessing"] == {"spacing_mm": 2.0, "window": [0, 1], "mean": [0.5], "std": [2.0]}
    windowed = draft.completed(ImportOptions(preprocessing={"percentiles": [1, 99]}, classes=("b",)))
    assert windowed.facts["preprocessing"] == {"spacing_mm": [1.0, 2.0, 3.0], "percentiles": [1, 99]}
    assert windowed.facts["classes"] == ["b"]


SMALL: dict[str, dict[str, Any]] = {
    "UNet": UNET,
    "AttentionUnet": {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": [4, 8], "strides": [2]},
    "BasicUNet": {"spatial_dims": 2, "features": [4, 4, 4, 4, 4, 4]},
    "SegResNet": {"spatial_dims": 2, "init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "SegResNetDS": {"spatial_dims": 2, "init_filters": 8, "blocks_down": [1, 1]},
    "DynUNet": {
        "spatial_dims": 2, "in_channels": 1, "out_channels": 1, "kernel_size": [3, [3, 3], 3], "strides": [1, [1, 2], 2],
        "upsample_kernel_size": [[1, 2], 2], "filters": [4, 4, 4],
    },
    "DenseNet": {
        "spatial_dims": 2, "in_channels": 1, "out_channels": 1, "init_features": 4, "growth_rate": 2, "block_config": [1],
    },
}  # fmt: skip


@pytest.mark.parametrize("target", SMALL)
def test_a_network_of_monais_takes_the_sizes_that_it_says(target: str) -> None:
    network = build_monai(target, SMALL[target]).eval()
    multiple = int(network.multiple)  # type: ignore[arg-type]
    dims = SMALL[target]["spatial_dims"]
    with torch.inference_mode():
        outputs = network(torch.zeros(1, 1, *(max(3 * multiple, 16) // multiple * multiple,) * dims))
    assert torch.isfinite(outputs).all()


def test_the_deepest_axis_decides_what_sizes_are_divisible_by() -> None:
    assert build_monai("DynUNet", SMALL["DynUNet"]).multiple == 4
    assert build_monai("UNet", {**UNET, "channels": [4, 4, 4], "strides": [2, 2]}).multiple == 4


def test_nothing_is_downloaded() -> None:
    assert all(
        entry.fixed.get("pretrained") is False
        for entry in MONAI_NETWORKS.values()
        if "progress" in entry.arguments
    )
    with pytest.raises(InputRefusedError, match="ViT"):
        build_monai("ViT", {})


@pytest.mark.parametrize(
    ("target", "name"),
    [("UNet", "UNet"), ("monai.networks.nets.UNet", "UNet"), ("monai.networks.nets.unet.Unet", "UNet"),
     ("monai.networks.nets.dynunet.DynUnet", "DynUNet"), ("evil.UNet", None), ("monai.networks.nets.a.b.UNet", None),
     ("monai.networks.netsx.UNet", None), ("os.system", None), ("", None), ("ViT", None)],
)  # fmt: skip
def test_monais_names_are_told_from_others(target: str, name: str | None) -> None:
    assert monai_name(target) == name


def test_a_bound_on_one_network_is_no_bound_on_the_next() -> None:
    arguments = {"target": "UNet", "arguments": {**UNET, "channels": [512, 512]}}
    with pytest.raises(InputRefusedError, match="larger than its weights"):
        build_bounded("monai", arguments, 10)
    assert build_network("monai", arguments) is not None


@pytest.mark.parametrize(("order", "flips"), [((2, 1, 0), (0, 1)), ((1, 2, 0), (2,)), ((0, 1, 2), ())])
def test_a_turned_network_gives_its_outputs_in_our_axes(
    order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    """With a network that leaves its input as it is, turning there and back changes nothing."""
    plain = {
        "name": "monai",
        "arguments": {"target": "UNet", "arguments": {**UNET, "in_channels": 1, "out_channels": 1}},
    }
    turned = Adapted(plain, order, flips)
    turned.inner = torch.nn.Identity()
    image = torch.randn(2, 1, 3, 4, 5)
    assert torch.equal(turned(image), image)


def test_exclusive_classes_keep_their_probabilities() -> None:
    plain = {"name": "monai", "arguments": {"target": "UNet", "arguments": UNET}}
    network = Adapted(plain, (0, 1, 2), exclusive=True)
    network.inner = torch.nn.Identity()
    logits = torch.randn(2, 4, 3, 3, 3) * 5
    torch.testing.assert_close(network(logits).sigmoid(), logits.softmax(1)[:, 1:], atol=1e-6, rtol=1e-4)


def test_an_imported_bundle_may_be_copied_but_not_over_another(tmp_path: Path) -> None:
    arguments = {"spatial_dims": 2, "channels": [4, 4, 4], "classes": 1}
    spec = {
        "name": "tiny", "task": "detection", "network": {"name": "centre-heatmap", "arguments": arguments},
        "preprocessing": {"window": [0, 1]}, "postprocessing": {}, "classes": ["nodule"],
    }  # fmt: skip
    bundle = write_bundle(tmp_path / "a", spec, build_network("centre-heatmap", arguments).state_dict())
    assert imported(bundle.folder, tmp_path / "b").hash == bundle.hash
    with pytest.raises(InputRefusedError) as caught:
        imported(bundle.folder, tmp_path / "b")
    assert caught.value.code == "exists"
