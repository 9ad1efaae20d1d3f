"""What ships, and small bundles of every task, keep to the contracts that strangers are held to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from napari_medlab.conformance import CONTRACTS, checks_of
from napari_medlab.models.bundles import shipped_bundles, write_bundle
from napari_medlab.models.networks import build_network
from napari_medlab.models.plugins.verifying import contract_for, verify

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.bundles import Bundle

SHIPPED = {bundle.name: bundle for bundle in shipped_bundles()}
TINY: dict[str, dict[str, Any]] = {
    "detection": {
        "network": {"name": "centre-heatmap", "arguments": {"spatial_dims": 2, "channels": [4, 4, 4], "classes": 1}},
        "preprocessing": {"kind": ["photo", "slide"], "channels": 1},
        "tiling": {"core": [128, 128], "halo": 16},
    },
    "segmentation": {
        "network": {"name": "unet", "arguments": {"spatial_dims": 3, "in_channels": 1, "classes": 1, "channels": [4, 8]}},
        "preprocessing": {"kind": "volume", "spacing_mm": 3.0, "window": [-1000, 400]},
        "tiling": {"core": [32, 32, 32], "halo": 8},
    },
    "classification": {
        "network": {"name": "cube-classifier", "arguments": {"sides": [8]}},
        "preprocessing": {"kind": "volume", "spacing_mm": 1.5, "window": [-1000, 400]},
        "tiling": {"core": [8, 8, 8]},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "lung-nodules" else [pytest.mark.slow]) for name in SHIPPED],
)
def test_what_ships_keeps_to_its_contract_and_finds_something(name: str) -> None:
    contract = contract_for(SHIPPED[name])
    contract.must_find = True
    assert [check for check in checks_of(contract) if check.reason] == []


@pytest.mark.parametrize("task", TINY)
def test_an_untrained_bundle_keeps_to_its_contract(task: str, tmp_path: Path) -> None:
    checks = list(verify(untrained(task, tmp_path)))
    assert [check for check in checks if check.reason] == []
    assert len(checks) >= 12


def test_every_task_has_a_contract() -> None:
    assert set(CONTRACTS) == set(TINY)


def untrained(task: str, folder: Path) -> Bundle:
    """Return a bundle whose weights are random."""
    import torch

    torch.manual_seed(0)
    about = TINY[task]
    network = build_network(about["network"]["name"], about["network"]["arguments"])
    spec = {"name": f"tiny-{task}", "task": task, "classes": ["spot"], "postprocessing": {}, **about}
    return write_bundle(folder, spec, network.state_dict())
