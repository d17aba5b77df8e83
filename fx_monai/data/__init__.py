"""Native files to manifests, manifests to samples."""
