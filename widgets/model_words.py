"""Models in words: what each of them does, which images it reads, and what a run of it was computed with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.project import CaseRecord

__all__ = [
    "DOES",
    "PRECISIONS",
    "Fit",
    "about",
    "backend_words",
    "device_words",
    "fit",
    "reads",
]

DOES = {"detection": "finds", "segmentation": "outlines", "classification": "judges"}
"""What a model of each task does, in a word."""
PRECISIONS = ("float32", "bfloat16", "float16", "openvino")
"""As the worker knows them; whether one is to be had here, it says itself."""
PLURALS = {"volume": "volumes", "slide": "slides", "mammogram": "mammograms", "photo": "photos"}
MOST_CLASSES = 6
AS_FAST = 1.05
"""What is not faster than float32 by this much is not called faster."""


@dataclass(frozen=True)
class Fit:
    """Which of some cases a model can be run on.

    Parameters
    ----------
    case_ids : tuple of str
        Those that it reads, in their order.
    reason : str
        Why it cannot be run at all; empty where it can.
    note : str
        What is left out; empty where nothing is.
    """

    case_ids: tuple[str, ...]
    reason: str = ""
    note: str = ""


def reads(bundle: Bundle) -> str:
    """Return the kinds of image that a model reads: ``"slides and photos"``."""
    return _listed([PLURALS[kind] for kind in bundle.preprocessing.kinds])


def reads_briefly(bundle: Bundle) -> str:
    """Return the same for a narrow column: ``"slides +1"``."""
    first, *others = bundle.preprocessing.kinds
    return f"{PLURALS[first]} +{len(others)}" if others else PLURALS[first]


def about(bundle: Bundle) -> str:
    """Return in one sentence what a model does: ``"Finds in volumes: nodule."``."""
    classes = list(bundle.classes[:MOST_CLASSES])
    more = len(bundle.classes) - len(classes)
    listed = f"{', '.join(classes)} and {more} more" if more else _listed(classes)
    if bundle.task == "classification":
        return f"Judges candidates that another model proposed, in {reads(bundle)}: {listed}."
    return f"{DOES[bundle.task].capitalize()} in {reads(bundle)}: {listed}."


def fit(bundle: Bundle, cases: Sequence[CaseRecord], candidates_of: str) -> Fit:
    """Tell which cases a model can be run on, before it is run.

    Parameters
    ----------
    bundle : Bundle
    cases : sequence of CaseRecord
        Those that are chosen.
    candidates_of : str
        The run whose candidates a classifier would judge; empty for none.
    """
    if not cases:
        return Fit((), "No case is chosen.")
    if bundle.task == "classification" and not candidates_of:
        return Fit((), "It judges candidates and proposes none: run a model that finds some first.")
    kinds = bundle.preprocessing.kinds
    fitting = tuple(case.case_id for case in cases if case.kind in kinds)
    others = [case.kind for case in cases if case.kind not in kinds]
    if not fitting:
        what = "The case chosen is" if len(cases) == 1 else f"The {len(cases)} cases chosen are"
        return Fit((), f"It reads {reads(bundle)}. {what} {_counted(others, alone=len(cases) == 1)}.")
    if not others:
        return Fit(fitting)
    is_are = "case is" if len(others) == 1 else "cases are"
    return Fit(fitting, note=f"{len(others)} of the {len(cases)} {is_are} left out, as it reads {reads(bundle)}: "
                             f"{_counted(others)}.")  # fmt: skip


def device_words(name: str) -> str:
    """Return a device as people call it: ``"GPU 0 (CUDA)"``."""
    kind, _, number = name.partition(":")
    return {"auto": "Automatic", "cpu": "CPU", "mps": "Apple GPU", "cuda": f"GPU {number or 0} (CUDA)"}.get(
        kind, name
    )


def backend_words(backend: Mapping[str, Any]) -> str:
    """Return what a run is computed with, and why.

    Parameters
    ----------
    backend : mapping
        As the worker tells of its choice: ``devices``, ``precision``, ``channels_last``, ``compiled`` and the
        ``self_test`` with its ``seconds`` and ``differences``. What is missing is left out.

    Returns
    -------
    str
        Such as ``"bfloat16 on the CPU, 4.6 × as fast as float32, largest difference 0.004"``; empty where nothing is known.
    """
    precision, devices = str(backend.get("precision", "")), [str(name) for name in backend.get("devices", [])]
    if not precision:
        return ""
    extras = [
        words
        for key, words in (("channels_last", "channels last"), ("compiled", "compiled"))
        if backend.get(key)
    ]
    title = ", ".join([precision, *extras])
    test = backend.get("self_test") or {}
    seconds, differences = test.get("seconds") or {}, test.get("differences") or {}
    said = [f"{title} {_on(devices)}".strip()]
    if title in seconds and "float32" in seconds and title != "float32" and seconds[title] > 0:
        ratio = seconds["float32"] / seconds[title]
        if ratio >= AS_FAST:
            said.append(f"{ratio:.1f} × as fast as float32")
        if precision != "float32":
            said.append(f"largest difference {differences.get(title, 0.0):.2g}")
    return ", ".join(said)


def _on(devices: list[str]) -> str:
    kinds = {name.partition(":")[0] for name in devices}
    if len(devices) > 1:
        return f"on {len(devices)} GPUs"
    return {"cpu": "on the CPU", "cuda": "on the GPU", "mps": "on Apple's GPU"}.get(next(iter(kinds), ""), "")


def _counted(kinds: Sequence[str], *, alone: bool = False) -> str:
    if alone:
        return f"a {kinds[0]}"
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return _listed(
        [f"{count} {kind if count == 1 else PLURALS.get(kind, kind)}" for kind, count in counts.items()]
    )


def _listed(words: Sequence[str]) -> str:
    return " and ".join([*([", ".join(words[:-1])] if len(words) > 1 else []), *words[-1:]])
