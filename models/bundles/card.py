"""The model card: what a spec says, as Markdown that people read."""

from __future__ import annotations

from typing import Any

__all__ = ["card_of"]

MAX_SHOWN = 200
MAX_TEXT = 4000
ESCAPED = str.maketrans({"<": "&lt;", "|": "\\|", "[": "\\[", "`": "'"})
"""What would turn a text from elsewhere into a table, a link, an image or HTML."""


def card_of(spec: dict[str, Any]) -> str:
    """Return the model card of a bundle.

    Parameters
    ----------
    spec : dict
        As in :class:`napari_medlab.models.bundles.Bundle`. ``figures`` may hold groups, such as one for each data set, and
        in them numbers, with ``NAME_interval`` beside ``NAME`` for its 95 % interval, texts, and tables of numbers.

    Returns
    -------
    str
        Markdown with a section each for purpose, input, figures, data, limits, making and origin.
    """
    sections = [
        ("Purpose", _purpose(spec)),
        ("Input", _bullets(_input(spec))),
        ("Output", _bullets(_output(spec))),
        ("Figures", _figures(spec.get("figures", {}))),
        ("Limits", _limits(spec.get("limits", ""))),
        ("Data", _data(spec.get("training", {}))),
        ("How it was made", _bullets(_making(spec.get("training", {})))),
        ("Origin", _bullets(_origin(spec))),
    ]
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections if text)
    return f"# {_plain(spec['name'])}\n\n{body}\n"


def _purpose(spec: dict[str, Any]) -> str:
    classes = ", ".join(_plain(label) for label in spec["classes"])
    return f"{_plain(spec.get('purpose', ''))} {str(spec['task']).capitalize()} of: {classes}.".strip()


def _input(spec: dict[str, Any]) -> list[str]:
    lines = [f"Preprocessing: {_pairs(spec['preprocessing'])}."]
    if spec.get("tiling"):
        lines.append(f"Tiles: {_pairs(spec['tiling'])}.")
    return lines


def _output(spec: dict[str, Any]) -> list[str]:
    lines = [f"Network: {_network(spec['network'])}."]
    classifier = spec.get("classifier")
    if classifier:
        rest = {key: value for key, value in classifier.items() if key != "network"}
        lines.append(f"Candidates are judged again by {_network(classifier['network'])}: {_pairs(rest)}.")
    if spec["postprocessing"]:
        lines.append(f"Post-processing: {_pairs(spec['postprocessing'])}.")
    return lines


def _network(network: dict[str, Any]) -> str:
    return f"{_plain(network['name'])} ({_pairs(network['arguments'])})"


def _figures(figures: dict[str, Any]) -> str:
    if not figures:
        return "None were measured: this card makes no claim."
    groups = {
        name: value for name, value in figures.items() if isinstance(value, dict) and not _is_table(value)
    }
    alone = {name: value for name, value in figures.items() if name not in groups}
    parts = [_table(alone)] if alone else []
    parts += [f"### {_plain(name).capitalize()}\n\n{_table(group)}" for name, group in groups.items()]
    return "\n\n".join(parts)


def _table(group: dict[str, Any]) -> str:
    rows = ["| figure | value | 95 % interval |", "| --- | --- | --- |"]
    for name, value in group.items():
        if name.endswith("_interval"):
            continue
        if isinstance(value, dict):
            rows += [
                f"| {_plain(name)}, {_plain(point)} | {_number(one)} | |" for point, one in value.items()
            ]
        else:
            rows.append(f"| {_plain(name)} | {_number(value)} | {_interval(group.get(f'{name}_interval'))} |")
    return "\n".join(rows)


def _is_table(value: dict[str, Any]) -> bool:
    """Tell a table, such as sensitivities by operating point, from a group of figures."""
    return all(_is_number(name) for name in value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _interval(bounds: object) -> str:
    if not isinstance(bounds, list) or len(bounds) != 2:
        return ""
    return f"{_number(bounds[0])} to {_number(bounds[1])}"


def _limits(limits: str | list[Any]) -> str:
    if isinstance(limits, str):
        return _plain(limits) or "None were written down."
    return _bullets([_plain(limit) for limit in limits]) or "None were written down."


def _data(training: dict[str, Any]) -> str:
    named = [
        f"{_plain(key)}: {_value(training[key])}"
        for key in ("data", "packages", "folds")
        if training.get(key) and not isinstance(training[key], list)
    ]
    lists = [training[key] for key in ("data", "packages", "folds") if isinstance(training.get(key), list)]
    named += [_value(one) for several in lists for one in several]
    return _bullets(named) or "Nothing is known about the data."


def _making(training: dict[str, Any]) -> list[str]:
    lines = []
    imported = training.get("imported_from")
    if isinstance(imported, dict):
        lines.append(
            f"Imported from {_plain(imported.get('format', 'a file'))}; the origin's files have these hashes."
        )
        files = imported.get("files", {})
        lines += [f"{_plain(name)}: SHA-256 {_plain(digest)}" for name, digest in list(files.items())[:20]]
    left = {k: v for k, v in training.items() if k not in ("data", "packages", "folds", "imported_from")}
    return lines + [f"{_plain(key)}: {_short(value)}" for key, value in left.items()]


def _short(value: object) -> str:
    """Return a value, or where it is a whole document, where that stands."""
    shown = _value(value)
    return shown if len(shown) <= MAX_SHOWN else "as bundle.json says in full"


def _origin(spec: dict[str, Any]) -> list[str]:
    parent = spec.get("parent")
    lines = [f"Trained from the bundle {parent}." if parent else "Not trained from another bundle."]
    lines.append(f"Licence: {_plain(spec.get('licence', '')) or 'not stated'}.")
    if spec.get("created"):
        lines.append(f"Made on {_plain(spec['created'])}.")
    if spec.get("weights_sha256"):
        lines.append(f"Weights: SHA-256 {_plain(spec['weights_sha256'])}.")
    return lines


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{_plain(key)} {_value(value)}" for key, value in values.items()) or "nothing"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return f"({_pairs(value)})"
    if isinstance(value, list):
        return f"({', '.join(_value(one) for one in value)})"
    return _number(value)


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _plain(value)


def _plain(text: object) -> str:
    """Return a text on one line, without anything that Markdown would make more of."""
    shown = "".join(one if one.isprintable() else " " for one in str(text)[:MAX_TEXT])
    return " ".join(shown.split()).translate(ESCAPED)
