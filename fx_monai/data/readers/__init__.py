"""One short file per dataset: native tree to records.

A reader is a module with ``OPTIONS`` (names of its options) and ``read(root, *, name, options) -> ReadResult``.
"""
