"""The whole of an experiment as one JSON document, checked before anything is trained."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.models.training.recipe import Recipe  # noqa: TC001 - read at run time, to know what a field holds
from napari_medlab.models.training.settings import as_plain, between, read_part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Change", "Configuration", "Part"]

CUBE_SETTINGS = frozenset({"kind", "spacing_mm", "window"})
"""What of a preprocessing the cubes of a classifier go through."""


@dataclass(frozen=True)
class Part:
    """Something that a closed table knows by name, with its arguments as JSON values."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Change(Part):
    """A random change of samples, made with a probability; see :mod:`napari_medlab.models.augmentation`."""

    probability: float = between(0, 1, default=1.0)


@dataclass(frozen=True)
class Configuration:
    """Everything that makes an experiment but the data.

    Parameters
    ----------
    name : str
        Of the model that comes out of it.
    task : {"detection", "segmentation", "classification"}
    network, objective, sampler : Part
        By name from the closed tables of networks, objectives and samplers.
    recipe : Recipe
    preprocessing : dict
        What is done to an image first, see :class:`napari_medlab.models.preprocessing.Preprocessing`. Samples were
        prepared in this way when they were written.
    classes : texts
        What the outputs stand for, one each. A classifier of one output says how probable a lesion is, and names it; the
        first class of one with several outputs is none.
    augmentation : list of Change
    postprocessing, tiling : dict
        Written into the bundle; see :mod:`napari_medlab.models.postprocessing` and
        :class:`napari_medlab.models.inference.planning.TilingRule`.
    note : str
        What is tried here, or what is changed against another configuration.
    """

    name: str
    task: Literal["detection", "segmentation", "classification"]
    network: Part
    objective: Part
    sampler: Part
    recipe: Recipe
    preprocessing: dict[str, Any]
    classes: tuple[str, ...]
    augmentation: tuple[Change, ...] = ()
    postprocessing: dict[str, Any] = field(default_factory=dict)
    tiling: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values."""
        document: dict[str, Any] = as_plain(self)
        return document

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON; the note does not count."""
        canonical = json.dumps(
            replace(self, note="").as_json(), sort_keys=True, separators=(",", ":"), allow_nan=False
        )
        return hashlib.sha256(canonical.encode()).hexdigest()

    @classmethod
    def from_json(cls, document: object) -> Configuration:
        """Read what :meth:`as_json` wrote, and check all of it.

        Raises
        ------
        InputRefusedError
            With every mistake and its path, such as ``augmentation[2].arguments.share: is not known; known are …``.
        """
        problems: list[str] = []
        configuration = read_part(cls, document, "", problems)
        problems += _problems_of_parts(document) if isinstance(document, dict) else []
        if configuration is None or problems:
            lines = "\n".join(f"  {problem}" for problem in dict.fromkeys(problems))
            raise InputRefusedError(
                f"The configuration cannot be used:\n{lines}",
                code="configuration",
                hint="Correct these and try again.",
            )
        return configuration


def _problems_of_parts(document: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with names and arguments of the parts that can be read, whatever else is wrong."""
    problems: list[str] = []
    for where in ("network", "objective", "sampler"):
        problems += _problems_of_part(where, document.get(where), where)
    augmentation = document.get("augmentation")
    for row, change in enumerate(augmentation if isinstance(augmentation, list | tuple) else ()):
        problems += _problems_of_part("augmentation", change, f"augmentation[{row}]")
    classes = document.get("classes")
    if isinstance(classes, list | tuple) and (not classes or len(set(map(str, classes))) < len(classes)):
        problems.append("classes: expected at least one, each once")
    elif isinstance(classes, list | tuple):
        problems += _problems_of_outputs(document.get("network"), len(classes))
    return problems + _problems_of_values(document)


def _problems_of_outputs(network: object, classes: int) -> list[str]:
    """Return what is wrong where a network, as far as its arguments say, has not one output for each class."""
    outputs = _outputs_of(network) if isinstance(network, dict) else None
    if outputs in (None, classes):
        return []
    return [f"classes: {classes} are named, and network.arguments.classes is {outputs}"]


def _outputs_of(network: dict[str, Any]) -> int | None:
    """Return how many classes a network tells apart; None where that is no argument of its own."""
    from napari_medlab.models.networks.cubes import CubeDesign

    name, arguments = network.get("name"), network.get("arguments", {})
    if name not in _table("network") or not isinstance(arguments, dict):
        return None
    module, attribute = _table("network")[str(name)]
    parameter = inspect.signature(getattr(import_module(module), attribute)).parameters.get("classes")
    usual = CubeDesign.classes if name == "cube-classifier" else getattr(parameter, "default", None)
    outputs = arguments.get("classes", usual)
    return outputs if isinstance(outputs, int) else None


def _problems_of_values(document: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the settings of an image's way into the network and out of it."""
    problems = []
    task = str(document.get("task"))
    for name, read in _readers(task).items():
        value = document.get(name, {})
        if isinstance(value, dict) and (value or name == "preprocessing"):
            try:
                read(value)
            except MedlabError as error:
                problems.append(f"{name}: {error.message}")
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                problems.append(f"{name}: {error!r} does not fit")
    return problems


def _readers(task: str) -> dict[str, Callable[[dict[str, Any]], object]]:
    from napari_medlab.models.inference.planning import TilingRule
    from napari_medlab.models.postprocessing import check_postprocessing
    from napari_medlab.models.preprocessing import Preprocessing

    return {
        "preprocessing": _read_cubes if task == "classification" else Preprocessing.from_json,
        "tiling": TilingRule.from_json,
        "postprocessing": lambda value: check_postprocessing(value, task),
    }


def _read_cubes(value: dict[str, Any]) -> float:
    """Return the spacing of a classifier's cubes, and refuse what these would not go through when candidates are judged."""
    from napari_medlab.models.preprocessing import Preprocessing

    spacing_mm = Preprocessing.from_json(value).isotropic_mm
    if odd := sorted(set(value) - CUBE_SETTINGS):
        raise InputRefusedError(
            f"{', '.join(odd)} not known for cubes; known are {', '.join(sorted(CUBE_SETTINGS))}",
            code="preprocessing",
        )
    return spacing_mm


def _table(where: str) -> Mapping[str, tuple[str, str]]:
    """Return the closed table that a part is named in: a name maps to a module and a class or function."""
    module, table = {
        "network": ("napari_medlab.models.networks", "NETWORKS"),
        "objective": ("napari_medlab.models.training.objectives", "OBJECTIVES"),
        "sampler": ("napari_medlab.models.training.samplers", "SAMPLERS"),
        "augmentation": ("napari_medlab.models.augmentation.table", "TRANSFORMS"),
    }[where]
    found: Mapping[str, tuple[str, str]] = getattr(import_module(module), table)
    return found


def _problems_of_part(where: str, part: object, path: str) -> list[str]:
    if not isinstance(part, dict) or not isinstance(part.get("name"), str):
        return []  # told already by who read the document
    table = _table(where)
    if part["name"] not in table:
        return [f"{path}.name: {part['name']!r} is not known; known are {', '.join(sorted(table))}"]
    arguments = part.get("arguments", {})
    if not isinstance(arguments, dict):
        return []
    module, attribute = table[part["name"]]
    build: Callable[..., object] = getattr(import_module(module), attribute)
    problems = _problems_of_arguments(
        build, arguments, f"{path}.arguments", given=1 if where == "sampler" else 0
    )
    if (where, part["name"]) == ("sampler", "mixed"):
        for inner in set(arguments) & {"old", "new"}:
            problems += _problems_of_inner_sampler(arguments[inner], f"{path}.arguments.{inner}")
    if not problems and where in ("objective", "augmentation"):
        problems = _problems_of_building(build, arguments, f"{path}.arguments")
    return problems


def _problems_of_inner_sampler(part: object, path: str) -> list[str]:
    if not isinstance(part, dict) or not isinstance(part.get("name"), str):
        return [f"{path}: expected an object with a name"]
    return _problems_of_part("sampler", part, path)


def _problems_of_arguments(
    build: Callable[..., object], arguments: dict[str, Any], path: str, given: int
) -> list[str]:
    """Return what a signature has against arguments; the first ``given`` parameters come from elsewhere."""
    parameters = list(inspect.signature(build).parameters.values())[given:]
    open_ended = any(one.kind is one.VAR_KEYWORD for one in parameters)
    named = {one.name: one for one in parameters if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)}
    odd = [] if open_ended else sorted(set(arguments) - set(named))
    problems = [f"{path}.{name}: is not known; known are {', '.join(named)}" for name in odd]
    missing = [name for name, one in named.items() if one.default is one.empty and name not in arguments]
    return problems + [f"{path}.{name}: is missing" for name in missing]


def _problems_of_building(build: Callable[..., object], arguments: dict[str, Any], path: str) -> list[str]:
    try:
        build(**arguments)
    except MedlabError as error:
        return [f"{path}: {error.message}"]
    except (TypeError, ValueError, KeyError, IndexError) as error:
        return [f"{path}: {error}"]
    return []
