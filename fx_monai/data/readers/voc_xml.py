"""Pascal VOC XML, one file per image. Document types and entities are refused: they can expand without end."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from fx_monai.errors import DataError

Corners = tuple[float, float, float, float]


def read_voc_boxes(path: Path, *, frame: tuple[int, int]) -> list[tuple[str, Corners]]:
    """Return class name and x1, y1, x2, y2 (right and bottom exclusive) of every object, scaled to a frame.

    VOC counts pixels of the annotated image from 1 and includes the last one.

    Args:
        path: the file.
        frame: (width, height) in pixels that the annotated image was scaled to.

    Raises:
        DataError: not such XML, or XML with a document type.
    """
    try:
        root = fromstring(path.read_bytes(), forbid_dtd=True)
        width, height = (float(_text(root, f"size/{side}")) for side in ("width", "height"))
        if width < 1 or height < 1:
            raise ValueError(f"size {width:g} x {height:g}")
        scale = (frame[0] / width, frame[1] / height)
        return [(_text(item, "name"), _corners(item, scale)) for item in root.iter("object")]
    except DefusedXmlException as error:
        raise _bad(path, "it declares a document type or entities") from error
    except (ParseError, ValueError) as error:
        raise _bad(path, f"unreadable ({error})") from error


def _corners(item: Element, scale: tuple[float, float]) -> Corners:
    x1, y1, x2, y2 = (float(_text(item, f"bndbox/{name}")) for name in ("xmin", "ymin", "xmax", "ymax"))
    return (x1 - 1) * scale[0], (y1 - 1) * scale[1], x2 * scale[0], y2 * scale[1]


def _text(node: Element, path: str) -> str:
    found = node.findtext(path)
    if found is None or not found.strip():
        raise ValueError(f"there is no {path}")
    return found.strip()


def _bad(path: Path, problem: str) -> DataError:
    return DataError(
        where=path.name,
        problem=problem,
        expected="VOC XML with size and objects, without a document type",
        remedy="Download the file again or correct it",
    )
