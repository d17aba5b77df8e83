"""The verbs of the command line, one function each: its parameters are the flags, its docstring the help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fx_monai.verbs.data import audit, cache, datasets, demo, index, show
from fx_monai.verbs.evidence import compare, evaluate, report
from fx_monai.verbs.training import finetune, train
from fx_monai.verbs.use import embed, maps, predict
from fx_monai.verbs.weights import bundle, convert_weights, export

VERBS: dict[str, Callable[..., Any]] = {
    verb.__name__.replace("_", "-"): verb
    for verb in (
        demo,
        datasets,
        index,
        show,
        audit,
        cache,
        train,
        finetune,
        evaluate,
        compare,
        report,
        predict,
        embed,
        maps,
        convert_weights,
        export,
        bundle,
    )
}
