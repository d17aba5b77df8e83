"""What is wrong with a file, in words that :mod:`fx_monai.data.pixels` can show."""

from __future__ import annotations


class FormatError(ValueError):
    """The file is not what its format says, or holds something that isn't one grey image."""
