"""The shipped models on phantoms that no training has seen, on those of other generators' parameters, and on real samples.

Run as ``python benchmarks/models.py [--work DIR] [--share 0.2]``; the phantoms are made in the work folder and found there
again. Other seeds than those of the model cards are taken, so that figures that were chosen would show: a CPM must not lie
below its card's interval of 95 %, patients resampled, and Dice not a hundredth below its card's. The real samples,
where ``MEDLAB_TEST_DATA`` names a folder of them, are few: they show whether a model
made of phantoms has any idea of reality, and measure nothing.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from figures import Figure, Goal
from measuring import Record, arguments, recording

from napari_medlab.geometry import Grid
from napari_medlab.models.bundles import find_bundle, load_classifier
from napari_medlab.models.classification.classifier import CubeSettings, judge, look_of
from napari_medlab.models.zoo import train_glomeruli
from napari_medlab.models.zoo.raw_cases import raw_cases
from napari_medlab.models.zoo.workshop import detected, figures_of, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.zoo.raw_cases import RawCase, SetName

AREA = "Shipped models, on phantoms never seen"
CASES = {"chest": 60, "mammogram": 25, "slide": 4}
FIRST_SEED = 40_000
SITES = ("reference", "second")
QUICK_SHARE = 0.02
DICE_SLACK = 0.01


def main() -> None:
    """Measure every shipped model."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--work", type=Path, help="where phantoms are kept; a folder that goes away again by default"
    )
    parser.add_argument("--share", type=float, help="of the cases, for a quick look")
    options = parser.parse_args()
    share = options.share or (QUICK_SHARE if options.quick else 1.0)
    with TemporaryDirectory() as passing, recording(__file__, options) as record:
        work = options.work or Path(passing)
        _nodules(record, work, share)
        _mammograms(record, work, share)
        _glomeruli(record, work, share)


def _cases(work: Path, kind: str, share: float) -> Iterator[tuple[str, list[RawCase]]]:
    seeds = range(FIRST_SEED, FIRST_SEED + shortened(CASES[kind], share))
    for site in SITES:
        name: SetName = f"{kind}-{site}"  # type: ignore[assignment]
        yield site, raw_cases(work / "raw", name, seeds)


def _nodules(record: Record, work: Path, share: float) -> None:
    bundle = find_bundle("lung-nodules")
    print(f"\n{bundle.title}: CPM under LUNA16's rules")
    for site, cases in _cases(work, "chest", share):
        figures = figures_of(*detected(bundle, cases), cases)
        _tell_cpm(record, bundle, f"{site} site, detector and classifier", figures)
    data = os.environ.get("MEDLAB_TEST_DATA")
    if data is not None:
        _real_crops(Path(data) / "luna16")


def _real_crops(folder: Path) -> None:
    """Print what the classifier says of real crops, whose voxel size is not given and taken as usual in LUNA16."""
    bundle = find_bundle("lung-nodules")
    network, settings = load_classifier(bundle), CubeSettings.from_json(bundle.spec["classifier"])
    if network is None:
        raise RuntimeError("the bundle has no classifier")
    print("  real crops of LUNA16 (six; no measure): probability of a nodule by the classifier alone")
    for row in csv.DictReader((folder / "crops.csv").open()):
        with np.load(folder / row["file_path"]) as stored:
            volume = stored["ct_chunk"]
        grid = Grid.axis_aligned(volume.shape, (1.25, 0.7, 0.7))
        middle = grid.to_world((np.asarray(volume.shape) - 1) / 2)
        probability = judge(look_of(network), (volume, grid), [middle], settings)[0]
        kind = ("benign nodule", "malignant nodule", "no nodule")[int(row["class"])]
        print(f"    {kind:17} {float(row['diameter_mm']):5.1f} mm   {probability:.3f}")


def _mammograms(record: Record, work: Path, share: float) -> None:
    bundle = find_bundle("mammography")
    print(f"\n{bundle.title}: mean sensitivity at 1/8 to 8 false positives a view")
    for site, cases in _cases(work, "mammogram", share):
        findings, candidates = detected(bundle, cases)
        for label in ("mass", "calcification"):
            plural = "masses" if label == "mass" else "calcifications"
            _tell_cpm(
                record, bundle, f"{site} site, {plural}", figures_of(findings, candidates, cases, label)
            )
    print("  real mammograms: none that may be passed on was to be had")


def _glomeruli(record: Record, work: Path, share: float) -> None:
    bundle = find_bundle("glomeruli")
    print(f"\n{bundle.title}: Dice over all pixels")
    for site, cases in _cases(work, "slide", share):
        figures = train_glomeruli.figures(work, bundle, cases)
        _print_overlap(f"{site} site", figures)
        card = bundle.spec["figures"][f"{site} site"]["Dice"]
        goal = Goal(round(card - DICE_SLACK, 3), at="least")
        how = f"{site} site, {figures['cases']} slides"
        record.add(Figure(AREA, f"{bundle.name}: Dice", figures["Dice"], "", goal, "its card", card, how=how))
    data = os.environ.get("MEDLAB_TEST_DATA")
    if data is not None:
        seen, unseen = train_glomeruli.real_tiles(Path(data) / "glomeruli")
        _print_overlap(f"real tiles of slide {unseen[0].group}, not trained on (few; no measure)",
                       train_glomeruli.figures(work, bundle, unseen))  # fmt: skip
        _print_overlap(
            f"real tiles of slide {seen[0].group}, trained on", train_glomeruli.figures(work, bundle, seen)
        )


def _tell_cpm(record: Record, bundle: Bundle, title: str, figures: dict[str, Any]) -> None:
    """Print the curve's points, and record its mean beside the figure of the card, which names it by the same title."""
    if figures["cpm_interval"] is None:
        record.note(f"{bundle.name}, {title}: too few findings for a figure")
        return
    low, high = figures["cpm_interval"]
    points = "  ".join(f"{point}: {value:.2f}" for point, value in figures["sensitivity"].items())
    print(f"  {title:42} {figures['cpm']:.3f} [{low:.3f}, {high:.3f}]  of {figures['findings']}   {points}")
    card = bundle.spec["figures"][title]
    how = f"{title}; {figures['findings']} findings, 95 % interval {low:.3f} to {high:.3f}"
    goal = Goal(card["cpm_interval"][0], at="least")
    record.add(
        Figure(AREA, f"{bundle.name}: CPM", figures["cpm"], "", goal, "its card", card["cpm"], how=how)
    )


def _print_overlap(title: str, figures: dict[str, Any]) -> None:
    print(f"  {title}: {figures['Dice']:.3f}, worst case {figures['Dice of the worst case']}; "
          f"{figures['objects']} objects, {figures['proposed']} proposed, "
          f"{figures['proposed where none is']} of them where none is")  # fmt: skip


if __name__ == "__main__":
    main()
