"""Packages, folder mapping and extras; the rest of the configuration is in pyproject.toml."""

import os
from contextlib import AbstractContextManager
from typing import Any

from setuptools import find_packages, setup
from setuptools.command.editable_wheel import editable_wheel

# kernels/ and cli/ stand at the top of the checkout and are installed as cmah.kernels and cmah.cli.
# They have no __init__.py: a top-level package named "kernels" on the path would shadow another distribution.
packages = [*find_packages(include=["cmah", "cmah.*"]), "cmah.kernels", "cmah.cli"]

# each of these only for glTF files that are compressed so, on the systems that it has wheels for
wheels = "platform_machine in 'x86_64 AMD64 arm64 aarch64'"
compressed = [
    f"DracoPy>=2.0; {wheels}",
    f"meshopt>=0.1; {wheels}",
    f"opengl-basisu>=0.1.0a2; {wheels} and (sys_platform != 'linux' or platform_machine == 'x86_64')",
]
prepare = ["embreex>=4.4", "mapbox_earcut>=1.0.1", "pillow>=10.3", "scipy>=1.11", *compressed]
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
    "trimesh>=4.6",
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

# Python takes a folder named cmah without __init__.py, such as the clone seen from the folder that it lies in, for a
# package, before it asks the finder that setuptools installs for an editable install. This one is asked before.
FINDER = f'''"""Finds the editable install of cmah where a folder of that name would hide it."""

import sys


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "cmah":
            return None
        from importlib.machinery import PathFinder
        from importlib.util import spec_from_file_location

        found = PathFinder.find_spec(name)
        if found is None or found.origin is not None:  # a package with a file goes first, as ever
            return None
        return spec_from_file_location(name, {os.path.abspath("cmah/__init__.py")!r})


sys.meta_path.insert(0, Finder)
'''


class EditableWheel(editable_wheel):
    """The wheel of an editable install, with the finder beside what setuptools puts in it."""

    def _select_strategy(self, *arguments: Any) -> Any:
        return _WithFinder(super()._select_strategy(*arguments))


class _WithFinder(AbstractContextManager[Any]):
    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy

    def __call__(self, wheel: Any, *arguments: Any) -> None:
        self.strategy(wheel, *arguments)
        wheel.writestr("_cmah_finder.py", FINDER)
        wheel.writestr("_cmah_finder.pth", "import _cmah_finder\n")

    def __exit__(self, *_: object) -> None:
        pass  # that of setuptools warns of the folders that are taken care of here


setup(
    packages=packages,
    cmdclass={"editable_wheel": EditableWheel},
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
