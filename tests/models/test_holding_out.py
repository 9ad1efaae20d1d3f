"""What is held out of a training, and what is refused because it leaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.training.holding_out import HoldOut
from napari_medlab.models.training.sample_folders import find_samples
from napari_medlab.models.training.samples import Sample, read_sample, write_sample

if TYPE_CHECKING:
    from pathlib import Path


def frames(folder: Path, **counts: int) -> list[Path]:
    """Write sequences of frames named by their numbers, so that 10 comes before 2 by name."""
    folder.mkdir(exist_ok=True)
    for sequence, count in counts.items():
        for number in range(count):
            image = np.full((1, 2, 2), number + len(sequence) / 100, np.float32)
            group = "" if sequence == "unnamed" else sequence
            write_sample(
                folder / f"{sequence} {number}.npz",
                Sample.without_boxes(image, label=number % 2, group=group),
            )
    return find_samples([folder]).paths


def names(files: list[Path], rows: np.ndarray) -> set[str]:
    return {files[row].stem for row in rows}


def test_folds_count_from_one_keep_groups_together_and_cover_everything(tmp_path: Path) -> None:
    files = frames(tmp_path / "a", ab=2, abc=2, abcd=2, abcde=2)
    splits = [HoldOut(fold=(number, 3)).split(files) for number in (1, 2, 3)]
    held = [names(files, split.held_out) for split in splits]
    assert set().union(*held) == {path.stem for path in files}
    assert sum(map(len, held)) == 8
    for split, out in zip(splits, held, strict=True):
        assert {name.split()[0] for name in out}.isdisjoint(
            name.split()[0] for name in names(files, split.training)
        )
    with pytest.raises(InputRefusedError):
        HoldOut(fold=(0, 3))


def test_every_nth_frame_is_held_out_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    files = frames(tmp_path / "a", dive=20, wreck=10)
    split = HoldOut.parse("interval:0.2").split(files)
    of_dive = sorted(int(name.split()[1]) for name in names(files, split.held_out) if name.startswith("dive"))
    assert np.diff(of_dive).tolist() == [5, 5, 5]
    assert len(split.held_out) == 6
    assert len(split.training) == 24
    with_gap = HoldOut.parse("interval:0.2:1").split(files)
    assert names(files, with_gap.held_out) == names(files, split.held_out)
    assert len(with_gap.training) == 24 - 12


def test_intervals_need_sequences(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError) as caught:
        HoldOut(interval=0.2).split(frames(tmp_path / "a", **{"p" * n: 1 for n in (1, 2, 3)}))
    assert caught.value.code == "folds"
    assert "sequences of many frames" in caught.value.hint
    with pytest.raises(InputRefusedError) as caught:
        HoldOut(interval=0.2).split(frames(tmp_path / "b", unnamed=8))
    assert caught.value.code == "no-group"


@pytest.mark.parametrize("what", ["interval:0.3", "fold:1/2"])
def test_an_image_on_both_sides_is_refused_under_any_name(tmp_path: Path, what: str) -> None:
    paths = frames(tmp_path / "a", dive=10, wreck=10)
    HoldOut.parse(what).split(paths)
    for number in range(10):
        image = read_sample(tmp_path / "a" / f"dive {(number + 1) % 10}.npz").image
        write_sample(
            tmp_path / "a" / f"again {number}.npz",
            Sample.without_boxes(image, label=number % 2, group="wreck"),
        )
    with pytest.raises(InputRefusedError) as caught:
        HoldOut.parse(what).split(find_samples([tmp_path / "a"]).paths)
    assert caught.value.code == "leak"
    assert "again " in caught.value.message


@pytest.mark.parametrize("text", ["fold:1/5", "interval:0.15", "interval:0.2:3"])
def test_what_is_held_out_comes_back_from_its_words(text: str) -> None:
    assert str(HoldOut.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fold:0/5",
        "fold:6/5",
        "fold:1/1",
        "interval:0",
        "interval:1",
        "interval:1.5",
        "interval",
        "fold:a/b",
    ],
)
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InputRefusedError) as caught:
        HoldOut.parse(text)
    assert caught.value.code == "hold-out"
