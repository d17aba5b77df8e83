"""The selected weights as a model of MLflow: logged with the run, registered, loaded without pickled code."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fx_monai import __version__

if TYPE_CHECKING:
    from fx_monai.tracking.tracker import MLflowTracker

MODEL_NAME = "fx_monai"
LOADER = "fx_monai.apps.mlflow_model"
"""Module that MLflow asks for the model: the package itself, so nothing is pickled."""

_REQUIREMENTS = [f"fx_monai=={__version__}"]
_VERSION_TAG = "fx_monai.model_version"


def log_model(tracker: MLflowTracker, weights: Path, tags: Mapping[str, str], *, register: bool) -> str:
    """Log the weights as a model of the training's run; return its version in the registry, "" when not registered.

    A run has one model: a run that was finished before keeps the version it has.
    """
    client, run_id = tracker.store.client, tracker.run_id
    known = client.get_run(run_id).data.tags.get(_VERSION_TAG)
    if known is not None:
        return str(known)
    from mlflow.entities import LoggedModelOutput

    logged = client.create_logged_model(
        tracker.experiment_id, name="model", source_run_id=run_id, tags=dict(tags), model_type="fx_monai"
    )
    with tempfile.TemporaryDirectory() as folder:
        _save(Path(folder) / "model", weights, logged.model_id, run_id)
        client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    version = _register(client, logged, run_id, tags) if register else ""
    client.set_tag(run_id, _VERSION_TAG, version)
    return version


def _save(folder: Path, weights: Path, model_id: str, run_id: str) -> None:
    import mlflow.pyfunc
    from mlflow.models import Model

    from fx_monai.tracking.signature import prediction_signature

    # MLflow would copy pyproject.toml and uv.lock of the folder the user is in
    before = os.environ.get("MLFLOW_UV_AUTO_DETECT")
    os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"
    try:
        with warnings.catch_warnings():
            # there is no example of an image path that is valid everywhere
            warnings.filterwarnings("ignore", message=".*input example was not provided")
            mlflow.pyfunc.save_model(
                str(folder),
                loader_module=LOADER,
                data_path=str(weights),
                mlflow_model=Model(model_id=model_id, run_id=run_id, model_uuid=model_id),
                signature=prediction_signature(),
                pip_requirements=_REQUIREMENTS,
            )
    finally:
        os.environ.pop("MLFLOW_UV_AUTO_DETECT")
        if before is not None:
            os.environ["MLFLOW_UV_AUTO_DETECT"] = before


def _register(client: Any, logged: Any, run_id: str, tags: Mapping[str, str]) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(
            MODEL_NAME, description="Findings, boxes and masks of frontal chest radiographs. Research use only."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # a server resolves the id; the store of a database would look for it in another store, the user's default
    remote = client.tracking_uri.startswith("http")
    source = f"models:/{logged.model_id}" if remote else logged.artifact_location
    made = client.create_model_version(
        MODEL_NAME, source=source, run_id=run_id, tags=dict(tags), model_id=logged.model_id
    )
    return str(made.version)
