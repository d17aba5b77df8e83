"""MetaImage ``.mha`` and ``.mhd`` of one grey slice (NODE21); rows are the slow axis, so nothing is transposed.

Format: https://itk.org/Wiki/MetaIO/Documentation. Little-endian unless the header says otherwise.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fx_monai.data.formats.error import FormatError

_TYPES = {
    "MET_UCHAR": "u1",
    "MET_CHAR": "i1",
    "MET_USHORT": "u2",
    "MET_SHORT": "i2",
    "MET_UINT": "u4",
    "MET_INT": "i4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    dtype: np.dtype[Any]
    compressed: bool
    data_file: str
    end: int


def size(path: Path) -> tuple[int, int]:
    """Return (width, height).

    Raises:
        FormatError: not a MetaImage of one grey slice.
    """
    header = _header(path)
    return header.width, header.height


def read(path: Path) -> NDArray[Any]:
    """Return (H, W) values of the file's own type.

    Raises:
        FormatError: not a MetaImage of one grey slice, or its data are cut or belong to another size.
    """
    header = _header(path)
    local = header.data_file == "LOCAL"
    with (path if local else path.parent / header.data_file).open("rb") as file:
        file.seek(header.end if local else 0)
        data = file.read()
    expected = header.width * header.height * header.dtype.itemsize
    if header.compressed:
        # no more than the image holds, whatever the file would unpack to
        data = zlib.decompressobj().decompress(data, expected + 1)
    if len(data) != expected:
        raise FormatError(f"{len(data)} bytes of pixels instead of {expected}")
    return np.frombuffer(data, header.dtype).reshape(header.height, header.width)


def header_fields(path: Path) -> dict[str, str]:
    """Return the lines of the header by their key.

    Raises:
        FormatError: not a MetaImage.
    """
    return _fields(path)[0]


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the header's lines and where the header ends."""
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    fields: dict[str, str] = {}
    end = 0
    while "ElementDataFile" not in fields:
        line_end = start.find(b"\n", end)
        if line_end < 0:
            raise FormatError("not a MetaImage: the header has no ElementDataFile")
        key, equals, value = start[end:line_end].decode("latin-1").partition("=")
        if not equals:
            raise FormatError("not a MetaImage: a header line without '='")
        fields[key.strip()] = value.strip()
        end = line_end + 1
    return fields, end


def _header(path: Path) -> _Header:
    fields, end = _fields(path)
    sides = [int(side) for side in fields.get("DimSize", "").split()]
    if len(sides) < 2 or min(sides) < 1 or math.prod(sides[2:]) != 1:
        raise FormatError(f"the size is '{fields.get('DimSize', '')}', not one slice")
    channels, kind = fields.get("ElementNumberOfChannels", "1"), fields.get("ElementType", "")
    if channels != "1" or kind not in _TYPES:
        raise FormatError(f"{channels} channels of type '{kind}', not one of a known type")
    if Path(fields["ElementDataFile"]).name != fields["ElementDataFile"] or " " in fields["ElementDataFile"]:
        raise FormatError("the pixels are not in the file itself or one file beside it")
    swapped = {fields.get(key, "False") for key in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")} != {"False"}
    return _Header(
        width=sides[0],
        height=sides[1],
        dtype=np.dtype((">" if swapped else "<") + _TYPES[kind]),
        compressed=fields.get("CompressedData", "False") == "True",
        data_file=fields["ElementDataFile"],
        end=end,
    )
