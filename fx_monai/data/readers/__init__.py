"""One short file per dataset: native tree to records, see :class:`fx_monai.data.readers.result.Reader`."""
