"""The demo cohort: generated radiograph-like phantoms in native formats."""
