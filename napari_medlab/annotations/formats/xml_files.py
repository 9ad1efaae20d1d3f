"""XML files from outside: bounded in size and depth, without entities, each fault told by its line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError, TreeBuilder

from napari_medlab.annotations.formats.files import unreadable
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_ELEMENTS", "begins_with", "local_name", "parse"]

MAX_BYTES = 256 << 20
MAX_DEPTH = 64
MAX_ELEMENTS = 5_000_000
SNIFFED_BYTES = 4096
PIECE_BYTES = 1 << 20


def parse(path: str | Path, *, max_bytes: int = MAX_BYTES) -> Element:
    """Return the root element of an XML file.

    Document type definitions, entities and references to other files are refused, whatever they say.

    Parameters
    ----------
    path : str or Path
    max_bytes : int
        The greatest size of the file.

    Raises
    ------
    InputRefusedError
        With code ``"file"`` where there is no readable file, and ``"xml"`` where it is too large, nested deeper than 64
        elements, has more than 5,000,000 of them, declares entities, or is no XML; the message names the line.
    """
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    path = Path(path)
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise _refused(path, f"it has {size:,} bytes, and no more than {max_bytes:,} are read")
        parser = DefusedXMLParser(target=_BoundedBuilder(), forbid_dtd=True)
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                parser.feed(piece)
        root: Element = parser.close()
    except OSError as error:
        raise unreadable(path, error) from error
    except ParseError as error:
        raise _refused(path, f"line {error.position[0]}: {error.msg}") from error
    except DefusedXmlException as error:
        raise _refused(path, "it declares entities or a document type, which may hide anything") from error
    except _TooMuchError as error:
        raise _refused(path, f"line {parser.parser.CurrentLineNumber}: {error}") from error
    except (LookupError, ValueError) as error:  # what an unknown encoding raises
        if isinstance(error, InputRefusedError):
            raise
        raise _refused(path, f"it cannot be decoded: {error}") from error
    return root


def begins_with(path: str | Path, *names: bytes) -> bool:
    """Tell whether a file begins as XML and one of the names stands in its first 4,096 bytes; never raises."""
    try:
        with Path(path).open("rb") as file:
            beginning = file.read(SNIFFED_BYTES)
    except OSError:
        return False
    return beginning.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and any(
        name in beginning for name in names
    )


def local_name(element: Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


class _TooMuchError(Exception):
    """The document is nested too deeply, or has too many elements."""


class _BoundedBuilder(TreeBuilder):
    """Builds a tree and stops where it grows beyond measure."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._count = 0

    def start(self, tag: Any, attrs: Any, /) -> Any:  # noqa: ANN401 - as the parser hands them over
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH:
            raise _TooMuchError(f"elements are nested deeper than {MAX_DEPTH}")
        if self._count > MAX_ELEMENTS:
            raise _TooMuchError(f"there are more than {MAX_ELEMENTS:,} elements")
        return super().start(tag, attrs)

    def end(self, tag: Any, /) -> Any:  # noqa: ANN401 - as the parser hands it over
        self._depth -= 1
        return super().end(tag)


def _refused(path: Path, what: str) -> InputRefusedError:
    return InputRefusedError(
        f"{path.name} is not used: {what}.", code="xml", hint="Export the file again from its source."
    )
