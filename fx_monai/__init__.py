"""fx_monai: chest X-ray models trained on every annotation there is. Research use only."""

__version__ = "0.1.0"
