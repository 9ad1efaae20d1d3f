"""The card of a model in a window of its own: what it was made for, how good it was, where it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QTextCursor, QTextDocument
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QTextBrowser, QVBoxLayout

from napari_medlab.models.bundles import card_of
from napari_medlab.models.bundles.bundle import CARD
from napari_medlab.widgets.panels.panel import note

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_medlab.models.bundles import Bundle

__all__ = ["CardBrowser", "CardDialog", "read_card"]

MOST_BYTES = 1 << 20
SIZE = (640, 620)


class CardBrowser(QTextBrowser):
    """Shows Markdown of unknown origin: no HTML in it counts, no link is followed, and nothing is loaded."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setOpenLinks(False)
        self.setOpenExternalLinks(False)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )

    def show_card(self, text: str) -> None:
        """Show Markdown."""
        features = QTextDocument.MarkdownFeature
        self.document().setMarkdown(text, features.MarkdownDialectGitHub | features.MarkdownNoHTML)
        self.moveCursor(QTextCursor.MoveOperation.Start)

    def loadResource(self, kind: int, name: QUrl | str) -> Any:  # noqa: N802 - a name of Qt
        """Load nothing: a card names no files and no addresses."""
        return None


class CardDialog(QDialog):
    """The card of one model, with its address.

    Parameters
    ----------
    bundle : Bundle
    text : str
        The card, Markdown.
    """

    def __init__(self, bundle: Bundle, text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"About {bundle.title}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.browser = CardBrowser(self)
        self.browser.show_card(text)
        address = note(f"{bundle.hash}\n{bundle.folder}")
        address.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        address.setToolTip("The hash of the model, by which runs name it, and where it lies")
        # a hash has no spaces to break a line at
        address.setText(f"{bundle.hash[:32]} {bundle.hash[32:]}\n{bundle.folder}".replace("/", "/\u200b"))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(self.browser, stretch=1)
        column.addWidget(address)
        column.addWidget(buttons)
        self.resize(*SIZE)


def read_card(bundle: Bundle) -> str:
    """Return the card of a bundle; one that is missing or not to be read is made from the spec. Call it off the GUI thread."""
    path = bundle.folder / CARD
    try:
        if path.is_symlink():
            return card_of(bundle.spec)
        with path.open("rb") as file:
            return file.read(MOST_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return card_of(bundle.spec)
