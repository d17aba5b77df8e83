"""What tracking costs: processor time of a write of losses and scores beside the training between two writes.

    python -m tests.benchmarks.tracking

The history is that of a training on the 20 tasks of Foundation X; losses are written every 10 seconds at most.
"""

import tempfile
import time
from pathlib import Path

from fx_monai.engine.history import History
from fx_monai.tracking.description import Description
from fx_monai.tracking.store import TrackingStore
from fx_monai.tracking.tracker import EVERY_SECONDS, MLflowTracker
from fx_monai.types import Kind, Mode, Task

TASKS = [Task(f"dataset_{number}", kind) for number in range(7) for kind in Kind][:20]
METRICS = {Kind.CLASSIFICATION: "auc", Kind.LOCALIZATION: "ap40", Kind.SEGMENTATION: "dice_positive"}


def phases(step):
    losses = dict.fromkeys(("loss", "task_loss", "consistency_loss", "gradient_norm", "a", "b", "c"), 0.5)
    return [
        {"dataset": t.dataset, "kind": t.kind.value, "mode": mode.value, "step": step, "seconds": 1.0, **losses}
        for t in TASKS
        for mode in Mode
    ]


def scores(cycle):
    return [
        {"dataset": t.dataset, "kind": t.kind.value, "split": "val", "model": model, "cycle": cycle, "value": 0.5}
        | {"metric": metric}
        for t in TASKS
        for model in ("student", "teacher")
        for metric in (METRICS[t.kind], *(f"{METRICS[t.kind]}/class {n}" for n in range(14)))
    ]


def main():
    with tempfile.TemporaryDirectory() as folder:
        history = History()
        tracker = MLflowTracker(
            TrackingStore(Path(folder) / "m.db", print),
            experiment="benchmark",
            run_name="benchmark",
            describe=lambda: Description({}, tasks={task: {} for task in TASKS}),
            history=history,
        )
        tracker.start()
        spent = {"one phase": [], "a cycle with validation": []}
        for cycle in range(1, 6):
            rows = phases(cycle)
            for name, new in (("one phase", rows[:1]), ("a cycle with validation", rows[1:])):
                history.phases += new
                if len(new) > 1:
                    history.scores += scores(cycle)
                started = time.process_time()
                assert tracker.write()
                spent[name].append(time.process_time() - started)
        tracker.finish()
    for name, seconds in spent.items():
        middle = sorted(seconds)[len(seconds) // 2]
        print(
            f"{name}: {1000 * middle:.0f} ms, {100 * middle / EVERY_SECONDS:.2f} % of {EVERY_SECONDS:.0f} s of training"
        )


if __name__ == "__main__":
    main()
