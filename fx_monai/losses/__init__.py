"""Losses, one per file: tensors in, scalars out."""
