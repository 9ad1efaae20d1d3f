"""What a fine-tuning learns from: the examples of several packages, what is replayed from before, and what is held out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles.loading import check_has_network
from napari_medlab.models.training.packages import MANIFEST, REPLAY, Package, read_manifest
from napari_medlab.models.training.sample_folders import find_samples
from napari_medlab.models.training.sample_store import SampleStore
from napari_medlab.models.training.samples import NO_CLASS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.training.parts import BundlePart

__all__ = ["FineTuningOptions", "Learnt", "Source", "gathered", "sources_of"]


@dataclass(frozen=True)
class FineTuningOptions:
    """What a fine-tuning does beside following its recipe.

    Parameters
    ----------
    weights : tuple of float
        How much more often the examples of each package are drawn, in the order of the packages; 1 each where empty. Earlier
        rounds may count less.
    replay : tuple of Path
        Further packages, or folders of samples as ``export --format samples`` writes them: all that is in them is replayed.
    replay_share : float or None, 0 … 1
        What share of every batch is replayed: from ``replay``, and from the examples of packages whose reason is
        ``"replay"``. None draws them by their weights like any other, so that a batch is made up as its package is.
    average : float, 0 … 1
        What share of the parent's weights stays in the outcome (Wortsman et al., "Robust fine-tuning of zero-shot models",
        2022, section 3); 0 keeps what was learnt as it is.

    Raises
    ------
    InputRefusedError
        Where a share or a weight is out of its limits.
    """

    weights: tuple[float, ...] = ()
    replay: tuple[Path, ...] = ()
    replay_share: float | None = None
    average: float = 0.0

    def __post_init__(self) -> None:
        share = 0.0 if self.replay_share is None else self.replay_share
        if not 0 <= share <= 1 or not 0 <= self.average < 1:
            raise InputRefusedError(
                f"The replayed share is from 0 to 1 and the parent's share of the weights from 0 to below 1; got {share} and "
                f"{self.average}.",
                code="option",
            )
        if any(not math.isfinite(weight) or weight <= 0 for weight in self.weights):
            raise InputRefusedError(
                f"Weights of packages are above 0, got {list(self.weights)}.", code="option"
            )

    def as_json(self) -> dict[str, Any]:
        """Return the options as plain JSON values."""
        return {
            **asdict(self),
            "weights": list(self.weights),
            "replay": [str(path.resolve()) for path in self.replay],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what :meth:`as_json` wrote."""
        return cls(
            tuple(value["weights"]), tuple(Path(path) for path in value["replay"]), value["replay_share"], value["average"]
        )  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A package or a folder of samples.

    Parameters
    ----------
    folder : Path
    sha256 : str
        Of its manifest, or of the hashes of its samples.
    package : Package or None
    weight : float
        How much more often its examples are drawn.
    is_replay : bool
        Whether all that is in it is replayed.
    """

    folder: Path
    sha256: str
    package: Package | None = None
    weight: float = 1.0
    is_replay: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return what a bundle records of it; no path, since a folder may be moved."""
        kind = "samples" if self.package is None else "package"
        return {"kind": kind, "sha256": self.sha256, "weight": self.weight, "replay": self.is_replay}


@dataclass(frozen=True)
class Learnt:
    """The examples of a fine-tuning.

    Parameters
    ----------
    part : BundlePart
        What they are for.
    store : SampleStore
        Those to train on.
    is_replay : bool array (n,)
        Which of these are replayed.
    held_out : list of Path
        Those that the validation looks at.
    sources : tuple of Source
    """

    part: BundlePart
    store: SampleStore
    is_replay: NDArray[np.bool_]
    held_out: list[Path] = field(default_factory=list)
    sources: tuple[Source, ...] = ()

    @property
    def packages(self) -> list[str]:
        """The SHA-256 of the manifest of each package."""
        return [source.sha256 for source in self.sources if source.package is not None]


def sources_of(packages: Sequence[Path], options: FineTuningOptions) -> tuple[Source, ...]:
    """Return packages and what is replayed beside them, in an order that follows from what is in them.

    Raises
    ------
    InputRefusedError
        Where one of them cannot be used, comes twice, or there is none; where weights are not as many as packages.
    """
    weights = options.weights or (1.0,) * len(packages)
    if not packages or len(weights) != len(packages):
        raise InputRefusedError(
            f"{len(packages)} packages and {len(weights)} weights were given; each package has a weight, and one is needed.",
            code="option",
        )
    found = [_of_package(folder, weight) for folder, weight in zip(packages, weights, strict=True)]
    found += [
        _of_package(folder, 1.0, is_replay=True) if (folder / MANIFEST).is_file() and _is_package(folder)
        else Source(folder, find_samples([folder]).sha256, is_replay=True)
        for folder in options.replay
    ]  # fmt: skip
    hashes = [source.sha256 for source in found]
    twice = next((source.folder for source in found if hashes.count(source.sha256) > 1), None)
    if twice is not None:
        raise InputRefusedError(f"{twice} was given twice, or is a copy of another.", code="twice")
    return tuple(sorted(found, key=lambda source: (source.is_replay, source.sha256)))


def gathered(sources: Sequence[Source], parent: Bundle) -> Learnt:
    """Return what packages hold for a bundle; every file is checked against the manifest.

    Raises
    ------
    InputRefusedError
        Where a package does not fit the bundle or another package, a file is not the one that was exported, or all is held
        out; ``no-lesions`` where a detector or segmenter would be trained without any lesion, ``is-code`` where the bundle has no
        network.
    """
    check_has_network(parent)
    named = [source.package for source in sources if source.package is not None]
    parts = [package.check_fits(parent) for package in named]
    if len({part.name for part in parts}) > 1:
        raise InputRefusedError(
            f"Some packages are for the {parts[0].name} of {parent.title} and some are not.", code="part",
            hint="Train one part after the other.",
        )  # fmt: skip
    paths: list[Path] = []
    factors: list[float] = []
    replayed: list[bool] = []
    held_out: list[Path] = []
    for source in sources:
        new, is_replay, validation = _examples_of(source)
        paths += new
        replayed += is_replay
        factors += [source.weight] * len(new)
        held_out += validation
    if not paths:
        raise InputRefusedError(
            "All examples of the packages are held out for validation.", code="no-samples",
            hint="Export more examples, or hold out fewer.",
        )  # fmt: skip
    store = _store_of(paths, factors)
    learnt = Learnt(parts[0], store, np.asarray(replayed, np.bool_), held_out, tuple(sources))
    _check_samples(learnt)
    return learnt


def _store_of(paths: list[Path], factors: list[float]) -> SampleStore:
    try:
        return SampleStore(paths, factors=factors)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputRefusedError(
            f"An example is no sample: {error}", code="sample", hint="Export the hard examples again."
        ) from error


def _of_package(folder: Path, weight: float, *, is_replay: bool = False) -> Source:
    package = read_manifest(folder)
    return Source(folder, package.sha256, package, weight, is_replay)


def _is_package(folder: Path) -> bool:
    """Tell a package from a folder of samples, which has a manifest, too."""
    return not any(folder.glob("*.npz"))


def _examples_of(source: Source) -> tuple[list[Path], list[bool], list[Path]]:
    """Return the files to train on, which of them are replayed, and the files that are held out."""
    if source.package is None:
        paths = find_samples([source.folder]).paths
        return paths, [True] * len(paths), []
    package = source.package
    files = [(one, package.verified(one)) for one in package.examples]
    training = [(one, path) for one, path in files if not one.is_validation]
    replayed = [source.is_replay or one.reason == REPLAY for one, _ in training]
    return [path for _, path in training], replayed, [path for one, path in files if one.is_validation]


def _check_samples(learnt: Learnt) -> None:
    """Look at what is known of each sample: whether it is what the network reads and the task needs."""
    abouts = [*learnt.store.abouts, *(SampleStore(learnt.held_out).abouts if learnt.held_out else [])]
    arguments = learnt.part.network["arguments"]
    dims, channels = arguments.get("spatial_dims"), arguments.get("in_channels")
    side = max(arguments.get("sides", [0])) if learnt.part.task == "classification" else 0
    for about in abouts:
        found, *shape = about.shape
        wrong = {
            f"one has {len(shape)} axes, and the network {dims}": dims not in (None, len(shape)),
            f"one has {found} channels, and the network {channels}": channels not in (None, found),
            f"one is {tuple(shape)}, smaller than the cube of {side} that the network looks at": min(shape)
            < side,
        }
        if problems := [text for text, is_wrong in wrong.items() if is_wrong]:
            raise _of_no_use(learnt.part, problems[0])
    if learnt.part.task == "classification" and all(about.label == NO_CLASS for about in learnt.store.abouts):
        raise _of_no_use(learnt.part, "none has a class of its own")
    if learnt.part.task != "classification" and not any(about.has_lesion for about in learnt.store.abouts):
        raise InputRefusedError(
            f"None of the {len(learnt.store)} examples to train on holds anything of a class that {learnt.part.bundle.title} "
            f"learns ({', '.join(learnt.part.classes)}): it would learn to find nothing.", code="no-lesions",
            hint="Export hard examples with findings of these classes, or train on an earlier package beside these.",
        )  # fmt: skip


def _of_no_use(part: BundlePart, reason: str) -> InputRefusedError:
    return InputRefusedError(
        f"The examples are not for {part.bundle.title}: {reason}.", code="sample",
        hint="Export the hard examples again for this model.",
    )  # fmt: skip
