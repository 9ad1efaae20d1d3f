"""Importing a model: a file or folder is chosen, and what its files do not say is asked for in a form."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles import ImportOptions
from napari_medlab.widgets.panels.panel import chooser, note

if TYPE_CHECKING:
    from napari_medlab.widgets.controller import Controller

__all__ = ["ImportForm", "ImportModel", "missing_fields", "options_from"]

ASKED = ("model-incomplete", "axes")
"""What a person can help with; other refusals are final."""
FILES = "Models (*.safetensors *.pt *.pth *.ckpt *.zip *.json);;All files (*)"
UNSAID, CHOOSE = "as its files say", "choose …"
UNASKED = ("name", "licence")
"""What files need not say."""
SIZE = (560, 560)
FIELDS: dict[str, tuple[str, str | tuple[str, ...], str]] = {
    "name": ("Name", "", "Letters, digits, dots and dashes; made from the file's name where empty"),
    "task": ("Task", ("", "detection", "segmentation", "classification"), "What the network gives"),
    "classes": ("Classes", "", "In the order of the outputs, separated by commas, without the background"),
    "kind": ("Images", ("", "volume", "slide", "mammogram", "photo"), "The kind of image that it reads"),
    "spacing": ("Spacing", "", "Of its input: in mm, for slides in µm; one number, or one for each axis"),
    "window": ("Window", "", "Two pixel values that become 0 and 1, such as -1000, 400"),
    "axes": ("Axes", "", "Of its input, such as RAS (MONAI), SPL (napari-medlab), yx or xy"),
    "output": ("Outputs", ("", "sigmoid", "softmax"), "What turns them into probabilities"),
    "network": ("Network", "", "Its name, where the file holds weights alone, such as UNet"),
    "arguments": ("Arguments", "", 'Of the network, as JSON, such as {"spatial_dims": 3, "channels": [16, 32]}'),
    "configuration": ("Configuration", "", "Of an nnU-Net, such as 3d_fullres"),
    "fold": ("Fold", "", "Of an nnU-Net, such as 0"),
    "licence": ("Licence", "", "Under which the model may be used"),
}  # fmt: skip
"""What can be given: the label, the choices or "" for a text, and what it means."""
PLAIN = ("name", "task", "axes", "output", "network", "configuration", "fold", "licence")
"""Fields that the importer takes as they are typed."""
NEEDED_FOR = {"preprocessing": ("kind", "window"), "window": ("window",)}
"""What the importer calls otherwise than the form."""


class ImportModel:
    """Asks for a model, has it read in the background, and asks again for what is missing.

    Parameters
    ----------
    controller : Controller
    parent : QWidget
        What questions belong to.
    """

    def __init__(self, controller: Controller, parent: QWidget) -> None:
        self._controller, self._parent = controller, parent

    def ask_for_file(self) -> None:
        """Let a file be chosen."""
        name, _ = QFileDialog.getOpenFileName(self._parent, "Import a model from a file", "", FILES)
        if name:
            self.start(Path(name))

    def ask_for_folder(self) -> None:
        """Let a folder be chosen."""
        if name := QFileDialog.getExistingDirectory(
            self._parent, "Import a bundle, MONAI bundle or nnU-Net folder"
        ):
            self.start(Path(name))

    def start(self, path: Path, said: dict[str, str] | None = None) -> None:
        """Import a model, with what a person said of it."""
        values = said or {}
        try:
            options = options_from(values)
        except InputRefusedError as error:
            self._ask(path, values, error)
            return
        self._controller.models.import_model(
            path, options, lambda error: self._on_refused(path, values, error)
        )

    def _on_refused(self, path: Path, said: dict[str, str], error: InputRefusedError) -> None:
        if error.code in ASKED or said:
            self._ask(path, said, error)
        else:
            self._controller.show_error(error)

    def _ask(self, path: Path, said: dict[str, str], error: InputRefusedError) -> None:
        form = ImportForm(path.name, said, error, self._parent)
        form.accepted.connect(lambda: self.start(path, form.values))
        form.open()


class ImportForm(QDialog):
    """Says why a model is not imported yet, and takes what a person knows about it.

    Parameters
    ----------
    name : str
        Of the file or folder.
    said : dict
        What was given before, by field.
    error : InputRefusedError
    """

    def __init__(
        self, name: str, said: dict[str, str], error: InputRefusedError, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"About {name}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.fields: dict[str, QComboBox | QLineEdit] = {}
        inside = QWidget()
        form = QFormLayout(inside)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        missing = missing_fields(error)
        for key, (label, choices, tip) in FIELDS.items():
            field = self.fields[key] = _field(choices, said.get(key, ""))
            field.setToolTip(tip)
            if isinstance(field, QLineEdit):
                field.setPlaceholderText(tip if key in missing else "" if key in UNASKED else UNSAID)
            elif key in missing:
                field.setItemText(0, CHOOSE)
            title = QLabel(f"{label} – needed" if key in missing else label)
            title.setToolTip(tip)
            bold = title.font()
            bold.setBold(key in missing)
            title.setFont(bold)
            form.addRow(title, field)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(inside)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        buttons.button(QDialogButtonBox.StandardButton.Ok).setText("Import")
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self.reason = note(_without_flags(str(error)))
        column = QVBoxLayout(self)
        column.addWidget(self.reason)
        column.addWidget(area, stretch=1)
        column.addWidget(buttons)
        self.resize(*SIZE)
        if missing:
            self.fields[missing[0]].setFocus()

    @property
    def values(self) -> dict[str, str]:
        """What is in the fields, by name; empty ones left out."""
        texts = {key: _text(field).strip() for key, field in self.fields.items()}
        return {key: text for key, text in texts.items() if text}


def missing_fields(error: InputRefusedError) -> list[str]:
    """Return the fields that a refusal asks for, in the order of the form; empty where it names none."""
    named = re.findall(
        r"--([a-z]+)", f"{error.message} {error.hint if 'nothing of' in error.message else ''}"
    )
    wanted = {key for name in named for key in NEEDED_FOR.get(name, (name,))}
    return [key for key in FIELDS if key in wanted]


def options_from(values: dict[str, str]) -> ImportOptions:
    """Return what was typed as the importer takes it.

    Raises
    ------
    InputRefusedError
        Where numbers or JSON cannot be read.
    """
    kind, preprocessing = values.get("kind", ""), dict[str, Any]()
    if kind:
        preprocessing["kind"] = kind
    if spacing := _numbers(values.get("spacing", ""), "spacing"):
        name = "spacing_um" if kind == "slide" else "spacing_mm"
        preprocessing[name] = spacing[0] if len(spacing) == 1 else spacing
    if window := _numbers(values.get("window", ""), "window"):
        preprocessing["window"] = window
    said: dict[str, Any] = {key: values.get(key, "") for key in PLAIN}
    return ImportOptions(
        arguments=_arguments(values.get("arguments", "")),
        classes=tuple(label.strip() for label in values.get("classes", "").split(",") if label.strip()),
        preprocessing=preprocessing, **said,
    )  # fmt: skip


def _arguments(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise InputRefusedError(f"The arguments are no JSON: {error}", code="model-incomplete",
                                hint='Write them as {"name": value, …}.') from error  # fmt: skip
    if not isinstance(found, dict):
        raise InputRefusedError("The arguments are no JSON object.", code="model-incomplete",
                                hint='Write them as {"name": value, …}.')  # fmt: skip
    return found


def _numbers(text: str, what: str) -> list[float]:
    try:
        return [float(part) for part in re.split(r"[\s,;]+", text.strip()) if part]
    except ValueError as error:
        raise InputRefusedError(f"{text!r:.40} is no {what}.", code="model-incomplete",
                                hint="Give numbers, separated by commas.") from error  # fmt: skip


def _without_flags(text: str) -> str:
    """Return a refusal in the words of the form: on the command line the same things have names with dashes."""

    def title(found: re.Match[str]) -> str:
        keys = NEEDED_FOR.get(found[1], (found[1],))
        return " and ".join(FIELDS[key][0].lower() if key in FIELDS else key for key in keys)

    return re.sub(r"--([a-z]+)", title, re.sub(r" \(or --[a-z]+\)", "", text))


def _field(choices: str | tuple[str, ...], value: str) -> QComboBox | QLineEdit:
    if isinstance(choices, str):
        return QLineEdit(value)
    box = chooser()
    for choice in choices:
        box.addItem(choice or UNSAID, choice)
    box.setCurrentIndex(max(box.findData(value), 0))
    return box


def _text(field: QComboBox | QLineEdit) -> str:
    return field.text() if isinstance(field, QLineEdit) else str(field.currentData() or "")
