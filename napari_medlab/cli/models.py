"""``napari-medlab models``: which there are, whether they are what they say, which is current; from and to elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.joining import add_joining
from napari_medlab.cli.judging import add_judging
from napari_medlab.cli.naming import model_for
from napari_medlab.errors import InputRefusedError
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_medlab.models.bundles import Bundle

__all__ = ["VERB"]


def _configure(parser: argparse.ArgumentParser) -> None:
    from argparse import SUPPRESS

    parser.add_argument("--project", metavar="DIR", type=Path, help="a project whose models count, too")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    parser.set_defaults(act=_list)
    bringing = actions.add_parser(
        "import", help="turn a model from elsewhere into a bundle; nothing in its files is run"
    )
    giving = actions.add_parser("export", help="write a model as a MONAI bundle")
    chosen = [
        (actions.add_parser("list", help="list the models (the default)"), _list, ""),
        (
            actions.add_parser("show", help="print what a model's bundle says, its hash and its card"),
            _show,
            "NAME",
        ),
        (bringing, _import, "PATH"),
        (giving, _export, "NAME"),
        (
            actions.add_parser(
                "verify", help="read the hashes again and load the network, or check what code does"
            ),
            _verify,
            "NAME",
        ),
        (
            actions.add_parser(
                "allow", help="let the code of another package's model run: this very version"
            ),
            _allow,
            "NAME",
        ),
        (actions.add_parser("disallow", help="take that back, for all its versions"), _disallow, "NAME"),
        *((action, act, "") for action, act in (*add_joining(actions), *add_judging(actions))),
    ]
    for action, act, metavar in chosen:
        action.set_defaults(act=act)
        # also accepted after the action; must not undo what was given before it
        action.add_argument("--project", metavar="DIR", type=Path, default=SUPPRESS, help="a project")
        action.add_argument("--json", action="store_true", default=SUPPRESS, help="print one JSON document")
        if metavar == "NAME":
            action.add_argument(
                "wanted", metavar="NAME", help="a name, a hash (8 digits suffice) or a folder"
            )
        elif metavar == "PATH":
            action.add_argument(
                "wanted", metavar="PATH", type=Path, help="a bundle, MONAI bundle, nnU-Net, or weights"
            )
    giving.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="a folder that does not exist yet"
    )
    _configure_import(bringing)


def _configure_import(parser: argparse.ArgumentParser) -> None:
    """Add what a person says about a model whose files do not say it themselves."""
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="a folder for bundles, where it is for no project"
    )
    parser.add_argument("--name", default="", help="what to call it")
    parser.add_argument(
        "--network", default="", help="of weights alone: such as UNet, SegResNet, centre-heatmap"
    )
    parser.add_argument(
        "--arguments", metavar="JSON", type=_object, default={}, help="the network's arguments"
    )
    parser.add_argument("--task", choices=("detection", "segmentation", "classification"), default="")
    parser.add_argument("--classes", metavar="NAME", nargs="+", default=[], help="without the background")
    parser.add_argument(
        "--spacing", metavar="MM", nargs="+", type=float, help="one, or one for each axis: z y x, or y x"
    )
    parser.add_argument(
        "--window", metavar=("LOW", "HIGH"), nargs=2, type=float, help="values that become 0 and 1"
    )
    parser.add_argument(
        "--preprocessing", metavar="JSON", type=_object, default={}, help="in place of these two"
    )
    parser.add_argument("--axes", default="", help="of the arrays it reads: RAS, LPS, SPL (ours), yx, xy, …")
    parser.add_argument(
        "--output", choices=("sigmoid", "softmax"), default="", help="what makes probabilities of its outputs"
    )
    parser.add_argument("--postprocessing", metavar="JSON", type=_object, default={})
    parser.add_argument("--tiling", metavar="JSON", type=_object, default={})
    parser.add_argument("--licence", default="")
    parser.add_argument("--limits", default="", help="what it cannot do")
    parser.add_argument("--configuration", default="", help="of an nnU-Net: 3d_fullres, 2d, …")
    parser.add_argument("--fold", default="", help="of an nnU-Net")
    parser.add_argument(
        "--skip-code", action="store_true", help="pass over the code of a MONAI bundle, and read the rest"
    )


def _object(text: str) -> dict[str, Any]:
    """Read a JSON object from the command line."""
    from argparse import ArgumentTypeError

    from napari_medlab.models.bundles.documents import parse_json

    try:
        value = parse_json(text.encode())
    except ValueError as error:
        raise ArgumentTypeError(f"{text[:60]!r} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ArgumentTypeError(f"{text[:60]!r} is no JSON object")
    return value


def _run(options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = options.act(options)
    return result


def _list(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.models.bundles.registry import ZOO, bundle_paths, plugin_paths

    current = _current_bundle(options.project)
    folders = [ZOO] if options.project is None else [ZOO, options.project / "bundles"]
    paths = [path for folder in folders for path in bundle_paths(folder)]
    return {"models": _listed([*paths, *plugin_paths()], current)}


def _show(options: argparse.Namespace) -> dict[str, Any]:
    bundle = _find(options)
    card = bundle.folder / "CARD.md"
    return {
        **_address(bundle),
        **_code(bundle),
        "bundle": bundle.spec,
        "card": card.read_text(encoding="utf-8", errors="replace") if card.is_file() else "",
    }


def _verify(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.models.bundles import load_network

    bundle = _find(options)
    if bundle.code is not None:
        return {**_address(bundle), **_code(bundle), "verified": True, "checks": _checks(bundle)}
    weights = sum(tensor.numel() for tensor in load_network(bundle).parameters())
    return {**_address(bundle), "verified": True, "weights": weights}


def _checks(bundle: Bundle) -> list[dict[str, Any]]:
    """Run the code of another package through its contract; say on standard error what came of each check.

    Raises
    ------
    InputRefusedError
        ``"not-allowed"``; ``"conformance"`` where a check failed.
    """
    from napari_medlab.models.plugins.verifying import verify

    failed, checks = [], []
    for check in verify(bundle):
        _say(
            f"{'FAILED' if check.reason else 'ok    '} {check.name}{f': {check.reason}' if check.reason else '.'}"
        )
        checks.append(check.as_json())
        failed += [check.name] * bool(check.reason)
    if failed:
        raise InputRefusedError(
            f"{bundle.title} fails {len(failed)} of {len(checks)} checks: {'; '.join(failed)}.", code="conformance",
            hint="What it gives cannot be relied on. Tell the makers of its package.",
        )  # fmt: skip
    return checks


def _allow(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.models.plugins.permission import allow

    bundle = _find(options)
    allow(bundle)
    return {**_address(bundle), **_code(bundle)}


def _disallow(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.models.plugins.permission import disallow

    bundle = _find(options)
    disallow(bundle)
    return {**_address(bundle), **_code(bundle)}


def _import(options: argparse.Namespace) -> dict[str, Any]:
    """Turn a model into a bundle of a project, and make it known there; or write it into a folder."""
    from napari_medlab.cli.project import open_to_write
    from napari_medlab.models.workflows.predict import register_bundle

    if options.project is None and options.out is None:
        raise InputRefusedError(
            "A model is imported into a project, and none was named.", code="no-project",
            hint="Add --project DIR, or --out DIR for a folder of bundles.",
        )  # fmt: skip
    if options.project is None:
        return _address(_brought(options, options.out))
    with open_to_write(options.project) as project:
        bundle = _brought(options, project.folder / "bundles")
        register_bundle(project, bundle, "imported")
        return _address(bundle)


def _brought(options: argparse.Namespace, into: Path) -> Bundle:
    """Return a bundle in a folder: a copy where it was one before, else what an import makes of the files."""
    from napari_medlab.models.bundles import ImportOptions, import_model, load_network, read_bundle
    from napari_medlab.models.bundles.bundle import SPEC
    from napari_medlab.models.bundles.importing import copy_bundle

    if (options.wanted / SPEC).is_file():
        source = read_bundle(options.wanted)
        load_network(source)
        return copy_bundle(source, into)
    said = ImportOptions.from_json({**vars(options), "preprocessing": _preprocessing(options)})
    return import_model(options.wanted, into, said, on_progress=_say)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _preprocessing(options: argparse.Namespace) -> dict[str, Any]:
    if options.preprocessing or (options.spacing is None and options.window is None):
        return dict(options.preprocessing)
    spacing = options.spacing and (options.spacing[0] if len(options.spacing) == 1 else options.spacing)
    given = {"spacing_mm": spacing, "window": options.window}
    return {key: value for key, value in given.items() if value is not None}


def _export(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.models.bundles import export_monai

    bundle = _find(options)
    return {
        "name": bundle.name,
        "hash": bundle.hash,
        "path": str(export_monai(bundle, options.out).absolute()),
    }


def _listed(paths: Sequence[Path], current: str | None) -> list[dict[str, Any]]:
    """Return every bundle in some folders; one that cannot be used is listed with the reason."""
    from napari_medlab.models.bundles import read_bundle

    rows: list[dict[str, Any]] = []
    for path in paths:
        try:
            bundle = read_bundle(path)
        except InputRefusedError as error:
            rows.append({"name": path.name, "hash": None, "path": str(path), "error": error.message})
            continue
        spec = {key: bundle.spec.get(key) for key in ("task", "classes", "parent", "licence")}
        rows.append({**_address(bundle), **spec, "current": bundle.hash == current, **_code(bundle)})
    return rows


def _current_bundle(folder: Path | None) -> str | None:
    from napari_medlab.project import Project

    if folder is None:
        return None
    with Project.open(folder, read_only=True) as project:
        return project.current_bundle()


def _find(options: argparse.Namespace) -> Bundle:
    return model_for(options.project, options.wanted)


def _address(bundle: Bundle) -> dict[str, Any]:
    return {"name": bundle.name, "hash": bundle.hash, "path": str(bundle.folder.absolute())}


def _code(bundle: Bundle) -> dict[str, Any]:
    """Return where the code of a model comes from, and whether it may run; nothing of a model that is data."""
    from napari_medlab.models.plugins.permission import is_allowed

    return {} if bundle.code is None else {"code": bundle.code, "allowed": is_allowed(bundle)}


VERB = Verb("models", "list, show, import, export, verify, allow and join models", _configure, _run)
