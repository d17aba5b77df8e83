from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SHARED = Path(__file__).resolve().parents[2] / "shared"

# no test depends on how busy the machine is
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """Keep image stores and MLflow of a test in its own folder."""
    monkeypatch.setenv("FX_MONAI_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def real_data() -> Path:
    """Return the folder of real radiographs, or skip."""
    if not (SHARED / "data" / "cxr").is_dir():
        pytest.skip("the real radiographs are not here")
    return SHARED / "data" / "cxr"
