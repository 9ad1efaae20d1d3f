from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from foreign_models import imported, nnunet, nnunet_copies, plans

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles import load_network
from napari_medlab.models.networks.plain_conv_unet import StagedUNet

if TYPE_CHECKING:
    from pathlib import Path

SHAPE: dict[str, Any] = {
    "spatial_dims": 3, "in_channels": 1, "classes": 3, "features": [4, 6, 8], "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "blocks": [2, 1, 2], "decoder_blocks": [2, 1],
}  # fmt: skip


def trained(encoder: str = "plain") -> StagedUNet:
    torch.manual_seed(0)
    return StagedUNet(**SHAPE, encoder=encoder).eval()


@pytest.mark.parametrize(
    ("kind", "encoder"), [("PlainConvUNet", "plain"), ("ResidualEncoderUNet", "residual")]
)
def test_a_trained_model_is_read_from_its_plans(tmp_path: Path, kind: str, encoder: str) -> None:
    network = trained(encoder)
    folder = nnunet(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres", network.state_dict(), plans(kind))
    bundle = imported(folder, tmp_path / "out", name="tiny")
    # in the order of the outputs, without the background
    assert (bundle.task, bundle.classes) == ("segmentation", ("organ", "tumour"))
    assert bundle.preprocessing.spacing_mm == (2.0, 0.75, 0.75)
    assert bundle.preprocessing.window == (-960.0, 240.0)
    assert bundle.preprocessing.mean == pytest.approx(((40 + 960) / 1200,))
    assert bundle.preprocessing.std == pytest.approx((0.1,))
    assert bundle.tiling["core"] == [8, 16, 16]
    image = torch.randn(1, 1, 8, 16, 16)
    with torch.inference_mode():
        expected = network(image).softmax(1)[:, 1:]
        torch.testing.assert_close(load_network(bundle)(image).sigmoid(), expected, atol=1e-5, rtol=1e-4)


def test_the_names_of_the_weights_are_those_of_nnunet() -> None:
    plain, residual = set(trained().state_dict()), set(trained("residual").state_dict())
    assert {
        "encoder.stages.0.0.convs.1.conv.weight", "encoder.stages.2.0.convs.0.norm.bias", "decoder.stages.1.convs.0.conv.bias",
        "decoder.transpconvs.0.weight", "decoder.seg_layers.0.weight",
    } <= plain  # fmt: skip
    assert {
        "encoder.stem.convs.0.conv.weight", "encoder.stages.1.blocks.0.conv2.norm.weight",
        "encoder.stages.1.blocks.0.skip.1.conv.weight", "encoder.stages.0.blocks.1.conv1.conv.weight",
    } <= residual  # fmt: skip
    assert not any(name.startswith("encoder.stages.0.blocks.0.skip") for name in residual)
    assert trained().multiple == 4


def test_plans_of_older_versions_give_numbers_instead_of_a_name(tmp_path: Path) -> None:
    document = plans()
    base = document["configurations"]["base"]
    del base["architecture"]
    base |= {
        "UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 4, "unet_max_num_features": 8,
        "conv_kernel_sizes": SHAPE["kernels"], "pool_op_kernel_sizes": SHAPE["strides"],
        "n_conv_per_stage_encoder": [2, 1, 2], "n_conv_per_stage_decoder": [2, 1],
    }  # fmt: skip
    torch.manual_seed(0)
    network = StagedUNet(**{**SHAPE, "features": [4, 8, 8]})
    bundle = imported(nnunet(tmp_path / "x__3d_fullres", network.state_dict(), document), tmp_path / "out")
    assert bundle.spec["network"]["arguments"]["network"]["arguments"]["features"] == [4, 8, 8]


def test_axes_in_another_order_are_turned(tmp_path: Path) -> None:
    document = {**plans(), "transpose_forward": [1, 0, 2]}
    network = trained()
    bundle = imported(nnunet(tmp_path / "x__3d_fullres", network.state_dict(), document), tmp_path / "out")
    assert bundle.preprocessing.spacing_mm == (0.75, 2.0, 0.75)
    image = torch.randn(1, 1, 16, 8, 16)
    with torch.inference_mode():
        expected = network(image.transpose(2, 3)).softmax(1)[:, 1:].transpose(2, 3)
        torch.testing.assert_close(load_network(bundle)(image).sigmoid(), expected, atol=1e-5, rtol=1e-4)


def changed(path: str, value: object) -> dict[str, Any]:
    document = plans()
    place: Any = document["configurations"]["base"]
    *before, last = path.split(".")
    for part in before:
        place = place[part]
    place[last] = value
    return document


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            changed(
                "architecture.network_class_name", "dynamic_network_architectures.architectures.primus.Primus"
            ),
            "Primus",
        ),
        (changed("architecture.network_class_name", "os.PlainConvUNet"), "PlainConvUNet"),
        (changed("architecture.arch_kwargs.nonlin", "os.system"), "nonlin"),
        (changed("architecture.arch_kwargs.norm_op", "torch.nn.BatchNorm3d"), "norm_op"),
        (changed("architecture.arch_kwargs.conv_op", "subprocess.run"), "subprocess"),
        (changed("architecture.arch_kwargs.features_per_stage", [4, 6, 9]), "expected"),
        (changed("architecture.arch_kwargs.n_stages", 10**6), "stages"),
        (changed("normalization_schemes", ["MyNormalization"]), "--preprocessing"),
        (changed("use_mask_for_norm", [True]), "--preprocessing"),
        (changed("architecture", {}), "not those of an nnU-Net"),
        (plans(inherits_from="3d_fullres"), "inherits from itself"),
        ({**plans(), "label_manager": "os.system"}, "os.system"),
    ],
)
def test_what_is_not_read_is_refused_by_name(tmp_path: Path, document: dict[str, Any], said: str) -> None:
    folder = nnunet(tmp_path / "x__3d_fullres", trained().state_dict(), document)
    with pytest.raises(InputRefusedError) as caught:
        imported(folder, tmp_path / "out")
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_one_of_several_folds_has_to_be_chosen(tmp_path: Path) -> None:
    folder = nnunet(tmp_path / "x__3d_fullres", trained().state_dict())
    (folder / "fold_1").mkdir()
    (folder / "fold_1/checkpoint_best.pth").write_bytes((folder / "fold_0/checkpoint_final.pth").read_bytes())
    with pytest.raises(InputRefusedError, match="--fold"):
        imported(folder, tmp_path / "out")
    assert imported(folder, tmp_path / "out", fold="1").classes == ("organ", "tumour")


def test_a_copy_that_differs_from_its_original_is_refused(tmp_path: Path) -> None:
    weights = nnunet_copies(trained().state_dict())
    name = "encoder.stages.0.0.convs.0.all_modules.0.weight"
    weights[name] = weights[name] + 1
    with pytest.raises(InputRefusedError, match="differs"):
        imported(nnunet(tmp_path / "x__3d_fullres", weights), tmp_path / "out")
