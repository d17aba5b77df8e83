"""``python -m fx_monai`` is the command ``fx-monai``."""

import sys

from fx_monai.cli import main

sys.exit(main())
