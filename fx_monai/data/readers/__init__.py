"""One short file per dataset: native tree to records.

A reader is a module with ``read(root, *, options) -> ReadResult``.
"""
