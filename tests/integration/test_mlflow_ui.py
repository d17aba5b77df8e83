"""What a user sees: MLflow's own server on a training, in a real browser."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from PIL import Image

from fx_monai.apps.training import TrainingSession
from tests.browser import BROWSER, NEEDS_BROWSER
from tests.builders import tiny_data_root, tiny_recipe

pytestmark = NEEDS_BROWSER


@pytest.fixture
def server(tmp_path, mlflow_database):
    """Train the tiny recipe and serve its database; yield address and tracker."""
    recipe = str(tiny_recipe(tmp_path / "recipe.yaml"))
    session = TrainingSession(recipe, data_root=tiny_data_root(tmp_path / "data"), output_dir=tmp_path / "out")
    session.trainer().run()
    session.finish()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    host, port = address.split(":")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{mlflow_database}"]
    command += ["--host", host, "--port", port, "--workers", "1"]
    quiet = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    # a group of its own: the server starts processes that outlive it
    process = subprocess.Popen(command, env=quiet, cwd=tmp_path, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://{address}/health", process)
        yield f"http://{address}", session.tracker
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(address, process):
    for _ in range(600):
        assert process.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server doesn't answer")


def look(address, folder):
    """Return the text of a page when its scripts have run, and a screenshot."""
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={folder / 'browser'}", "--window-size=1600,1000", "--virtual-time-budget=40000"]
    command += [f"--screenshot={folder / 'page.png'}", "--dump-dom", address]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return result.stdout, Image.open(folder / "page.png")


def test_runs_metrics_and_model_are_shown(server, tmp_path):
    address, tracker = server
    experiment = f"{address}/#/experiments/{tracker.experiment_id}"
    pages = {
        f"{experiment}/runs": ["tiny-seed0", "coco (", "+1"],
        f"{experiment}/runs/{tracker.run_id}/model-metrics": ["test/coco/segmentation/dice_positive", "Model metrics"],
        f"{address}/#/models/fx_monai": ["fx_monai", "Research use only", "Version 1"],
    }
    for page, words in pages.items():
        text, picture = look(page, tmp_path)
        assert [word for word in words if word not in text] == [], page
        assert len(picture.convert("RGB").getcolors(maxcolors=2**24)) > 50
