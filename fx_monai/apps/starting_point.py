"""Where a fine-tuning begins: trained weights, ImageNet or chance, as values of the recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fx_monai.errors import ConfigError, did_you_mean
from fx_monai.models.continual import read_card, read_weights

WORDS = ("imagenet", "random")
_HUB = "timm:"


@dataclass(frozen=True)
class StartingPoint:
    """A start, by name and as values of the recipe.

    Args:
        name: in tables and file names.
        values: of the recipe by dotted key; none of them touches anything but network and weights.
        trained_on: tasks (``dataset/kind``) that the weights have learnt; empty where that isn't known.
    """

    name: str
    values: Mapping[str, Any]
    trained_on: tuple[str, ...] = ()


def starting_point(word: str, *, like: StartingPoint | None = None) -> StartingPoint:
    """Return what the user names: ``imagenet``, ``random``, ``timm:NAME``, or the path of weights.

    Weights of a network (``model.pt``, a checkpoint, converted weights of Ark and Foundation X) bring their
    architecture with them; weights of a backbone alone need the recipe's network.

    Args:
        word: what the user wrote.
        like: start whose architecture ``imagenet``, ``random`` and ``timm:NAME`` take, so that a comparison is of
            weights alone.

    Raises:
        ConfigError: neither a word nor a file.
        CheckpointError: a file that holds no weights.
    """
    network = {key: value for key, value in (like.values if like else {}).items() if key == "model"}
    if word == "random":
        # the statistics of BatchNorm are part of what ImageNet gives; a network without any has to collect its own
        chance = {"model.backbone.pretrained": "none", "model.backbone.train_norm_statistics": True}
        return StartingPoint(word, {**network, **chance})
    if word == "imagenet" or word.startswith(_HUB):
        weights = "auto" if word == "imagenet" else word
        return StartingPoint(word.removeprefix(_HUB), {**network, "model.backbone.pretrained": weights})
    path = Path(word)
    if not path.is_file():
        raise ConfigError(
            where="weights to start from",
            problem=f"there is no file '{word}'. {did_you_mean(word, WORDS)}".rstrip(),
            expected=f"model.pt of a run, converted weights, {' or '.join(WORDS)}, or {_HUB}NAME",
            remedy="Correct the path",
        )
    name = path.parent.name if path.stem in ("model", "checkpoint") and path.parent.name else path.stem
    state = read_weights(path)
    card = read_card(state, path)
    if card is None:
        return StartingPoint(name, {**network, "model.backbone.pretrained": word})
    config, specs = card
    model = dataclasses.asdict(config)
    model["backbone"]["pretrained"] = "none"
    return StartingPoint(name, {"model": model, "init_from": word}, tuple(str(spec.task) for spec in specs))
