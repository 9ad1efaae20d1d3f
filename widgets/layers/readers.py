"""What napari calls to open our files: in the background while a window is up, at once for scripts."""

from __future__ import annotations

import threading
from functools import lru_cache, partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import ImageRefusedError, MedlabError
from napari_medlab.images import Decisions, contents, open_image
from napari_medlab.images.opening import kind_of, looks_like_zarr
from napari_medlab.widgets.layers.case_layers import CHANNEL_COLOURS, PLACEHOLDER, colormap_of
from napari_medlab.widgets.layers.case_view import CaseView, view_of
from napari_medlab.widgets.layers.hanging import hang

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_medlab.images import Entry
    from napari_medlab.images.slides.overview import Overview

    LayerData = tuple[Any, ...]

__all__ = ["add_layers", "get_reader", "image_layers", "in_background"]


LOOKED_AT = 50
"""So many files of a folder are asked whether it is ours."""
_numbers = count()


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return the reader of a path, or None where it is not ours to read.

    Several paths at once are read one by one; a folder is read as what it holds: a series, an exam, frames.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(p) for p in path]
    return _read if paths and all(_is_ours(p) for p in paths) else None


def _is_ours(path: Path) -> bool:
    try:
        if path.is_file() or looks_like_zarr(path):
            return path.is_dir() or bool(kind_of(path))
        return any(_is_ours(file) for file in islice((f for f in path.rglob("*") if f.is_file()), LOOKED_AT))
    except (OSError, MedlabError):
        return False


def _read(path: str | Sequence[str]) -> list[LayerData]:
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(p) for p in path]
    return in_background(partial(_entries_of, paths), _on_entries) or _layers(_entries_of(paths))


def in_background(work: Callable[[], Any], then: Callable[[Any], None]) -> list[LayerData]:
    """Do something in a thread where a window is up whose events are being handled.

    Returns
    -------
    list
        What napari takes for "read, and nothing to add yet"; empty where there is no such window, and nothing is done.
    """
    import napari
    from qtpy.QtCore import QThread

    viewer = napari.current_viewer()
    if viewer is None or QThread.currentThread().loopLevel() == 0:
        return []
    # whose units would not be those of what is being read
    for layer in [layer for layer in viewer.layers if layer.metadata.get(PLACEHOLDER)]:
        viewer.layers.remove(layer)
    _background().run(f"read {next(_numbers)}", work, on_done=then, on_error=_show)
    return [(None,)]


@lru_cache(maxsize=1)
def _background() -> Any:
    from napari_medlab.widgets.background import Background

    return Background(_show)


def _show(error: Exception) -> None:
    """Show an error; where there are ways to go on, ask which."""
    from napari.utils.notifications import show_error

    show_error(str(error))


def _entries_of(paths: Sequence[Path]) -> list[Entry]:
    return [entry for path in paths for entry in contents(path)]


def _on_entries(entries: list[Entry]) -> None:
    """Go on with what was found in the background: ask where there are several series."""
    from napari_medlab.widgets.views.choosing import ask_which

    series = [entry for entry in entries if entry.is_series]
    if len(series) < 2:
        _open(entries)
        return
    rest = [entry for entry in entries if not entry.is_series]
    ask_which(_window(), f"{len(series)} series were found.", [entry.title for entry in series],
              lambda rows: _open([*rest, *(series[row] for row in rows)]))  # fmt: skip


def _open(entries: list[Entry]) -> None:
    if not entries:  # nothing was ticked
        return

    def refused(error: Exception) -> None:
        from napari_medlab.widgets.views.choosing import ask_how

        if len(entries) > 1 or not (isinstance(error, ImageRefusedError) and error.options):
            _show(error)
            return
        options = [Decisions.from_json(option.decisions) for option in error.options]
        ask_how(_window(), error, lambda rows: _open([entries[0].decided(options[row]) for row in rows]))

    _background().run(f"open {entries[0].path}", _views, entries, on_done=_show_views, on_error=refused)


def _show_views(views: list[tuple[str, CaseView]]) -> None:
    """Add what was opened, and make the levels that slides lack while they are looked at."""
    add_layers(_hung(views))
    for number, (_, view) in enumerate(views):
        if view.overview is not None:
            _build_levels(f"levels {id(view)} {number}", view, view.overview)


def _build_levels(kind: str, view: CaseView, overview: Overview) -> None:
    from qtpy.QtCore import QCoreApplication

    from napari_medlab.widgets.layers.sharpening import is_shown

    gone = threading.Event()
    application = QCoreApplication.instance()
    if application is not None:
        application.aboutToQuit.connect(gone.set)

    def told(_: object) -> None:
        if not any(is_shown(pyramid) for pyramid in view.pyramids):
            gone.set()
        for pyramid in view.pyramids:
            pyramid.changed()

    _background().stream(kind, overview.steps, gone.is_set, on_item=told, on_done=told)


def add_layers(layers: list[LayerData]) -> None:
    """Add layers to the current viewer, and keep those sharp that are read while they are looked at."""
    import napari
    from napari.layers import Layer

    from napari_medlab.widgets.layers.sharpening import sharpener

    viewer = napari.current_viewer()
    if viewer is None:
        return
    for data in sorted(layers, key=lambda data: data[2] != "image"):  # marks lie above all images
        viewer.add_layer(Layer.create(*data))
    viewer.fit_to_view()
    for pyramid in _pyramids(layers):
        sharpener().watch(pyramid)


def _pyramids(layers: list[LayerData]) -> list[Any]:
    from napari_medlab.widgets.layers.streaming import StreamedLevel

    levels = [data[0][0] for data in layers if isinstance(data[0], list)]
    return [level.pyramid for level in levels if isinstance(level, StreamedLevel)]


def _window() -> Any:
    import napari

    viewer = napari.current_viewer()
    return viewer.window._qt_window if viewer is not None else None


def _layers(entries: Sequence[Entry]) -> list[LayerData]:
    """Open images and return their layers, each level with its own pixels: a script may compute with any of them."""
    views = _views(entries)
    for _, view in views:
        for _ in view.overview.steps() if view.overview is not None else ():
            pass
    return _hung(views)


def _views(entries: Sequence[Entry]) -> list[tuple[str, CaseView]]:
    return [
        (entry.view, view_of(open_image(entry.path, entry.decisions, pyramid=True), "", entry.title))
        for entry in entries
    ]


def _hung(opened: Sequence[tuple[str, CaseView]]) -> list[LayerData]:
    """Return the layers of images, the views of an exam hung as usual."""
    views = {str(number): view for number, view in enumerate(opened)}
    exam = {number: view for number, view in views.items() if view[0]}
    places = hang(exam) if len(exam) > 1 else {}
    return [layer for number, (_, view) in views.items() for layer in image_layers(view, places.get(number))]


def image_layers(view: CaseView, place: tuple[float, float] | None = None) -> list[LayerData]:
    """Return a case as napari takes it: data, settings and the kind of layer, one for each channel."""
    multiscale = len(view.levels) > 1
    layers: list[LayerData] = []
    for number, levels in enumerate(view.channels):
        settings: dict[str, Any] = {
            "name": view.title,
            "scale": view.scale,
            "units": view.units,
            "axis_labels": view.axis_labels,
            "multiscale": multiscale,
            "rgb": view.is_rgb,
            "cache": False,
            "metadata": view.metadata,
        }
        if place is not None:
            settings["translate"] = place
        if view.channel_names:
            settings |= {"name": f"{view.title}: {view.channel_names[number]}", "contrast_limits": view.channel_limits[number],
                         "colormap": CHANNEL_COLOURS[number % len(CHANNEL_COLOURS)],
                         "blending": "additive" if number else "translucent_no_depth"}  # fmt: skip
        elif not view.is_rgb:
            window = view.windows[0]
            settings |= {"contrast_limits": (window.low, window.high),
                         "colormap": colormap_of(window, is_inverted=view.is_inverted)}  # fmt: skip
        layers.append((levels if multiscale else levels[0], settings, "image"))
    return layers
