"""Models of other packages: found without running them, run once they are allowed, and only as they were then."""

from __future__ import annotations

import json
import os
import py_compile
import sys
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from strangers import SPOTS, Stranger

from napari_medlab.annotations import Candidate
from napari_medlab.conformance import Trial
from napari_medlab.durable import state_folder
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs import CancelToken
from napari_medlab.models.bundles import (
    card_of,
    export_monai,
    find_bundle,
    load_network,
    plugin_bundles,
    read_bundle,
    write_bundle,
)
from napari_medlab.models.plugins import own_model
from napari_medlab.models.plugins.discovery import plugins
from napari_medlab.models.plugins.permission import allow, check_allowed, disallow, is_allowed
from napari_medlab.models.predicting import open_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.images import Image


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stranger]:
    monkeypatch.setenv("MEDLAB_STATE_DIR", str(tmp_path / "state"))
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    finders, modules = list(sys.meta_path), set(sys.modules)
    yield Stranger(site)
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] in ("strange", "beside"):
            del sys.modules[name]


def image() -> Image:
    """Return a volume with one bright voxel."""
    pixels = np.zeros((10, 20, 30), np.int16)
    pixels[4, 7, 21] = 1000
    return Trial.of_array(pixels, (2.0, 1.0, 0.5), [(4, 7, 21)], size=4.0).image


def detected(model: Any, **rest: Any) -> list[Candidate]:  # noqa: ANN401 - any model
    return [one for batch in model.detect(image(), "case", CancelToken(), **rest) for one in batch]


def refused(code: str) -> Any:  # noqa: ANN401 - pytest's own
    return pytest.raises(InputRefusedError, check=lambda error: error.code == code)


def opened(stranger: Stranger, **rest: Any) -> Any:  # noqa: ANN401 - as open_model takes and returns them
    bundle = find_bundle(stranger.name)
    allow(bundle)
    return open_model(bundle, **rest)


def test_a_model_is_found_and_described_without_running_any_of_it(stranger: Stranger) -> None:
    (bundle,) = [one for one in plugin_bundles() if one.name == stranger.name]
    assert (bundle.task, bundle.classes, bundle.preprocessing.kinds) == ("detection", ("spot",), ("volume",))
    assert bundle.code == {"package": "strange", "version": "1.0", "call": "strange:detect"}
    assert bundle.folder == stranger.folder
    assert (
        find_bundle(bundle.hash[:10]) == find_bundle(stranger.name) == read_bundle(stranger.folder) == bundle
    )
    assert "strange:detect" in card_of(bundle.spec)
    assert not stranger.marker.exists()
    assert "strange" not in sys.modules


def test_it_is_refused_until_it_was_allowed_and_then_finds(stranger: Stranger) -> None:
    bundle = find_bundle(stranger.name)
    with refused("not-allowed") as caught:
        open_model(bundle)
    assert f"napari-medlab models allow {bundle.hash[:12]}" in caught.value.hint
    assert str(stranger.folder) in caught.value.message
    assert not stranger.marker.exists()

    allow(bundle)
    (found,) = detected(open_model(bundle))
    assert stranger.marker.exists()
    assert found.centre == pytest.approx((10.5, 7.0, 8.0))  # world is x, y, z
    assert (found.label, found.score, found.case_id) == ("spot", 0.75, "case")


@pytest.mark.parametrize("what", ["__init__.py", "bundle.json", "weights.bin", "inner/more.py"])
def test_code_that_changed_is_refused_again_and_says_so(stranger: Stranger, what: str) -> None:
    allow(find_bundle(stranger.name))
    path = stranger.folder / what
    path.parent.mkdir(exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + "\n")
    with refused("not-allowed") as caught:
        open_model(find_bundle(stranger.name))
    assert "has changed since it was allowed on 20" in caught.value.message
    assert not stranger.marker.exists()


def test_what_lies_beside_the_package_in_the_same_distribution_counts(stranger: Stranger) -> None:
    before = find_bundle(stranger.name).hash
    (stranger.info / "RECORD").write_text(
        "strange/__init__.py,,\nbeside/__init__.py,,\nbeside.py,,\n../bin/tool.py,,\n"
    )
    beside = stranger.site / "beside"
    beside.mkdir()
    (beside / "__init__.py").write_text("")
    with_it = find_bundle(stranger.name).hash
    (beside / "__init__.py").write_text("changed = True")
    assert len({before, with_it, find_bundle(stranger.name).hash}) == 3


def test_an_editable_install_is_held_to_the_source(
    stranger: Stranger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    stranger.folder.rename(source / "strange")
    (stranger.info / "RECORD").write_text(
        "__editable__.strange-1.0.pth,,\n__editable___strange_finder.py,,\n"
    )
    monkeypatch.syspath_prepend(source)  # what the .pth file does
    bundle = find_bundle(stranger.name)
    assert bundle.folder == source / "strange"
    allow(bundle)
    (source / "strange" / "__init__.py").write_text(SPOTS)
    assert not is_allowed(find_bundle(stranger.name))


def test_bytecode_is_never_run_in_place_of_the_source(stranger: Stranger, tmp_path: Path) -> None:
    evil = tmp_path / "evil.py"
    evil.write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'evil ran')!r}).write_text('')\n" + SPOTS
    )
    cached = Path(cache_from_source(stranger.folder / "__init__.py"))
    py_compile.compile(
        str(evil), str(cached), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    assert len(detected(opened(stranger))) == 1
    assert not (tmp_path / "evil ran").exists()
    assert stranger.marker.exists()


def test_a_module_that_was_not_there_when_the_code_was_looked_at_is_not_imported(stranger: Stranger) -> None:
    stranger.code("def detect(tile):\n    from strange import later\n    return later.detect(tile)\n")
    model = opened(stranger)
    (stranger.folder / "later.py").write_text(SPOTS)
    with pytest.raises(InputRefusedError, match="changed or removed"):
        detected(model)
    with refused("code"):  # and the importer does not take it, either
        model.model._looks[0].submit(np.zeros((1, 1, 4, 4, 4), np.float32))


def test_code_that_changes_while_it_is_at_work_is_noticed_before_the_next_image(stranger: Stranger) -> None:
    model = opened(stranger)
    detected(model)
    stranger.code(SPOTS.replace("0.75", "0.25"))
    os.utime(stranger.folder / "__init__.py", ns=(1, 1))
    with refused("code"):
        detected(model)
    (found,) = detected(opened(stranger))
    assert found.score == 0.25


def test_permission_is_taken_back_and_lies_in_a_file_of_ones_own(stranger: Stranger) -> None:
    bundle = find_bundle(stranger.name)
    allow(bundle)
    check_allowed(bundle)
    path = state_folder() / "allowed_models.json"
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
    assert list(json.loads(path.read_text())["allowed"]) == [bundle.hash]
    disallow(bundle)
    with refused("not-allowed"):
        check_allowed(bundle)


@pytest.mark.skipif(os.name != "posix", reason="rights as POSIX has them")
def test_permissions_that_others_could_have_written_are_none(stranger: Stranger) -> None:
    bundle = find_bundle(stranger.name)
    allow(bundle)
    path = state_folder() / "allowed_models.json"
    path.chmod(0o666)
    with refused("permissions"):
        open_model(bundle)
    path.chmod(0o600)
    path.write_text("[]")
    with refused("permissions"):
        open_model(bundle)
    assert not stranger.marker.exists()


def test_what_is_data_needs_no_permission_and_can_have_none() -> None:
    bundle = find_bundle("lung-nodules")
    assert is_allowed(bundle)
    with refused("not-code"):
        allow(bundle)


def test_a_name_that_ships_is_not_taken_over(stranger: Stranger) -> None:
    stranger.name = "lung-nodules"
    stranger.offer("strange:detect")
    with pytest.raises(InputRefusedError, match="2 models are called 'lung-nodules'"):
        find_bundle("lung-nodules")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task": "magic"}, "its task 'magic' is none of"),
        ({"classes": []}, "it names 0 classes"),
        ({"preprocessing": {"kind": "film"}}, "preprocessing is not usable"),
        ({"schema": 9}, "newer version"),
        ({"network": {"name": "code", "arguments": {}}}, "it lacks name, postprocessing, weights_sha256"),
    ],
)
def test_a_description_that_cannot_be_used_says_why(
    stranger: Stranger, changes: dict[str, Any], reason: str
) -> None:
    stranger.about(**changes)
    with refused("bundle") as caught:
        find_bundle(stranger.name)
    assert reason in caught.value.message


def test_a_folder_that_no_installed_package_offers_is_no_model(stranger: Stranger, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "bundle.json").write_bytes((stranger.folder / "bundle.json").read_bytes())
    with pytest.raises(InputRefusedError, match="no installed package offers a model from this folder"):
        read_bundle(copy)


def test_a_bundle_of_data_cannot_pass_for_code(stranger: Stranger, tmp_path: Path) -> None:
    spec = {key: value for key, value in find_bundle(stranger.name).spec.items() if key != "weights_sha256"}
    copy = write_bundle(tmp_path, spec, {})
    with pytest.raises(InputRefusedError, match="no network is called 'code'"):
        read_bundle(copy.folder)
    with refused("not-allowed"):
        open_model(copy)


@pytest.mark.parametrize("value", ["nowhere:detect", "math:sin", "this:s", "strange.nothing:detect", "..:x"])
def test_entry_points_that_lead_nowhere_are_passed_over(stranger: Stranger, value: str) -> None:
    stranger.offer(value)
    assert [one.name for one in plugins() if one.name == stranger.name] == []


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import there_is_no_such_module", "ModuleNotFoundError"),
        ("other = 1", "AttributeError"),
        ("detect = 7", "names a int"),
    ],
)
def test_code_that_cannot_be_loaded_is_a_refusal(stranger: Stranger, code: str, told: str) -> None:
    stranger.code(code)
    with refused("code") as caught:
        opened(stranger)
    assert told in caught.value.message


def test_what_it_cannot_be_told_of_is_refused(stranger: Stranger) -> None:
    for asked, code in (({"device": "cuda:1"}, "device"), ({"precision": "float16"}, "precision")):
        with refused(code):
            opened(stranger, **asked)


def test_a_class_is_made_once_and_told_of_the_device(stranger: Stranger) -> None:
    stranger.code(
        SPOTS.replace("def detect(tile):", "def find(tile):")
        + """
class Model:
    made = 0
    def __init__(self, device="auto"):
        Model.made += 1
        self.device = device
    def __call__(self, tile):
        assert (Model.made, self.device) == (1, "cuda:1")
        return find(tile)
"""
    )
    stranger.offer("strange:Model")
    model = opened(stranger, device="cuda:1")
    assert model.choice.devices == ("cuda:1",)
    assert len(detected(model)) == len(detected(model)) == 1


def test_a_detector_of_the_protocol_is_taken_as_it_is(stranger: Stranger) -> None:
    stranger.code("""
from napari_medlab.annotations import Candidate
from napari_medlab.protocols import Batch

class Model:
    def detect(self, image, case_id, cancel, *, focus=None, on_progress=None):
        for score in (0.9, 0.2):
            yield Batch([Candidate(case_id, (1.0, 2.0, 3.0), score, 4.0, "spot")])
""")
    stranger.offer("strange:Model")
    model = opened(stranger)
    assert model.rule is None
    assert [one.score for one in detected(model)] == [0.9, 0.2]
    assert [one.score for one in detected(opened(stranger, threshold=0.5))] == [0.9]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ("(1, 2, 3)", "Found"),
        ("Found((1, 2), 4.0, 0.5)", "a finite centre of 3 numbers"),
        ("Found((1, 2, np.nan), 4.0, 0.5)", "a finite centre of 3 numbers"),
        ("Found((1, 2, 3), 0.0, 0.5)", "a size above 0"),
        ("Found((1, 2, 3), 4.0, 1.5)", "a number from 0 to 1"),
        ("Found((1, 2, 3), 4.0, 0.5, 'cube')", "one of spot"),
    ],
)
def test_what_cannot_be_used_is_an_error_and_no_result(stranger: Stranger, found: str, told: str) -> None:
    stranger.code(SPOTS.replace("Found(index, 4.0, 0.75)", found))
    model = opened(stranger)
    with pytest.raises(MedlabError) as caught:
        detected(model)
    assert (caught.value.code, told in caught.value.message) == ("model-output", True)


def test_a_segmenter_that_is_a_function_fills_a_mask(stranger: Stranger, tmp_path: Path) -> None:
    stranger.code("def detect(tile):\n    return (tile[0] > 0.5).astype('float32')\n")
    stranger.about(task="segmentation", postprocessing={"threshold": 0.5})
    model = opened(stranger)
    *_, batch = model.segment(image(), "case", tmp_path / "mask", CancelToken())
    assert [one.centre for one in batch] == [pytest.approx((10.5, 7.0, 8.0))]

    stranger.code("def detect(tile):\n    return tile[0, :2]\n")
    model = opened(stranger)
    with pytest.raises(MedlabError, match="gave an array of"):
        list(model.segment(image(), "case", tmp_path / "other", CancelToken()))


def test_a_classifier_that_is_a_function_sees_the_candidate_in_the_middle(stranger: Stranger) -> None:
    stranger.code("def detect(cubes):\n    return cubes[:, 0, 2, 1, 3]\n")
    stranger.about(task="classification", tiling={"core": [5, 3, 7]})
    model = opened(stranger)
    there, elsewhere = (Candidate("case", place, 0.5, 4.0) for place in ((10.5, 7.0, 8.0), (0.0, 0.0, 0.0)))
    assert model.judge(image(), [elsewhere, there] * 40, CancelToken()) == [0.0, 1.0] * 40
    stranger.code("def detect(cubes):\n    return [0.5]\n")
    with pytest.raises(MedlabError, match="for 2 cubes"):
        opened(stranger).judge(image(), [there, there], CancelToken())
    stranger.about(task="classification", tiling={})
    with refused("classifier"):
        opened(stranger)


def test_what_needs_a_network_says_that_there_is_none(stranger: Stranger, tmp_path: Path) -> None:
    bundle = find_bundle(stranger.name)
    for use in (load_network, lambda each: export_monai(each, tmp_path / "monai")):
        with refused("is-code") as caught:
            use(bundle)
        assert "code of the package strange" in caught.value.message


def test_ones_own_model_opens_for_ones_own_tests(stranger: Stranger) -> None:
    assert len(detected(own_model(stranger.name))) == 1
    with refused("unknown-model"):
        own_model("nobody's")
