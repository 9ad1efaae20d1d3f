"""Mammograms with known masses and calcifications: four views of a patient, procedural and seeded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_medlab.annotations import Finding
from napari_medlab.geometry import Grid
from napari_medlab.phantoms.breast import HEIGHT_MM, Breast, Outline, View, draw_breasts, outline_of
from napari_medlab.phantoms.breast_lesions import Canvas, Lesion, paint_lesion, place_lesions
from napari_medlab.phantoms.parenchyma import paint_tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "REFERENCE_MAMMOGRAPHY",
    "SECOND_MAMMOGRAPHY",
    "THIRD_MAMMOGRAPHY",
    "MammogramExam",
    "MammogramView",
    "MammographySite",
    "mammogram_exam",
]

Laterality = Literal["R", "L"]
VIEWS: tuple[View, View] = ("CC", "MLO")
WHITE = 4095


@dataclass(frozen=True)
class MammographySite:
    """How one hospital images breasts, and what it sees: the ranges that exams are drawn from.

    Parameters
    ----------
    density : (low, high)
        From 0 (fatty) to 1 (extremely dense).
    noise : (low, high)
        Deviation of the noise, in grey values.
    blur_px : (low, high)
        Width (sigma) of the detector's blur.
    gain : (low, high)
        What all grey values are multiplied with.
    gamma : (low, high)
        The power of the display curve, 1 being straight: below it dark tissue is shown bright, and contrast there is lost.
    healthy : float
        The share of exams without a finding.
    most_lesions : int
        An exam that is not healthy holds 1 to this many lesions.
    """

    density: tuple[float, float] = (0.1, 0.9)
    noise: tuple[float, float] = (14.0, 26.0)
    blur_px: tuple[float, float] = (0.4, 0.6)
    gain: tuple[float, float] = (0.95, 1.1)
    gamma: tuple[float, float] = (1.0, 1.0)
    healthy: float = 0.3
    most_lesions: int = 3


REFERENCE_MAMMOGRAPHY = MammographySite()
"""An ordinary screening site."""

SECOND_MAMMOGRAPHY = MammographySite(
    density=(0.45, 1.0), noise=(26.0, 42.0), blur_px=(0.6, 0.9), gain=(1.1, 1.3)
)
"""Another site: denser breasts, and a noisier and less sharp detector with a brighter display curve."""

THIRD_MAMMOGRAPHY = replace(SECOND_MAMMOGRAPHY, gamma=(0.3, 0.45))
"""A third site, whose display curve is bent: what is dense is all bright, and masses hardly stand out."""


@dataclass(frozen=True)
class MammogramView:
    """One mammogram whose truth is known, as scanners send images for presentation.

    Parameters
    ----------
    name : ``"RCC"``, ``"LCC"``, ``"RMLO"`` or ``"LMLO"``
    laterality, view : the two parts of the name
    pixels : uint16 array (y, x), 12 bit, 0 in air; the chest wall is at the right border for R and at the left for L
    grid : Grid, mm
    findings : what both views of the breast show, in the same order
    labels : uint8 array (y, x); value i + 1 marks ``findings[i]``, a cluster of calcifications by its hull
    specks : float64 array (n, 2); pixel index (y, x) of every single calcification of the clusters
    case_id : str
    """

    name: str
    laterality: Laterality
    view: View
    pixels: NDArray[np.uint16]
    grid: Grid
    findings: list[Finding]
    labels: NDArray[np.uint8]
    specks: NDArray[np.float64]
    case_id: str

    @property
    def patient_orientation(self) -> tuple[str, str]:
        """Where rows and columns run to, as in DICOM's PatientOrientation."""
        sideways = "P" if self.laterality == "R" else "A"
        if self.view == "MLO":
            return sideways, "F"
        # the outer side of the breast is shown on top
        return sideways, "L" if self.laterality == "R" else "R"


@dataclass(frozen=True)
class MammogramExam:
    """The four views of a patient in the order RCC, LCC, RMLO, LMLO."""

    exam_id: str
    views: tuple[MammogramView, ...]

    def __getitem__(self, name: str) -> MammogramView:
        return {view.name: view for view in self.views}[name]

    @property
    def findings(self) -> list[Finding]:
        """The findings of all views, one after the other."""
        return [finding for view in self.views for finding in view.findings]


@dataclass(frozen=True)
class _Scanner:
    shape: tuple[int, int]
    blur_px: float
    noise: float
    gain: float
    gamma: float

    @property
    def pixel_mm(self) -> float:
        return HEIGHT_MM / self.shape[0]


def mammogram_exam(
    seed: int,
    exam_id: str = "",
    *,
    shape: tuple[int, int] = (1024, 832),
    site: MammographySite = REFERENCE_MAMMOGRAPHY,
) -> MammogramExam:
    """Return the exam of a seed; the same seed, shape and site give the same pixels.

    Parameters
    ----------
    seed : int
    exam_id : str
        Case ids are this and the view, ``"exam-RCC"``; made of the seed where it is empty.
    shape : (y, x), pixels
        The field of view is 205 mm high, so that this sets the size of pixels too.
    site : MammographySite
    """
    rng = np.random.default_rng([seed, 0x3A])
    exam_id = exam_id or f"mammogram-{seed}"
    scanner = _Scanner(
        shape, rng.uniform(*site.blur_px), rng.uniform(*site.noise), rng.uniform(*site.gain),
        # drawn apart, so that no seed gives another phantom than it did without
        np.random.default_rng([seed, 0x67]).uniform(*site.gamma),
    )  # fmt: skip
    breasts = draw_breasts(rng, site.density)
    total = 0 if rng.random() < site.healthy else int(rng.integers(1, site.most_lesions + 1))
    in_right = int(rng.binomial(total, 0.5))
    views: list[MammogramView] = []
    sides: tuple[tuple[Laterality, int], ...] = (("R", in_right), ("L", total - in_right))
    for (laterality, count), breast in zip(sides, breasts, strict=True):
        outlines = (outline_of(rng, breast, "CC"), outline_of(rng, breast, "MLO"))
        lesions = place_lesions(rng, outlines, count)
        for view, outline in zip(VIEWS, outlines, strict=True):
            canvas = _paint(rng, scanner, breast, outline)
            views.append(_shown(rng, scanner, canvas, lesions, (exam_id, laterality, view)))
    return MammogramExam(exam_id, (views[0], views[2], views[1], views[3]))


def _paint(rng: np.random.Generator, scanner: _Scanner, breast: Breast, outline: Outline) -> Canvas:
    grey = paint_tissue(rng, outline, breast.density, scanner.shape, scanner.pixel_mm)
    return Canvas(grey, np.zeros(scanner.shape, np.uint8), outline, scanner.pixel_mm)


def _shown(
    rng: np.random.Generator,
    scanner: _Scanner,
    canvas: Canvas,
    lesions: list[Lesion],
    name: tuple[str, Laterality, View],
) -> MammogramView:
    """Paint the lesions, take the image, and turn it to the side on which it is shown."""
    exam_id, laterality, view = name
    case_id = f"{exam_id}-{laterality}{view}"
    places = [paint_lesion(rng, canvas, lesion, number) for number, lesion in enumerate(lesions, start=1)]
    pixels, labels = _scan(rng, canvas, scanner), canvas.labels
    grid = Grid.axis_aligned(scanner.shape, (scanner.pixel_mm, scanner.pixel_mm))
    specks = np.concatenate([np.zeros((0, 2)), *(place.specks for place in places)]) / scanner.pixel_mm
    if laterality == "R":
        pixels, labels = np.ascontiguousarray(pixels[:, ::-1]), np.ascontiguousarray(labels[:, ::-1])
        right_most = scanner.shape[1] - 1
        places = [place._replace(x=right_most * scanner.pixel_mm - place.x) for place in places]
        specks[:, 1] = right_most - specks[:, 1]
    findings = [
        Finding(case_id, (place.x, place.y), place.diameter, lesion.label, finding_id=f"{case_id}-{number}")
        for number, (lesion, place) in enumerate(zip(lesions, places, strict=True), start=1)
    ]
    return MammogramView(laterality + view, laterality, view, pixels, grid, findings, labels, specks, case_id)


def _scan(rng: np.random.Generator, canvas: Canvas, scanner: _Scanner) -> NDArray[np.uint16]:
    """Blur by the detector, add noise where there is breast, and round to 12 bits."""
    from scipy import ndimage

    grey = ndimage.gaussian_filter(canvas.grey, scanner.blur_px)
    noise = rng.standard_normal(grey.shape, np.float32)
    # the image processing clears the air
    grey += noise * scanner.noise * np.clip(grey / 400, 0, 1)
    shown = np.clip(grey * scanner.gain, 0, WHITE)
    if scanner.gamma != 1:
        shown = WHITE * (shown / WHITE) ** scanner.gamma
    pixels: NDArray[np.uint16] = np.rint(shown).astype(np.uint16)
    return pixels
