"""Image file formats: each module reads one kind of file as (H, W) values and tells its size without decoding.

They raise :class:`~fx_monai.data.formats.error.FormatError` or whatever their library raises;
:mod:`fx_monai.data.pixels` turns both into a message and checks the size before anything is decoded.
"""
