"""``napari-medlab models``: which models there are, what they are, and whether they are what they say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_medlab.models.bundles import Bundle

__all__ = ["VERB", "bundle_folders"]


def bundle_folders(project: Path | None) -> list[Path]:
    """Return the folders in which a project keeps bundles of its own; none without a project."""
    return [] if project is None else [project / "bundles"]


def _configure(parser: argparse.ArgumentParser) -> None:
    from argparse import SUPPRESS

    parser.add_argument("--project", metavar="DIR", type=Path, help="a project whose models count, too")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    parser.set_defaults(act=_list)
    chosen = [
        (actions.add_parser("list", help="list the models (the default)"), _list, ""),
        (actions.add_parser("show", help="print what a model's bundle says, its hash and its card"), _show, "NAME"),
        (actions.add_parser("import", help="check a bundle and copy it into a project"), _import, "PATH"),
        (actions.add_parser("verify", help="read the hashes again and load the network"), _verify, "NAME"),
    ]
    for action, act, metavar in chosen:
        action.set_defaults(act=act)
        # also accepted after the action; must not undo what was given before it
        action.add_argument("--project", metavar="DIR", type=Path, default=SUPPRESS, help="a project")
        action.add_argument("--json", action="store_true", default=SUPPRESS, help="print one JSON document")
        if metavar == "NAME":
            action.add_argument("wanted", metavar="NAME", help="a name, a hash (8 digits suffice) or a folder")
        elif metavar == "PATH":
            action.add_argument("wanted", metavar="PATH", type=Path, help="the bundle's folder")


def _run(options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = options.act(options)
    return result


def _list(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.models.bundles.registry import ZOO

    current = _current_bundle(options.project)
    return {"models": _listed([ZOO, *bundle_folders(options.project)], current)}


def _show(options: argparse.Namespace) -> dict[str, Any]:
    bundle = _find(options)
    card = bundle.folder / "CARD.md"
    return {
        **_address(bundle),
        "bundle": bundle.spec,
        "card": card.read_text(encoding="utf-8", errors="replace") if card.is_file() else "",
    }


def _verify(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.models.bundles import load_network

    bundle = _find(options)
    weights = sum(tensor.numel() for tensor in load_network(bundle).parameters())
    return {**_address(bundle), "verified": True, "weights": weights}


def _import(options: argparse.Namespace) -> dict[str, Any]:
    """Copy a bundle into a project, and make it known there."""
    from napari_medlab.cli.project import open_to_write
    from napari_medlab.models.bundles import load_network, read_bundle
    from napari_medlab.models.workflows.predict import register_bundle

    if options.project is None:
        raise InputRefusedError(
            "A model is imported into a project, and none was named.", code="no-project", hint="Add --project DIR."
        )
    source = read_bundle(options.wanted)
    load_network(source)
    with open_to_write(options.project) as project:
        copied = _copy(source, project.folder / "bundles")
        register_bundle(project, copied, "imported")
        return _address(copied)


def _copy(source: Bundle, into: Path) -> Bundle:
    """Copy what makes up a bundle, and nothing else that lies beside it; return the copy, checked again."""
    from napari_medlab.durable import new_folder, write_file
    from napari_medlab.models.bundles import read_bundle
    from napari_medlab.models.bundles.bundle import CARD, SPEC, WEIGHTS

    folder = into / f"{source.name}-{source.hash[:12]}"
    with new_folder(folder) as partial:
        for name in (WEIGHTS, SPEC, CARD):
            if (source.folder / name).is_file():
                write_file(partial / name, (source.folder / name).read_bytes())
        if read_bundle(partial).hash != source.hash:
            raise InputRefusedError(f"{source.folder} changed while it was copied.", code="bundle")
    return read_bundle(folder)


def _listed(folders: Sequence[Path], current: str | None) -> list[dict[str, Any]]:
    """Return every bundle in some folders; one that cannot be used is listed with the reason."""
    from napari_medlab.models.bundles import read_bundle
    from napari_medlab.models.bundles.registry import bundle_paths

    rows: list[dict[str, Any]] = []
    for path in (path for folder in folders for path in bundle_paths(folder)):
        try:
            bundle = read_bundle(path)
        except InputRefusedError as error:
            rows.append({"name": path.name, "hash": None, "path": str(path), "error": error.message})
            continue
        spec = {key: bundle.spec.get(key) for key in ("task", "classes", "parent", "licence")}
        rows.append({**_address(bundle), **spec, "current": bundle.hash == current})
    return rows


def _current_bundle(folder: Path | None) -> str | None:
    from napari_medlab.project import Project

    if folder is None:
        return None
    with Project.open(folder, read_only=True) as project:
        return project.current_bundle()


def _find(options: argparse.Namespace) -> Bundle:
    from napari_medlab.models.bundles import find_bundle

    return find_bundle(options.wanted, bundle_folders(options.project))


def _address(bundle: Bundle) -> dict[str, Any]:
    return {"name": bundle.name, "hash": bundle.hash, "path": str(bundle.folder.absolute())}


VERB = Verb("models", "list, show, import and verify models", _configure, _run)
