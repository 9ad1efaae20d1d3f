"""What is read of packages of hard examples, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from example_packages import small_bundle, small_samples, write_package

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.training.examples import FineTuningOptions, Learnt, gathered, sources_of
from napari_medlab.models.training.packages import read_manifest
from napari_medlab.models.training.parts import BundlePart, PartName
from napari_medlab.models.training.samples import write_sample

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.bundles import Bundle

KINDS: list[tuple[str, PartName]] = [
    ("scans", "network"), ("scans", "classifier"), ("mammograms", "network"), ("slides", "network"), ("cubes", "network"),
]  # fmt: skip


def learnt(folders: list[Path], parent: Bundle, options: FineTuningOptions | None = None) -> Learnt:
    return gathered(sources_of(folders, options or FineTuningOptions()), parent)


def refusal(
    folders: list[Path], parent: Bundle, options: FineTuningOptions | None = None
) -> InputRefusedError:
    with pytest.raises(InputRefusedError) as caught:
        learnt(folders, parent, options)
    return caught.value


@pytest.mark.parametrize(("kind", "part"), KINDS)
def test_packages_of_every_task_are_read(kind: str, part: PartName, tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path, kind)
    folder = write_package(tmp_path / "package", bundle, part=part, validation=2)
    found = learnt([folder], bundle)
    samples = small_samples(BundlePart(bundle, part))
    assert (found.part.name, len(found.store), len(found.held_out)) == (part, 4, 2)
    assert [about.group for about in found.store.abouts] == [sample.group for sample in samples[:4]]
    for row, sample in enumerate(samples[:4]):
        read = found.store[row]
        assert np.array_equal(read.image, sample.image)
        assert np.array_equal(read.boxes, sample.boxes)
        assert read.label == sample.label
        assert (read.mask is None) == (sample.mask is None)
    assert found.packages == [read_manifest(folder).sha256]


def test_rounds_are_read_together_with_their_weights_in_any_order(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path, "cubes")
    part = BundlePart(bundle)
    folders = [write_package(tmp_path / str(k), bundle, small_samples(part, 3, seed=k)) for k in (1, 2)]
    one = learnt(folders, bundle, FineTuningOptions(weights=(1.0, 3.0)))
    other = learnt(folders[::-1], bundle, FineTuningOptions(weights=(3.0, 1.0)))
    assert sorted(about.weight for about in one.store.abouts) == [1, 1, 1, 3, 3, 3]
    assert one.store.abouts == other.store.abouts
    assert [np.array_equal(one.store[row].image, other.store[row].image) for row in range(6)] == [True] * 6


def test_what_is_replayed_is_told_by_its_reason_and_its_folder(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path, "cubes")
    folder = write_package(tmp_path / "package", bundle, reasons=["replay", *["false positive"] * 5])
    before = tmp_path / "before"
    before.mkdir()
    for number, sample in enumerate(small_samples(BundlePart(bundle), 3, seed=7)):
        write_sample(before / f"{number}.npz", sample)
    older = write_package(tmp_path / "older", bundle, small_samples(BundlePart(bundle), 2, seed=8))
    found = learnt([folder], bundle, FineTuningOptions(replay=(before, older)))
    assert (len(found.store), int(found.is_replay.sum())) == (11, 6)
    assert [source.is_replay for source in found.sources] == [False, True, True]
    assert read_manifest(folder).counts == {"false positive": 5, "replay": 1}


def test_a_package_is_for_the_models_that_see_images_so(tmp_path: Path) -> None:
    scans, slides, cubes = (small_bundle(tmp_path, kind) for kind in ("scans", "slides", "cubes"))
    detector = write_package(tmp_path / "detector", scans)
    classifier = write_package(tmp_path / "classifier", scans, part="classifier")
    assert refusal([detector], slides).code == "task"
    assert refusal([classifier], slides).code == "part"
    assert refusal([detector, classifier], scans).code == "part"
    assert refusal([detector], cubes).code == "task"
    coarse = write_package(
        tmp_path / "coarse", scans, preprocessing={"spacing_mm": 2.0, "window": [-1000, 400]}
    )
    told = refusal([coarse], scans)
    assert told.code == "preprocessing"
    assert "spacing_mm 2.0" in told.message
    assert "xport the hard examples again for this model" in str(told)
    assert refusal([write_package(tmp_path / "classes", scans, classes=["mass"])], scans).code == "classes"


def test_packages_of_earlier_versions_are_refused_with_what_to_do(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path, "scans")
    folder = write_package(tmp_path / "package", bundle, schema=1)
    told = refusal([folder], bundle)
    assert told.code == "old-package"
    assert "Export the hard examples again" in told.hint


@pytest.mark.parametrize(
    "change",
    [
        {"examples": []}, {"examples": "all"}, {"examples": [7]}, {"part": "soul"}, {"task": None},
        {"examples": [{"file": "../secret.npz", "sha256": "0"}]}, {"examples": [{"file": "examples/1.npz"}]},
        {"format": "samples"},
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path, "cubes")
    folder = write_package(tmp_path / "package", bundle)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | change))
    assert refusal([folder], bundle).code == "manifest"


@pytest.mark.parametrize("text", ["", "[", '{"schema": 2, "schema": 2}', "[1]", '{"schema": NaN}'])
def test_a_manifest_that_is_no_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputRefusedError) as caught:
        read_manifest(tmp_path)
    assert caught.value.code == "manifest"


def test_a_folder_without_a_manifest_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError) as caught:
        read_manifest(tmp_path)
    assert caught.value.code == "no-package"


def test_examples_that_were_changed_or_lost_are_refused(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path, "cubes")
    folder = write_package(tmp_path / "package", bundle)
    example = folder / "examples" / "00002.npz"
    example.write_bytes(example.read_bytes()[:-1] + b"?")
    assert refusal([folder], bundle).code == "hash"
    example.unlink()
    assert refusal([folder], bundle).code == "hash"


def test_samples_that_do_not_fit_the_network_are_refused(tmp_path: Path) -> None:
    cubes, slides = small_bundle(tmp_path, "cubes"), small_bundle(tmp_path, "slides")
    flat = write_package(tmp_path / "flat", cubes, small_samples(BundlePart(slides)))
    assert refusal([flat], cubes).code == "sample"
    cut = [replace(one, image=one.image[:, :6]) for one in small_samples(BundlePart(cubes))]
    assert (
        "smaller than the cube of 8" in refusal([write_package(tmp_path / "cut", cubes, cut)], cubes).message
    )


def test_examples_of_nothing_are_refused_unless_others_hold_something(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path, "slides")
    samples = small_samples(BundlePart(bundle))
    empty = [one for one in samples if not (one.mask is not None and one.mask.any())]
    nothing, something = (
        write_package(tmp_path / "no", bundle, empty),
        write_package(tmp_path / "yes", bundle),
    )
    assert empty
    assert refusal([nothing], bundle).code == "no-lesions"
    assert "(glomerulus)" in refusal([nothing], bundle).message
    assert len(learnt([nothing, something], bundle).store) == len(empty) + len(samples)


def test_all_held_out_leaves_nothing_to_learn_from(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path, "cubes")
    assert refusal([write_package(tmp_path / "package", bundle, validation=6)], bundle).code == "no-samples"


def test_a_package_counts_once(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path, "cubes")
    folder = write_package(tmp_path / "package", bundle)
    assert refusal([folder, folder], bundle).code == "twice"
    assert refusal([folder], bundle, FineTuningOptions(replay=(folder,))).code == "twice"


@pytest.mark.parametrize(
    "options", [{"weights": (0.0,)}, {"weights": (float("nan"),)}, {"replay_share": 1.5}, {"average": 1.0}]
)
def test_options_have_limits(options: dict[str, object]) -> None:
    with pytest.raises(InputRefusedError) as caught:
        FineTuningOptions(**options)  # type: ignore[arg-type]
    assert caught.value.code == "option"


def test_every_package_has_a_weight(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path, "cubes")
    folder = write_package(tmp_path / "package", bundle)
    assert refusal([folder], bundle, FineTuningOptions(weights=(1.0, 2.0))).code == "option"
