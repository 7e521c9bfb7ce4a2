"""Packages, folder mapping and extras; the rest of the configuration is in pyproject.toml."""

from setuptools import find_packages, setup

# kernels/ and cli/ stand at the top of the checkout and are installed as cmah.kernels and cmah.cli.
# They have no __init__.py: a top-level package named "kernels" on the path would shadow another distribution.
packages = [*find_packages(include=["cmah", "cmah.*"]), "cmah.kernels", "cmah.cli"]

prepare = ["trimesh>=4.6", "embreex>=4.4", "pillow>=10.3", "scipy>=1.11", "mapbox_earcut>=1.0.1"]
train = [
    *prepare,
    "torch>=2.3",
    "torchvision>=0.18",
    "timm>=1.0.9",
    "open_clip_torch>=2.26",
    "scikit-learn>=1.4",
    "safetensors>=0.4.3",
    "matplotlib>=3.8",
]
report = ["matplotlib>=3.8", "scikit-learn>=1.4", "jinja2>=3.1", "pillow>=10.3"]
chat = ["openai>=1.40"]
docs = ["mkdocs-material>=9.6", "mkdocstrings-python>=1.16", "mkdocs-jupyter>=0.25"]
dev = [
    *chat,
    *docs,
    "faiss-cpu>=1.9",
    "usearch>=2.15",
    "pytest>=8",
    "pytest-cov>=5",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "nbclient>=0.10",
    "ipykernel>=6.29",
    "pre-commit>=4",
    "ruff==0.17.5",
    "mypy==2.4.1",
    "build>=1.2",
]

setup(
    packages=packages,
    package_dir={"cmah": "cmah", "cmah.kernels": "kernels", "cmah.cli": "cli"},
    package_data={
        "cmah": ["py.typed"],
        "cmah.landmarks": ["landmarks.json"],
        "cmah.report": ["page_template.html"],
    },
    extras_require={
        "prepare": prepare,
        "train": train,
        "report": report,
        "chat": chat,
        "docs": docs,
        "dev": dev,
        "all": sorted({*train, *report}),
    },
)
