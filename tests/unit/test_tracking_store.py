"""Stores that can't be used are refused with a plain message; stores that fail later are left alone for a while."""

import pytest

from fx_monai.errors import ConfigError
from fx_monai.tracking.store import TrackingStore


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("htp://host", "unsupported URI"),
        ("/some/folder/mlruns", "filesystem tracking backend"),
        ("http://jane:secret@127.0.0.1:9", "Max retries exceeded"),
        ("postgresql://jane:secret@127.0.0.1:9/m", "psycopg|refused"),
    ],
)
def test_unusable_addresses_are_refused(tmp_path, monkeypatch, address, reason):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store = TrackingStore(tmp_path / "unused" / "m.db", print)
    with pytest.raises(ConfigError, match=reason) as error:
        store.connect()
    assert "secret" not in str(error.value)
    assert "--set tracking.enabled=false" in str(error.value)
    assert not (tmp_path / "unused").exists()


def test_a_damaged_database_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "m.db").write_bytes(b"no database" * 500)
    with pytest.raises(ConfigError, match="file is not a database"):
        TrackingStore(tmp_path / "m.db", print).connect()
    assert (tmp_path / "m.db").read_bytes() == b"no database" * 500


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Not a directory|File exists"):
        TrackingStore(tmp_path / "file" / "m.db", print).connect()


def test_environment_goes_first_and_its_files_lie_beside_its_database(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other' / 'm.db'}")
    store = TrackingStore(tmp_path / "m.db", print)
    assert store.artifacts == (tmp_path / "other" / "mlruns").as_uri()
    assert store.command == f"mlflow ui --backend-store-uri sqlite:///{tmp_path / 'other' / 'm.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://jane:secret@host/")
    store = TrackingStore(tmp_path / "m.db", print)
    assert (store.artifacts, store.command) == (None, "https://host/")


def test_a_failing_store_is_asked_less_and_less_often(tmp_path, monkeypatch):
    now, said, asked = [1000.0], [], []
    monkeypatch.setattr("fx_monai.tracking.store.time.monotonic", lambda: now[0])
    store = TrackingStore(tmp_path / "m.db", said.append)

    def fail():
        asked.append(now[0] - 1000)
        raise OSError("no space left on device")

    while now[0] < 1000 + 8000:
        assert not store.attempt(fail)
        now[0] += 10
    assert asked == [0, 60, 180, 420, 900, 1860, 3780, 7380]
    assert len(said) == 1
    assert store.attempt(lambda: None, insist=True)
    assert store.attempt(lambda: None)
    assert said[1:] == ["note: MLflow answers again; what was missing is written"]
