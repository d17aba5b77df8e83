"""One short file per dataset: native tree to records."""
