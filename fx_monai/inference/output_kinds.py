"""The kinds of files that a prediction can write."""

from __future__ import annotations

from enum import StrEnum

from fx_monai.errors import ConfigError, did_you_mean


class Output(StrEnum):
    """A kind of file."""

    JSON = "json"
    MASKS = "masks"
    """Each mask as PNG, 0 or 255, of the source's size."""
    NIFTI = "nifti"
    """Each mask as NIfTI, 0 or 1, in the source's geometry."""
    OVERLAY = "overlay"
    SEG = "seg"
    SR = "sr"


DEFAULT_OUTPUTS = (Output.JSON, Output.MASKS, Output.OVERLAY, Output.SEG, Output.SR)


def parse_outputs(words: str) -> tuple[Output, ...]:
    """Read kinds of files, separated by commas; the JSON is always written.

    Raises:
        ConfigError: no such kind.
    """
    chosen = [Output.JSON]
    for word in filter(None, (word.strip() for word in words.split(","))):
        if word not in list(Output):
            raise ConfigError(
                where="--write",
                problem=f"there is no '{word}'. {did_you_mean(word, list(Output))}".rstrip(),
                expected=f"some of {', '.join(Output)}, separated by commas",
                remedy="Correct the word",
            )
        chosen.append(Output(word))
    return tuple(dict.fromkeys(chosen))
