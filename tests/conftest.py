import sqlite3
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


@pytest.fixture(scope="session")
def _mlflow_template(tmp_path_factory):
    """Make an empty MLflow database once: its two dozen migrations take seconds."""
    from fx_monai.tracking.store import TrackingStore

    path = tmp_path_factory.mktemp("mlflow") / "template.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        TrackingStore(path, print).connect()
    return path


@pytest.fixture
def mlflow_database(_mlflow_template, tmp_path) -> Path:
    """Return an empty MLflow database in the test's folder, where a run in a folder beside it looks for it."""
    path = tmp_path / "mlruns.db"
    with sqlite3.connect(_mlflow_template) as template, sqlite3.connect(path) as copy:
        template.backup(copy)
    return path


@pytest.fixture
def real_data() -> Path:
    """Return the folder of real radiographs, or skip."""
    if not (SHARED / "data" / "cxr").is_dir():
        pytest.skip("the real radiographs are not here")
    return SHARED / "data" / "cxr"
