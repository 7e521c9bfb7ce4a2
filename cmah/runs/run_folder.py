"""The run folder: config.json, model.safetensors, hash.npz, metrics.jsonl, and state/ with what resuming needs.

Everything is written to a temporary file and renamed, and nothing is pickled. Frozen foreign towers are not copied
in: config.json names their weights files with SHA-256. A run whose model learns no codes keeps the hash that makes
them of its embeddings, hash.npz.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

import cmah
from cmah.cache import file_digest
from cmah.checks import shown
from cmah.codes.posthoc import PostHocHash
from cmah.config.parsing import build, merge, parse_assignments
from cmah.config.schema import Config
from cmah.errors import CmahError, CodesError, ConfigError, RunError
from cmah.file_names import as_path, refuse_url
from cmah.files import write_json
from cmah.models.encoder_model import EncoderModel
from cmah.models.pretrained.backbone_spec import weights_file
from cmah.reading import read_json
from cmah.recipes.recipe import Recipe
from cmah.recipes.resolving import build_recipe, stored_config
from cmah.runs.tensor_files import load_own_state, load_tensors

FORMAT, VERSION = "cmah-run", 1
HASH = "hash.npz"  # where the model learns no codes: the hash that makes them of its embeddings
MODALITIES = ("image", "shape")  # the sets that this hash is fitted to


class RunFolder:
    """A run folder that is opened, checked and hashed once.

    Attributes:
        path: the folder.
        stored: config.json as it stands.
        trained: the configuration that the run was trained with.
        config: the same with the changes that `settings` ask for.

    Examples:
        >>> RunFolder("demo/run").config.model.bits
        (16, 32, 64)
        >>> folder = RunFolder("demo/run", settings=["model.points=256"])
        >>> folder.trained.model.points, folder.config.model.points
        (512, 256)
    """

    def __init__(self, path: str | Path, *, settings: Sequence[str] = (), verify: bool = False) -> None:
        """Open a run.

        Args:
            path: the folder that training wrote.
            settings: changes such as "model.image_weights=FILE", for weights that have moved.
            verify: read weights files anew instead of trusting the digests that the cache remembers.

        Raises:
            RunError: if the folder is no run or of a later version, or names weights that are missing or others than
                it was trained with.
            ConfigError: if its settings, or those given, are not known to this version.
        """
        self.path, self.verify = as_path(path, RunError), verify
        self.stored = _read_stored(self.path)
        self.trained = stored_config(self.stored, str(self.path / "config.json"))
        self.config = _changed(self.trained, settings) if settings else self.trained
        self._check_towers()

    @classmethod
    def create(cls, path: Path, config: Config, dataset: dict[str, str]) -> Self:
        """Write config.json, the whole resolved configuration and what it is trained on, and open the run.

        Args:
            path: the folder.
            config: of the run.
            dataset: path, name and checksum of the data.

        Raises:
            RunError: if weights that the configuration names are missing.

        Examples:
            >>> from cmah.recipes.resolving import make_config
            >>> origin = {"path": "data/chairs", "name": "chairs", "checksum": ""}
            >>> folder = RunFolder.create(Path("new"), make_config("cmah", "tiny"), origin)
            >>> folder.stored["dataset"]["name"], folder.config.preset
            ('chairs', 'tiny')
        """
        header = {
            "format": FORMAT,
            "version": VERSION,
            "cmah": cmah.__version__,
            "dataset": dataset,
            "towers": towers(config),
        }
        write_json(path / "config.json", {**header, **config.to_dictionary()})
        return cls(path)

    @property
    def weights(self) -> Path:
        """The model's weights at the epoch with the best validation score."""
        return self.path / "model.safetensors"

    @property
    def state(self) -> Path:
        """What resuming needs: weights, optimiser state and progress in one file."""
        return self.path / "state" / "last.safetensors"

    @property
    def hash(self) -> Path:
        """Where the model learns no codes: the hash that makes them of its embeddings, once it is fitted."""
        return self.path / HASH

    def change_epochs(self, epochs: int) -> None:
        """Let the run have another number of epochs; the hash that was fitted when it ended is removed.

        Args:
            epochs: at least 1.

        Examples:
            >>> import shutil
            >>> _ = shutil.copytree("demo/run", "longer")
            >>> RunFolder("longer").change_epochs(500)
            >>> RunFolder("longer").config.training.epochs
            500
        """
        self.hash.unlink(missing_ok=True)  # first: whoever resumes the run as it was makes it anew
        self.stored["training"] = {**self.stored["training"], "epochs": epochs}
        write_json(self.path / "config.json", self.stored)

    def load_recipe(self, device: torch.device) -> Recipe:
        """The recipe with the run's weights, on a device.

        Raises:
            RunError: if the weights are missing, damaged or of another model.

        Examples:
            >>> RunFolder("demo/run").load_recipe(torch.device("cpu")).model.code_lengths
            (16, 32, 64)
        """
        recipe = build_recipe(self.config)
        load_own_state(recipe.network, load_tensors(self.weights)[0], self.weights)
        recipe.network.to(device)
        return recipe

    def fitted_hash(self, model: EncoderModel) -> PostHocHash | None:
        """The hash that makes codes of the embeddings of a model; None if it learns codes, or none is fitted yet.

        Raises:
            RunError: if the file is damaged, or of another model.
        """
        if model.learned_codes or not self.hash.exists():
            return None
        width = model.embeddings(np.zeros((1, model.width), np.float32)).shape[1]
        expected = (width, model.code_lengths[-1], list(MODALITIES))
        try:
            fitted = PostHocHash.load(self.hash)
        except CodesError as error:
            raise RunError(f"{error}; remove it, and cmah train … --resume makes it anew") from None
        stored = (fitted.means.shape[1], fitted.bits, fitted.modalities.tolist())
        if stored != expected or fitted.sharing == "nothing":
            raise RunError(
                f"{self.hash}: from {stored[0]} numbers to {stored[1]} bits, for {' and '.join(stored[2])}, sharing "
                f"{fitted.sharing}; expected from {width} to {expected[1]}, for {' and '.join(MODALITIES)}, one space; "
                "is it another run's?"
            )
        return fitted

    def space(self, model: EncoderModel) -> str:
        """Names the space of the codes and embeddings of the run's model: 16 hexadecimal digits.

        A hash of the run's weights, the digests of its frozen towers and, where codes come of it, its fitted hash.
        """
        parts = [file_digest(self.weights, verify=self.verify)]
        parts += [file["sha256"] for file in self.stored.get("towers", {}).values()]
        changed, trained = _but_weights(self.config), _but_weights(self.trained)
        if changed != trained:
            parts.append(
                json.dumps(changed)
            )  # another model than was trained: its codes are of another space
        if not model.learned_codes and self.hash.exists():
            parts.append(file_digest(self.hash, verify=self.verify))
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]

    def _check_towers(self) -> None:
        """Refuse foreign weights that are not those the run was trained with."""
        now = towers(self.config, verify=self.verify)
        for key, file in self.stored.get("towers", {}).items():
            if now.get(key, {}).get("sha256") != file.get("sha256"):
                raise RunError(
                    f"{now.get(key, file)['path']}: not the weights the run was trained with (model.{key})"
                )


def towers(config: Config, *, verify: bool = False) -> dict[str, dict[str, str]]:
    """Path and SHA-256 of each foreign weights file that a configuration names, by the name of its setting.

    Raises:
        RunError: if a file is missing.

    Examples:
        >>> from cmah.recipes.resolving import make_config
        >>> _ = Path("image.pt").write_bytes(b"weights")
        >>> settings = ["model.image_encoder=timm:resnet18", "model.image_weights=image.pt"]
        >>> towers(make_config("cmah", "tiny", assignments=settings))
        {'image_weights': {'path': '...image.pt', 'sha256': '9a12...'}}
    """
    files = {}
    for side in MODALITIES:
        key = f"{side}_weights"
        path = getattr(config.model, key, "")
        encoder = getattr(config.model, f"{side}_encoder", "") or config.model.image_encoder if path else ""
        if ":" in encoder:  # not a point encoder, of which no library lists weights
            path = weights_file(encoder, path)
        if path:
            if not Path(path).is_file():
                raise RunError(f"{path}: no such weights file (model.{key})")
            files[key] = {"path": str(path), "sha256": file_digest(path, verify=verify)}
    return files


def _read_stored(run: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        RunError: if the folder is no run, of a later version, or its entries are of other types.
    """
    path = run / "config.json"
    if not run.is_dir():
        refuse_url(run, RunError)
        raise RunError(f"{run}: no such run folder (make one with cmah train)")
    if not path.is_file():
        raise RunError(f"{run}: has no config.json; it is not a run folder")
    try:
        stored = read_json(path)
    except CmahError as error:
        raise RunError(str(error)) from None
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise RunError(f"{path}: not the configuration of a run (format {FORMAT!r})")
    if stored.get("version") != VERSION:
        raise RunError(f"{path}: version {shown(stored.get('version'))}; this cmah reads {VERSION}")
    texts = [stored.get("recipe"), stored.get("preset"), _entry(stored.get("dataset"), "checksum")]
    files = stored.get("towers")
    for file in files.values() if isinstance(files, dict) else [None]:
        texts += [_entry(file, "path"), _entry(file, "sha256")]
    if not all(isinstance(text, str) for text in texts):
        raise RunError(f"{path}: expected text for recipe, preset, dataset and towers, as train wrote")
    return stored


def _entry(table: Any, key: str) -> Any:
    """An entry of what should be a dictionary; None if it is not there."""
    return table.get(key) if isinstance(table, dict) else None


def _changed(config: Config, settings: Sequence[str]) -> Config:
    """A configuration with some settings of the model changed."""
    changed = merge({"model": config.to_dictionary()["model"]}, parse_assignments(settings))
    if len(changed) > 1:
        raise ConfigError(
            f"--set {[*changed][1]}: only settings of the model, model.KEY, can be changed here"
        )
    return replace(config, model=build(type(config.model), changed["model"], "model."))


def _but_weights(config: Config) -> dict[str, Any]:
    """The settings of a model without where its weights lie, and how many renders it is shown of a shape."""
    model = config.to_dictionary()["model"]
    shown = ("views", "views_from")
    return {key: value for key, value in model.items() if not key.endswith("_weights") and key not in shown}
