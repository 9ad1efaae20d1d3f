"""A slide of a PAS-stained kidney section with known glomeruli: procedural and seeded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import Finding
from napari_medlab.geometry import Grid
from napari_medlab.phantoms.kidney import (
    COARSE,
    Stains,
    jittered_lattice,
    nuclei_brushes,
    paint_glomerulus,
    paint_vessel,
    stamp_nuclei,
    tuft_texture,
)
from napari_medlab.phantoms.noise import power_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "FADED_SLIDES",
    "PIXEL_UM",
    "REFERENCE_SLIDES",
    "SECOND_SLIDES",
    "SlidePhantom",
    "SlideSite",
    "slide_phantom",
]

PIXEL_UM = 0.5
"""As a slide scanner's 20 times objective gives it."""

TILE = 512
"""Rows and columns that are worked on at once; bounds the memory of what is kept as float32."""

GLOMERULUS_PX = (130.0, 200.0)
"""Radii of Bowman's capsule."""

PITCH = 22.0
"""The width of a tubule, in coarse pixels."""

VESSEL_PX = (45.0, 120.0)
USUAL_PX = 4096 * 6144
"""The area that the counts of glomeruli and vessels are meant for."""

GLASS = (244, 242, 245)
PINK_OD, BLUE_OD = (0.30, 1.28, 0.62), (1.10, 1.02, 0.48)
"""Optical density for red, green and blue that full stain adds: PAS and haematoxylin."""


@dataclass(frozen=True)
class SlideSite:
    """How one laboratory stains and scans.

    Parameters
    ----------
    pink, blue : float
        How strongly PAS and haematoxylin take, 1 being usual.
    glass : (red, green, blue)
        What the scanner sees beside the tissue, 0 to 255.
    """

    pink: float = 1.0
    blue: float = 1.0
    glass: tuple[int, int, int] = GLASS


REFERENCE_SLIDES = SlideSite()
"""What the shipped segmenter was trained on."""

SECOND_SLIDES = SlideSite(pink=0.6, blue=1.4, glass=(232, 236, 226))
"""Another laboratory: paler PAS, strong haematoxylin, and a scanner whose white is not white."""

FADED_SLIDES = SlideSite(pink=0.2, blue=1.7)
"""A laboratory whose PAS hardly took: the shipped segmenter misses most glomeruli there."""


@dataclass(frozen=True)
class SlidePhantom:
    """A slide whose truth is known.

    Parameters
    ----------
    pixels : uint8 array (y, x, 3), RGB
    grid : Grid, micrometres from the centre of the first pixel
    findings : the glomeruli
    labels : uint16 array (y, x); value i + 1 marks ``findings[i]`` to Bowman's capsule
    case_id : str
    """

    pixels: NDArray[np.uint8]
    grid: Grid
    findings: list[Finding]
    labels: NDArray[np.uint16]
    case_id: str


@dataclass(frozen=True)
class _Layout:
    """The section on the coarse plane, float32 arrays (y, x).

    Parameters
    ----------
    depth : how deep in the tissue a place lies, in coarse pixels; negative on glass
    border : distance from the border of a tubule, in coarse pixels, positive inside
    lumen : positive where a tubule is open
    tint : how strongly the cells of a tubule are stained
    """

    depth: NDArray[np.float32]
    border: NDArray[np.float32]
    lumen: NDArray[np.float32]
    tint: NDArray[np.float32]


def slide_phantom(
    seed: int, case_id: str = "", *, shape: tuple[int, int] = (4096, 6144), site: SlideSite = REFERENCE_SLIDES
) -> SlidePhantom:
    """Return the slide of a seed; the same seed, shape and site give the same pixels.

    Parameters
    ----------
    seed : int
    case_id : str
        Written into the findings; made of the seed where it is empty.
    shape : (y, x), pixels of 0.5 µm
    site : SlideSite
    """
    rng = np.random.default_rng([seed, 0x51])
    case_id = case_id or f"slide-{seed}"
    layout = _lay_out(rng, shape)
    brushes = nuclei_brushes(rng)
    stains = Stains(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))
    for rows, columns in _tiles(shape):
        _paint_tubules(stains, layout, rows, columns)
    stamp_nuclei(rng, stains.blue, _tubule_nuclei(rng, layout), brushes)
    glomeruli, vessels = _place(rng, layout, shape)
    for y, x, radius in vessels:
        paint_vessel(rng, stains, (y, x), radius, brushes)
    texture = tuft_texture(rng)
    labels = np.zeros(shape, np.uint16)
    for number, (y, x, radius) in enumerate(glomeruli, start=1):
        box, inside = paint_glomerulus(rng, stains, (y, x), radius, texture, brushes)
        labels[box][inside] = number
    grid = Grid.axis_aligned(shape, (PIXEL_UM, PIXEL_UM), unit="um")
    findings = [
        Finding(
            case_id,
            (x * PIXEL_UM, y * PIXEL_UM),
            2 * radius * PIXEL_UM,
            "glomerulus",
            finding_id=f"{case_id}-{number}",
        )
        for number, (y, x, radius) in enumerate(glomeruli, start=1)
    ]
    return SlidePhantom(_scan(rng, stains, site), grid, findings, labels, case_id)


def _tiles(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    rows, columns = ([slice(at, min(at + TILE, n)) for at in range(0, n, TILE)] for n in shape)
    return [(row, column) for row in rows for column in columns]


def _lay_out(rng: np.random.Generator, shape: tuple[int, int]) -> _Layout:
    # one more row and column, for the interpolation at the far borders
    coarse = (shape[0] // COARSE + 2, shape[1] // COARSE + 2)
    depth = _tissue_depth(rng, coarse)
    tubules = jittered_lattice(rng, coarse, PITCH, 0.3 * PITCH)
    count = tubules.cells
    # proximal tubules have a narrow lumen, distal ones a wide one and paler cells
    is_distal = rng.random(count) < 0.3
    width = np.where(is_distal, rng.uniform(0.45, 0.62, count), rng.uniform(0.12, 0.45, count)).astype(
        np.float32
    )
    tint = np.where(is_distal, rng.uniform(24, 34, count), rng.uniform(38, 60, count)).astype(np.float32)
    # 0 at the border of a tubule and 1 in its middle
    inner = tubules.border / (tubules.border + np.maximum(tubules.reach, 0) + np.float32(1e-3))
    border = _rounded(tubules.border, np.float32(0.68 * PITCH) - tubules.reach, 0.3 * PITCH)
    return _Layout(depth, border, inner - 1 + width[tubules.cell], tint[tubules.cell])


def _rounded(first: NDArray[np.float32], second: NDArray[np.float32], soft: float) -> NDArray[np.float32]:
    """Return the smaller of two distances, rounded off where they meet: tubules have no corners."""
    gap = np.clip(1 - np.abs(first - second) / np.float32(soft), 0, 1)
    smaller: NDArray[np.float32] = np.minimum(first, second) - gap**2 * np.float32(soft / 4)
    return smaller


def _tissue_depth(rng: np.random.Generator, coarse: tuple[int, int]) -> NDArray[np.float32]:
    """Return how deep (coarse pixels) in one or two pieces of tissue a place lies, negative on glass."""
    y = np.arange(coarse[0], dtype=np.float32)[:, None] / coarse[0]
    x = np.arange(coarse[1], dtype=np.float32)[None] / coarse[1]
    size = min(coarse)
    if rng.random() < 0.5:
        pieces = [(0.5, 0.5, 0.43, 0.44)]
    else:
        split = rng.uniform(0.45, 0.55)
        pieces = [
            (0.48, split / 2 + 0.02, 0.42, split / 2 - 0.05),
            (0.53, (1 + split) / 2, 0.40, (1 - split) / 2 - 0.05),
        ]
    depth = np.full(coarse, -np.inf, np.float32)
    for middle_y, middle_x, half_y, half_x in pieces:
        level = 1 - (np.abs(y - middle_y) / half_y) ** 3.2 - (np.abs(x - middle_x) / half_x) ** 3.2
        depth = np.maximum(depth, level * np.float32(0.3 * size * min(half_y, half_x) / 0.42))
    ragged = 0.035 * size * power_noise(rng, coarse, 3.4, 12, 0.4 * size) + 1.6 * power_noise(
        rng, coarse, 2.2, 6, 30
    )
    return depth + ragged.astype(np.float32)


def _enlarged(field: NDArray[np.float32], rows: slice, columns: slice) -> NDArray[np.float32]:
    """Return a tile of a coarse field at full resolution, interpolated linearly."""
    along = []
    for part in (rows, columns):
        at = np.arange(part.start, part.stop, dtype=np.float32) / COARSE
        low = at.astype(np.intp)
        along.append((low, at - low))
    (y, down), (x, right) = along
    first, last = y[0], y[-1] + 2
    across = field[first:last, x]
    across += (field[first:last, x + 1] - across) * right
    y -= first
    tile: NDArray[np.float32] = across[y]
    tile += (across[y + 1] - tile) * down[:, None]
    return tile


def _paint_tubules(stains: Stains, layout: _Layout, rows: slice, columns: slice) -> None:
    """Paint a tile of tubules: cytoplasm around a lumen, a basement membrane, and pale tissue in between."""
    depth = _enlarged(layout.depth, rows, columns)
    if depth.max() < 0:
        return
    border = _enlarged(layout.border, rows, columns)
    lumen = np.clip(_enlarged(layout.lumen, rows, columns) * 14, 0, 1)
    cell = np.clip((border - np.float32(1.1)) * 3, 0, 1)
    membrane = np.clip(1 - np.abs(border - np.float32(1.0)) * np.float32(2.2), 0, 1)
    tint = _enlarged(layout.tint, rows, columns)
    pink = cell * (tint * (1 - lumen) - 16) + 16
    # the brush border is stained as well
    pink += lumen * (1 - lumen) * tint * cell
    pink += membrane * 80
    pink *= np.clip(depth * 2, 0, 1)
    stains.pink[rows, columns] = pink
    stains.blue[rows, columns] = (13 - 11 * lumen * cell) * np.clip(depth * 2, 0, 1)


def _tubule_nuclei(rng: np.random.Generator, layout: _Layout) -> NDArray[np.floating]:
    """Return where nuclei lie, (n, 2) at full resolution: in the walls of tubules, and some between them."""
    border = layout.border
    in_wall = (border > 2.6) & (border < 4.4) & (layout.lumen < -0.2)
    chance = np.where(in_wall, 0.036, np.where(border < 0.4, 0.012, 0)).astype(np.float32)
    chance *= layout.depth > 3
    spots = np.argwhere(rng.random(border.shape, np.float32) < chance)
    nuclei: NDArray[np.floating] = (spots + rng.uniform(-0.5, 0.5, spots.shape)) * COARSE
    return nuclei


def _place(
    rng: np.random.Generator, layout: _Layout, shape: tuple[int, int]
) -> tuple[list[tuple[float, float, float]], list[tuple[float, float, float]]]:
    """Return glomeruli and vessels as (y, x, radius) in pixels, within the tissue and clear of one another."""
    share = shape[0] * shape[1] / USUAL_PX
    wanted = max(round(int(rng.integers(24, 49)) * share), 1)
    glomeruli = _scatter(rng, layout, shape, wanted, GLOMERULUS_PX, [])
    vessels = _scatter(rng, layout, shape, round(int(rng.integers(8, 16)) * share), VESSEL_PX, glomeruli)
    return glomeruli, vessels


def _scatter(
    rng: np.random.Generator,
    layout: _Layout,
    shape: tuple[int, int],
    count: int,
    radii: tuple[float, float],
    taken: list[tuple[float, float, float]],
) -> list[tuple[float, float, float]]:
    placed: list[tuple[float, float, float]] = []
    for _ in range(count * 60):
        if len(placed) == count:
            break
        y, x, radius = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(*radii)
        if min(y, x, shape[0] - y, shape[1] - x) < radius * 1.4:
            continue
        if layout.depth[int(y / COARSE), int(x / COARSE)] * COARSE < radius * 1.2:
            continue
        if all(np.hypot(y - b, x - a) > 1.15 * (radius + r) + 20 for b, a, r in (*placed, *taken)):
            placed.append((y, x, radius))
    return placed


def _scan(rng: np.random.Generator, stains: Stains, site: SlideSite) -> NDArray[np.uint8]:
    """Return what a scanner sees, uint8 (y, x, 3): light dimmed by the stains, with noise and a slight vignette."""
    shape = stains.pink.shape
    colours = _colours(site)
    # one tile of grain serves all: it is turned from tile to tile
    grain = [1 + 0.14 * power_noise(rng, (TILE, TILE), 1.6, 1.5, 24) for _ in range(2)]
    noise = [rng.normal(0, 1.6, (TILE, TILE)).astype(np.float32) for _ in range(2)]
    fall = [1 - 0.05 * np.linspace(-1, 1, n, dtype=np.float32) ** 2 for n in shape]
    pixels = np.empty((*shape, 3), np.uint8)
    for number, (rows, columns) in enumerate(_tiles((shape[0], shape[1]))):
        flip = (slice(None, None, 1 - 2 * (number % 2)), slice(None, None, 1 - 2 * (number // 2 % 2)))
        size = (slice(0, rows.stop - rows.start), slice(0, columns.stop - columns.start))
        pink = stains.pink[rows, columns] * grain[0][flip][size] + noise[0][flip][size] + 2
        blue = stains.blue[rows, columns] * grain[1][flip][size] + noise[1][flip][size] + 2
        code = np.clip(pink, 0, 255).astype(np.uint16) >> 1 << 7
        code |= np.clip(blue, 0, 255).astype(np.uint16) >> 1
        light = fall[0][rows, None] * np.repeat(fall[1][columns], 3)
        lit = np.take(colours, code, axis=0).reshape(light.shape) * light
        pixels[rows, columns] = lit.reshape(*code.shape, 3)
    return pixels


def _colours(site: SlideSite) -> NDArray[np.uint8]:
    """Return the colour of each mixture, uint8 (16384, 3); the index is pink // 2 * 128 + blue // 2."""
    stain = np.arange(128, dtype=np.float64) / 127 * 1.4
    pink, blue = site.pink * np.array(PINK_OD), site.blue * np.array(BLUE_OD)
    density = stain[:, None, None] * pink + stain[None, :, None] * blue
    colours = np.rint(np.array(site.glass) * np.exp(-density)).astype(np.uint8).reshape(-1, 3)
    return np.asarray(colours)
