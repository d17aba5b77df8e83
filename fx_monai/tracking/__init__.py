"""MLflow: what a training leaves in a tracking store. Nothing in here knows how a network is trained."""
