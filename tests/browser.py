"""A browser for tests of what a user sees."""

import shutil

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
NEEDS_BROWSER = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")]
