from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles import find_bundle, load_network, read_bundle, shipped_bundles, write_bundle
from napari_medlab.models.bundles.registry import bundle_paths
from napari_medlab.models.networks import build_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medlab.models.bundles import Bundle

ARGUMENTS = {"spatial_dims": 2, "channels": [4, 4, 4], "classes": 1}


def spec(name: str = "tiny", **changes: object) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": name,
        "task": "detection",
        "network": {"name": "centre-heatmap", "arguments": ARGUMENTS},
        "preprocessing": {"spacing_mm": 1.5, "window": [-1000.0, 400.0]},
        "postprocessing": {"threshold": 0.1, "most_per_tile": 10, "merge_mm": 4.0},
        "classes": ["nodule"],
        "parent": None,
        "limits": "None known.",
        **changes,
    }


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    state: dict[str, torch.Tensor] = build_network("centre-heatmap", ARGUMENTS).state_dict()
    return state


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "bundles", spec(), weights(), "# A card\n")


def test_what_is_read_is_what_was_written(bundle: Bundle) -> None:
    again = read_bundle(bundle.folder)
    assert (again.hash, again.spec, again.name) == (bundle.hash, bundle.spec, "tiny")
    assert bundle.folder.name == f"tiny-{bundle.hash[:12]}"
    assert again.title == f"tiny · {bundle.hash[:8]}"
    assert again.preprocessing.window == (-1000.0, 400.0)
    assert (bundle.folder / "CARD.md").read_text() == "# A card\n"
    network, original = load_network(again), weights()
    assert not network.training
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, original[name], atol=1e-3, rtol=1e-3)


def test_nothing_is_overwritten(bundle: Bundle) -> None:
    with pytest.raises(InputRefusedError) as caught:
        write_bundle(bundle.folder.parent, spec(), weights(), "# Another card\n")
    assert caught.value.code == "exists"
    assert (bundle.folder / "CARD.md").read_text() == "# A card\n"


def test_the_address_depends_on_the_spec_and_on_the_weights(tmp_path: Path, bundle: Bundle) -> None:
    other_spec = write_bundle(tmp_path, spec(limits="Some."), weights(), "")
    other_weights = write_bundle(tmp_path, spec(), weights(1), "")
    assert len({bundle.hash, other_spec.hash, other_weights.hash}) == 3
    same = write_bundle(tmp_path / "elsewhere", spec(), weights(), "")
    assert same.hash == bundle.hash


def flip_a_byte(folder: Path) -> None:
    payload = bytearray((folder / "model.safetensors").read_bytes())
    payload[-3] ^= 1
    (folder / "model.safetensors").write_bytes(payload)


def edit_spec(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        document = json.loads((folder / "bundle.json").read_text())
        change(document)
        (folder / "bundle.json").write_text(json.dumps(document))

    return edit


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte,
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "bundle.json").unlink(),
        lambda folder: (folder / "bundle.json").write_text("{"),
        lambda folder: (folder / "bundle.json").write_text("7"),
        lambda folder: (folder / "bundle.json").write_text("[" * 100_000),
        lambda folder: (folder / "bundle.json").write_text(" " * ((1 << 20) + 1)),
        edit_spec(lambda document: document.pop("preprocessing")),
        edit_spec(lambda document: document.update(limits=float("nan"))),
        edit_spec(lambda document: document.update(name="../../elsewhere")),
        edit_spec(lambda document: document.update(name="..")),
        edit_spec(lambda document: document.update(weights_sha256=7)),
        edit_spec(lambda document: document.update(network="centre-heatmap")),
        edit_spec(lambda document: document.update(network={"name": "centre-heatmap"})),
        edit_spec(lambda document: document.update(preprocessing={"spacing_mm": "wide", "window": [0, 1]})),
        edit_spec(lambda document: document.update(classes=[])),
    ],
)
def test_a_bundle_that_was_changed_is_refused(bundle: Bundle, damage: Callable[[Path], object]) -> None:
    damage(bundle.folder)
    with pytest.raises(InputRefusedError) as caught:
        read_bundle(bundle.folder)
    assert caught.value.code == "bundle"
    assert str(bundle.folder) in caught.value.message


def reshaped(state: dict[str, torch.Tensor]) -> None:
    state["out.bias"] = torch.zeros(7)


def poisoned(state: dict[str, torch.Tensor]) -> None:
    state["out.bias"][0] = float("nan")


def integral(state: dict[str, torch.Tensor]) -> None:
    state["out.bias"] = state["out.bias"].long()


def renamed(state: dict[str, torch.Tensor]) -> None:
    state["out.offset"] = state.pop("out.bias")


@pytest.mark.parametrize("change", [reshaped, poisoned, integral, renamed])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    state = weights()
    change(state)
    wrong = write_bundle(tmp_path, spec(), state, "")
    with pytest.raises(InputRefusedError) as caught:
        load_network(read_bundle(wrong.folder))
    assert caught.value.code == "bundle"


def test_a_header_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    import hashlib

    folder = write_bundle(tmp_path, spec(), weights(), "").folder
    payload = (1 << 40).to_bytes(8, "little") + b"{}"
    (folder / "model.safetensors").write_bytes(payload)
    edit_spec(lambda document: document.update(weights_sha256=hashlib.sha256(payload).hexdigest()))(folder)
    with pytest.raises(InputRefusedError, match="claims"):
        load_network(read_bundle(folder))


def test_an_unknown_network_is_refused(tmp_path: Path) -> None:
    unknown = write_bundle(tmp_path, spec(network={"name": "os.system", "arguments": {}}), weights(), "")
    with pytest.raises(InputRefusedError) as caught:
        load_network(unknown)
    assert caught.value.code == "unknown-network"


def test_a_bundle_is_found_by_name_hash_and_folder(bundle: Bundle) -> None:
    folders = [bundle.folder.parent]
    for wanted in ("tiny", bundle.hash, bundle.hash[:8], str(bundle.folder)):
        assert find_bundle(wanted, folders).hash == bundle.hash
    assert find_bundle("lung-nodules", folders).hash == shipped_bundles()[0].hash


@pytest.mark.parametrize("wanted", ["nothing", ""])
def test_a_model_that_is_unknown_is_refused_with_those_that_are_known(bundle: Bundle, wanted: str) -> None:
    with pytest.raises(InputRefusedError, match="tiny · ") as caught:
        find_bundle(wanted, [bundle.folder.parent])
    assert caught.value.code == "unknown-model"


def test_two_versions_are_told_apart_by_their_hashes_alone(bundle: Bundle) -> None:
    parent = bundle.folder.parent
    other = write_bundle(parent, spec(), weights(1), "")
    with pytest.raises(InputRefusedError, match="2 models"):
        find_bundle("tiny", [parent])
    assert find_bundle(other.hash[:8], [parent]).hash == other.hash


def test_one_version_in_two_folders_is_one_model(tmp_path: Path, bundle: Bundle) -> None:
    shutil.copytree(bundle.folder, tmp_path / "copies" / bundle.folder.name)
    assert find_bundle("tiny", [bundle.folder.parent, tmp_path / "copies"]).hash == bundle.hash


def test_a_damaged_bundle_keeps_no_other_from_being_found(bundle: Bundle) -> None:
    parent = bundle.folder.parent
    flip_a_byte(write_bundle(parent, spec("damaged"), weights(), "").folder)
    assert find_bundle("tiny", [parent]).hash == bundle.hash
    with pytest.raises(InputRefusedError, match="damaged-"):
        find_bundle("damaged", [parent])


def test_what_a_killed_process_left_is_no_bundle(bundle: Bundle) -> None:
    shutil.copytree(bundle.folder, bundle.folder.with_name(f"{bundle.folder.name}.partial-123"))
    assert bundle_paths(bundle.folder.parent) == [bundle.folder]
    assert bundle_paths(bundle.folder / "nowhere") == []
