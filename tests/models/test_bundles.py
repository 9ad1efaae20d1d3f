from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles import (
    card_of,
    find_bundle,
    load_classifier,
    load_network,
    read_bundle,
    shipped_bundles,
    write_bundle,
)
from napari_medlab.models.bundles.documents import parse_json, parse_yaml
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
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None]
) -> None:
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
    assert find_bundle("lung-nodules", folders).hash in {shipped.hash for shipped in shipped_bundles()}


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


def test_the_shipped_bundle_of_the_first_schema_says_the_same_as_ever() -> None:
    shipped = find_bundle("lung-nodules")
    assert shipped.task == "detection"
    assert shipped.classes[:1] == ("nodule",)
    assert load_network(shipped).training is False
    assert shipped.limits


def judged() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the spec and the weights of a detector with a second network that judges its candidates."""
    part: dict[str, Any] = {
        "network": {"name": "centre-heatmap", "arguments": {**ARGUMENTS, "classes": 2}}, "spacing_mm": 1.0,
        "shape": [24, 24], "window": [-1000.0, 400.0], "fusion": {"rule": "geometric mean", "weight": 0.5},
    }  # fmt: skip
    second: dict[str, torch.Tensor] = build_network(
        "centre-heatmap", part["network"]["arguments"]
    ).state_dict()
    tensors = {**weights(), **{f"classifier.{name}": tensor for name, tensor in second.items()}}
    return spec(schema=2, classifier=part, tiling={"core": [32, 32]}, limits=["One.", "Two."]), tensors


def test_a_classifier_shares_the_file_and_is_loaded_by_itself(tmp_path: Path) -> None:
    document, tensors = judged()
    bundle = read_bundle(write_bundle(tmp_path, document, tensors).folder)
    assert bundle.tiling == {"core": [32, 32]}
    assert bundle.limits == ("One.", "Two.")
    assert bundle.classifier is not None
    classifier = load_classifier(bundle)
    assert classifier is not None
    assert classifier.get_parameter("out.bias").shape != load_network(bundle).get_parameter("out.bias").shape
    expected = tensors["classifier.out.bias"]
    torch.testing.assert_close(classifier.get_parameter("out.bias").data, expected, atol=1e-3, rtol=1e-3)


def test_without_a_classifier_there_is_none(bundle: Bundle) -> None:
    assert bundle.classifier is None
    assert load_classifier(bundle) is None
    assert bundle.tiling == {}


def test_a_classifier_without_its_weights_is_refused(tmp_path: Path) -> None:
    document, _ = judged()
    bundle = write_bundle(tmp_path, document, weights())
    assert load_network(bundle) is not None
    with pytest.raises(InputRefusedError, match="it has no "):
        load_classifier(bundle)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 3}, "newer version"),
        ({"schema": "2"}, "newer version"),
        ({"task": "divination"}, "divination"),
        ({"classes": ["a", "a"]}, "twice"),
        ({"classes": ["a\nb"]}, "printable"),
        ({"classes": [7]}, "printable"),
        ({"parent": "../x"}, "parent"),
        ({"classifier": {"network": {}}}, "classifier lacks"),
        ({"tiling": []}, "tiling is of the wrong kind"),
        ({"tiling": [], "figures": 7}, "figures, tiling are of the wrong kind"),
        ({"network": {"name": "centre-heatmap", "arguments": {"channels": [10**9]}}}, "larger than"),
        ({"network": {"name": "centre-heatmap", "arguments": {"channels": [1] * 5000}}}, "4096"),
    ],
)  # fmt: skip
def test_everything_that_is_odd_about_a_spec_is_said(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    odd = write_bundle(tmp_path, spec(**changes), weights(), "")
    with pytest.raises(InputRefusedError) as caught:
        read_bundle(odd.folder)
    assert caught.value.code == "bundle"
    assert said in caught.value.message


def test_all_of_it_is_said_at_once(tmp_path: Path) -> None:
    odd = write_bundle(tmp_path, spec(task="x", parent="y", classes=["a", "a"]), weights(), "")
    with pytest.raises(
        InputRefusedError, match=r"task 'x' .*; .*parent is no SHA-256; .*a class occurs twice"
    ):
        read_bundle(odd.folder)


def test_what_16_bits_cannot_hold_is_stored_as_it_is(tmp_path: Path) -> None:
    state = weights()
    state["out.bias"] = state["out.bias"] + 1e6
    bundle = write_bundle(tmp_path, spec(), state)
    assert torch.equal(load_network(bundle).get_parameter("out.bias").data, state["out.bias"])


def test_precision_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, spec(), weights(), precision="as given")
    assert torch.equal(load_network(bundle).get_parameter("out.weight").data, weights()["out.weight"])


def test_weights_exchanged_after_reading_are_not_loaded(bundle: Bundle) -> None:
    read = read_bundle(bundle.folder)
    flip_a_byte(bundle.folder)
    with pytest.raises(InputRefusedError, match="not the file that the spec names"):
        load_network(read)


def test_the_card_says_what_the_spec_says(tmp_path: Path) -> None:
    figures = {
        "held out": {
            "cpm": 0.5123,
            "cpm_interval": [0.4, 0.6],
            "cases": 60,
            "sensitivity": {"0.125": 0.25, "8": 0.75},
        },
        "dice": 0.9,
    }
    document, tensors = judged()
    document |= {
        "figures": figures, "licence": "BSD-3-Clause", "parent": "1" * 64, "purpose": "Finds nodules.",
        "training": {"data": ["ab" * 32], "recipe": {"steps": 100}},
    }  # fmt: skip
    bundle = write_bundle(tmp_path, document, tensors)
    card = (bundle.folder / "CARD.md").read_text()
    assert card == card_of(bundle.spec)
    assert card.startswith("# tiny\n\n## Purpose\n\nFinds nodules. Detection of: nodule.\n")
    for line in (
        "| cpm | 0.5123 | 0.4 to 0.6 |", "| sensitivity, 0.125 | 0.25 | |", "| cases | 60 |  |", "| dice | 0.9 |  |",
        "- One.", "- Licence: BSD-3-Clause.", f"- Trained from the bundle {'1' * 64}.", "ab" * 32, "geometric mean",
    ):  # fmt: skip
        assert line in card, line
    for section in ("Purpose", "Input", "Output", "Figures", "Limits", "Data", "How it was made", "Origin"):
        assert f"## {section}\n" in card


def test_a_card_without_figures_makes_no_claim() -> None:
    assert "makes no claim" in card_of(spec())


def test_text_from_elsewhere_stays_text_in_the_card() -> None:
    card = card_of(spec(limits="<script>x</script> ![x](http://x) | a\n# Heading `code`"))
    assert "<script" not in card
    assert "![" not in card
    assert "\n# Heading" not in card


@pytest.mark.parametrize("text", ['[1, 2.5, "a", null, true]', "{}", "-7", '{"a": {"b": []}}'])
def test_plain_json_is_read(text: str) -> None:
    assert parse_json(text.encode()) == json.loads(text) == parse_yaml(text.encode())


@pytest.mark.parametrize(
    "text",
    ["{", "[NaN]", "[Infinity]", "[1e999]", '{"a": 1, "a": 2}', "[" * 100 + "]" * 100, "9" * 5000, "\udcff"],
)
def test_odd_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    "text",
    ["a: [", "a: .nan", "a: !!python/name:os.system", "a: !x 1", "a: &x 1\nb: *x", "a: 1\na: 2", "a: 2020-01-01", "? [1]\n: 2",
     "[" * 100 + "]" * 100, "--- 1\n--- 2"],
)  # fmt: skip
def test_odd_yaml_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_yaml(text.encode())
