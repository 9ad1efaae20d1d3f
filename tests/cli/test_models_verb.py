from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from napari_medlab.cli.main import main
from napari_medlab.models.bundles import find_bundle, shipped_bundles
from napari_medlab.project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.bundles import Bundle


@pytest.fixture
def shipped() -> Bundle:
    return find_bundle("lung-nodules")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    Project.create(tmp_path / "project").close()
    return tmp_path / "project"


@pytest.fixture
def copy(tmp_path: Path, shipped: Bundle) -> Path:
    """A bundle from elsewhere, with something beside it that is not part of it."""
    folder = shutil.copytree(shipped.folder, tmp_path / "from elsewhere")
    (folder / "setup.py").write_text("raise SystemExit")
    return folder


def models(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    status = main(["models", *map(str, words), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_without_an_action_models_are_listed(capsys: pytest.CaptureFixture[str], shipped: Bundle) -> None:
    status, said = models(capsys)
    assert status == 0
    assert [row["hash"] for row in said["models"]] == [bundle.hash for bundle in shipped_bundles()]
    (row,) = [row for row in said["models"] if row["name"] == "lung-nodules"]
    assert (row["name"], row["hash"], row["path"]) == ("lung-nodules", shipped.hash, str(shipped.folder))
    assert (row["task"], row["classes"], row["parent"], row["current"]) == (
        "detection",
        ["nodule"],
        shipped.parent,
        False,
    )
    assert models(capsys, "list") == (0, said)


def test_a_model_is_shown_with_its_card(capsys: pytest.CaptureFixture[str], shipped: Bundle) -> None:
    status, said = models(capsys, "show", "lung-nodules")
    assert (status, said["hash"], said["bundle"]) == (0, shipped.hash, shipped.spec)
    assert said["card"] == (shipped.folder / "CARD.md").read_text(encoding="utf-8")
    assert models(capsys, "show", shipped.hash[:8]) == (0, said)


def test_a_model_is_verified(capsys: pytest.CaptureFixture[str], shipped: Bundle) -> None:
    status, said = models(capsys, "verify", shipped.hash)
    assert (status, said["verified"], said["hash"]) == (0, True, shipped.hash)
    assert said["weights"] > 100_000


def test_weights_that_were_changed_are_not_verified(capsys: pytest.CaptureFixture[str], copy: Path) -> None:
    payload = bytearray((copy / "model.safetensors").read_bytes())
    payload[-1] ^= 1
    (copy / "model.safetensors").write_bytes(payload)
    status, said = models(capsys, "verify", copy)
    assert (status, said["error"]["code"]) == (3, "bundle")


def test_an_imported_bundle_belongs_to_the_project(
    capsys: pytest.CaptureFixture[str], shipped: Bundle, project: Path, copy: Path
) -> None:
    status, said = models(capsys, "import", copy, "--project", project)
    folder = project / "bundles" / f"lung-nodules-{shipped.hash[:12]}"
    assert (status, said) == (0, {"name": "lung-nodules", "hash": shipped.hash, "path": str(folder)})
    assert sorted(path.name for path in folder.iterdir()) == ["CARD.md", "bundle.json", "model.safetensors"]
    with Project.open(project, read_only=True) as opened:
        (record,) = opened.bundles()
    assert (record.hash, record.path, record.origin) == (shipped.hash, f"bundles/{folder.name}", "imported")

    assert [row["path"] for row in models(capsys, "--project", project)[1]["models"]] == [
        *(str(bundle.folder) for bundle in shipped_bundles()),
        str(folder),
    ]
    # one version in two places is one model
    assert models(capsys, "verify", "lung-nodules", "--project", project)[0] == 0
    status, said = models(capsys, "import", copy, "--project", project)
    assert (status, said["error"]["code"]) == (3, "exists")


def test_the_current_model_and_a_damaged_one_are_told(
    capsys: pytest.CaptureFixture[str], shipped: Bundle, project: Path, copy: Path
) -> None:
    from napari_medlab.project.edits import set_current_bundle

    models(capsys, "import", copy, "--project", project)
    with Project.open(project) as opened:
        opened.commit(set_current_bundle(None, shipped.hash))
    damaged = project / "bundles" / "other-0123"
    damaged.mkdir()
    (damaged / "bundle.json").write_text("{}")
    rows = models(capsys, "list", "--project", project)[1]["models"]
    of_shipped = [bundle.hash == shipped.hash for bundle in shipped_bundles()]
    assert [row.get("current") for row in rows] == [*of_shipped, True, None]
    assert (rows[-1]["name"], rows[-1]["hash"]) == ("other-0123", None)
    assert "cannot be used" in rows[-1]["error"]


def test_a_folder_that_is_no_bundle_is_not_imported(
    capsys: pytest.CaptureFixture[str], project: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    status, said = models(capsys, "import", tmp_path / "other", "--project", project)
    assert (status, said["error"]["code"]) == (3, "model")
    assert list((project / "bundles").iterdir()) == []


def test_import_wants_a_project(capsys: pytest.CaptureFixture[str], copy: Path) -> None:
    status, said = models(capsys, "import", copy)
    assert (status, said["error"]["code"]) == (3, "no-project")


def test_an_unknown_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    status, said = models(capsys, "show", "nothing")
    assert (status, said["error"]["code"]) == (3, "unknown-model")
    assert "lung-nodules" in said["error"]["message"]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights alone, as PyTorch writes them, of a network that MONAI has."""
    import torch
    from monai.networks.nets.unet import UNet

    torch.save({"state_dict": UNet(2, 1, 1, (4, 8), (2,), norm="batch").state_dict()}, tmp_path / "seg.pth")
    return tmp_path / "seg.pth"


ARGUMENTS = {
    "spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": [4, 8], "strides": [2], "norm": "batch"
}  # fmt: skip


def test_weights_alone_become_a_bundle_with_what_a_person_says(
    capsys: pytest.CaptureFixture[str], project: Path, weights: Path
) -> None:
    words = [
        "--network",
        "UNet",
        "--arguments",
        json.dumps(ARGUMENTS),
        "--task",
        "segmentation",
        "--classes",
        "glomerulus",
    ]
    words += [
        "--window",
        "0",
        "255",
        "--spacing",
        "0.002",
        "--axes",
        "yx",
        "--output",
        "sigmoid",
        "--name",
        "seg",
    ]
    status, said = models(capsys, "import", weights, "--project", project, *words)
    assert (status, said["name"]) == (0, "seg")
    status, shown = models(capsys, "show", "seg", "--project", project)
    assert shown["bundle"]["preprocessing"] == {"spacing_mm": 0.002, "window": [0.0, 255.0]}
    assert shown["bundle"]["network"]["name"] == "monai"
    assert list(shown["bundle"]["training"]["imported_from"]["files"]) == ["seg.pth"]
    assert models(capsys, "verify", "seg", "--project", project)[1]["weights"] > 100
    with Project.open(project, read_only=True) as opened:
        assert [(record.name, record.origin) for record in opened.bundles()] == [("seg", "imported")]


def test_what_weights_alone_do_not_say_is_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, weights: Path
) -> None:
    status, said = models(capsys, "import", weights, "--out", tmp_path / "bundles", "--network", "UNet")
    assert (status, said["error"]["code"]) == (3, "model-incomplete")
    for name in ("--task", "--classes", "--preprocessing", "--axes", "--output"):
        assert name in said["error"]["message"]
    assert not (tmp_path / "bundles").exists()


def test_a_model_is_exported_and_imported_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, shipped: Bundle
) -> None:
    folder = tmp_path / "exported"
    status, said = models(capsys, "export", shipped.hash, "--out", folder)
    assert (status, said["hash"], said["path"]) == (0, shipped.hash, str(folder))
    assert (folder / "configs/metadata.json").is_file()
    status, said = models(capsys, "import", folder, "--out", tmp_path / "bundles")
    assert (status, said["name"]) == (0, "lung-nodules")
    assert models(capsys, "verify", said["path"])[1]["verified"] is True
    status, said = models(capsys, "export", shipped.hash, "--out", folder)
    assert (status, said["error"]["code"]) == (3, "exists")


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": NaN}'])
def test_arguments_that_are_no_object_are_wrong_usage(
    capsys: pytest.CaptureFixture[str], weights: Path, text: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["models", "import", str(weights), "--arguments", text])
    assert caught.value.code == 2
    assert "JSON" in capsys.readouterr().err


@pytest.fixture
def detectors(tmp_path: Path) -> list[Bundle]:
    """Two detectors of one kind and a classifier."""
    import torch

    from napari_medlab.models.bundles import write_bundle
    from napari_medlab.models.networks import build_network

    made = []
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("one", "centre-heatmap", {"channels": [2, 2, 2]}),
        ("two", "centre-heatmap", {"channels": [2, 2, 2]}),
        ("judge", "cube-classifier", {"sides": [8], "channels": [2, 2], "hidden": 2}),
    ]
    for seed, (name, network, arguments) in enumerate(kinds):
        torch.manual_seed(seed)
        spec = {
            "name": name, "task": "classification" if name == "judge" else "detection", "classes": ["nodule"],
            "network": {"name": network, "arguments": arguments}, "postprocessing": {},
            "preprocessing": {"spacing_mm": 1.5, "window": [-1000, 400]},
        }  # fmt: skip
        made.append(write_bundle(tmp_path / "made", spec, build_network(network, arguments).state_dict()))
    return made


def test_models_are_joined_attached_and_known_to_the_project(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, project: Path, detectors: list[Bundle]
) -> None:
    one, two, judge = (bundle.folder for bundle in detectors)
    status, joined = models(capsys, "join", one, two, "--weights", "3,1", "--out", tmp_path / "out")
    assert (status, joined["join"], joined["weights"]) == (0, "maps", [0.75, 0.25])
    status, said = models(capsys, "attach", joined["path"], judge, "--weight", "0.3", "--project", project)
    assert (status, said["fusion"]) == (0, {"rule": "geometric mean", "weight": 0.3})
    assert models(capsys, "verify", said["hash"], "--project", project)[1]["verified"] is True
    with Project.open(project, read_only=True) as opened:
        assert [record.hash for record in opened.bundles()] == [said["hash"]]
    status, said = models(capsys, "join", one, judge, "--equal", "--out", tmp_path / "out")
    assert (status, said["error"]["code"]) == (3, "not-alike")
    status, said = models(capsys, "join", one, two, "--equal")
    assert (status, said["error"]["code"]) == (3, "no-project")


def test_searched_weights_go_into_the_ensemble_with_their_cases(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, project: Path, detectors: list[Bundle]
) -> None:
    from napari_medlab.annotations import Candidate, Finding, new_id
    from napari_medlab.project.edits import add_candidates, add_case, add_findings, add_run, finish_case
    from napari_medlab.project.records import CaseRecord

    one, two, judge = detectors
    runs = {new_id(): (one, 0.9), new_id(): (two, 0.2)}
    with Project.open(project) as opened:
        for run_id, (bundle, _) in runs.items():
            opened.commit(add_run(run_id, bundle.hash, {}))
        for number in range(3):
            case = CaseRecord(new_id(), f"{number}.mha", f"case {number}", frozen=number == 2)
            opened.commit(add_case(case))
            opened.commit(add_findings([Finding(case.case_id, (0.0, 0.0, 0.0), 8.0)]))
            for run_id, (_, score) in runs.items():
                found = [
                    Candidate(case.case_id, (0.0, 0.0, 0.0), score, 8.0),
                    Candidate(case.case_id, (40.0, 0.0, 0.0), 1 - score, 8.0),
                ]
                opened.commit(add_candidates(run_id, case.case_id, 0, found))
                opened.commit(finish_case(run_id, case.case_id, 0.1))
    words = ("tune", project, "--runs", ",".join(runs), "--cases", "case 0", "case 1")
    file = tmp_path / "tuned.json"
    status, said = models(capsys, *words, "--out", file)
    assert (status, said["cpm"], len(said["cases"])) == (0, 1.0, 2)
    assert json.loads(file.read_text()) == said
    assert models(capsys, *words, "--out", file)[1]["error"]["code"] == "exists"
    status, refused = models(capsys, "tune", project, "--runs", ",".join(runs), "--cases", "case 2")
    assert (status, refused["error"]["code"]) == (3, "test-cases")

    # the weights follow their models, whatever the order in which these are named
    status, joined = models(
        capsys, "join", two.folder, one.folder, "--weights", file, "--out", tmp_path / "out"
    )
    assert (status, joined["weights"]) == (0, said["weights"][::-1])
    spec = models(capsys, "show", joined["path"])[1]["bundle"]
    assert spec["training"]["joined_from"]["searched"]["cases_sha256"] == said["cases_sha256"]
    status, refused = models(capsys, "attach", one.folder, judge.folder, "--weight", file, "--out", tmp_path)
    assert (status, refused["error"]["code"]) == (3, "weights")
