"""Schedule, Lock-Release, teacher, trainer, evaluator."""
