"""The whole configuration of a run: what every recipe shares, and the recipe's own model and loss settings."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmah.config.parsing import as_dictionary, build, merge, parse_assignments, read_toml
from cmah.data.augmentation import ImageAugmentation, PointAugmentation
from cmah.errors import ConfigError

FILES = ("image_weights", "shape_weights", "landmarks")  # settings that are paths
MAX_WORKERS = 256  # processes; more would only fill the memory


@dataclass(frozen=True)
class TrainingConfig:
    """How a run is optimised; every recipe shares these."""

    epochs: int = 300  # passes over the training shapes; 0 exports the model as it is initialised
    batch_size: int = 128  # pairs
    lr: float = 1e-3  # peak learning rate of AdamW (lineage: Point-MAE)
    min_lr: float = 1e-6  # where the cosine ends
    warmup_epochs: float = 10.0  # of linear warm-up
    weight_decay: float = 0.05  # on matrices only, not on biases, norms and tokens
    tower_lr_scale: float = 0.1  # learning rate of a pre-trained tower, as a part of lr
    clip_norm: float = 5.0  # of the gradient; 0 for none
    precision: str = "auto"  # auto (bfloat16 autocast on CUDA, float32 on the CPU) | float32 | bfloat16
    seed: int = 0
    workers: int = 2  # processes that decode images; 0 decodes in the main one
    cached_copies: int = 0  # augmented copies of which frozen towers compute features once; 0: at every step
    held_out: float = 0.1  # part of `train` held out (by a hash of the shape id) to choose the checkpoint
    validation_views: int = 4  # images of each held-out shape
    validate_every: int = 1  # epochs
    patience: int = 0  # stop after this many validations without a better one; 0 never stops early
    save_minutes: float = 10.0  # save what resuming needs at least this often within an epoch

    def __post_init__(self) -> None:
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ConfigError(f"training.precision = {self.precision!r}: expected auto, float32 or bfloat16")
        if self.batch_size < 2 or self.validate_every < 1 or self.validation_views < 1:
            raise ConfigError("training: expected batch_size ≥ 2, validate_every ≥ 1, validation_views ≥ 1")
        if self.workers > MAX_WORKERS:
            raise ConfigError(f"training.workers = {self.workers}: expected at most {MAX_WORKERS}")
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"training.held_out = {self.held_out}: expected a part from 0 up to 1")


@dataclass(frozen=True)
class DataConfig:
    """Which part of the dataset is trained on."""

    split: str = "train"
    kinds: tuple[str, ...] = ("render",)  # kinds of images that take part; those without a shape never do


@dataclass(frozen=True)
class Config:
    """One run. `model` and `loss` are the recipe's own dataclasses."""

    recipe: str
    preset: str
    model: Any
    loss: Any
    training: TrainingConfig = field(default_factory=TrainingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    image_augmentation: ImageAugmentation = field(default_factory=ImageAugmentation)
    point_augmentation: PointAugmentation = field(default_factory=PointAugmentation)

    def to_dictionary(self) -> dict[str, Any]:
        """Plain JSON values, as stored in a run's config.json."""
        return as_dictionary(self)


SHARED = {
    "training": TrainingConfig,
    "data": DataConfig,
    "image_augmentation": ImageAugmentation,
    "point_augmentation": PointAugmentation,
}


def make_config(
    recipe: str | None,
    preset: str | None = None,
    file: str | Path | None = None,
    assignments: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Resolve a configuration: defaults ← preset ← TOML file ← overrides ← assignments.

    Args:
        recipe: name of a file in cmah/recipes; None takes the file's, or cmah.
        preset: one of the recipe's presets; None takes the file's, or the recipe's first.
        file: TOML with the tables model, loss, training, data, image_augmentation, point_augmentation.
        assignments: strings such as "training.lr=1e-4".
        overrides: nested dictionary.

    Raises:
        ConfigError: for an unknown recipe, preset, key or value.
    """
    from cmah.recipes import load_recipe

    given = merge(merge(read_toml(file) if file else {}, overrides or {}), parse_assignments(assignments))
    stored = given.pop("recipe", None)
    if recipe and stored not in (None, recipe):
        raise ConfigError(f"{file or 'the settings given'}: is for the recipe {stored!r}, not {recipe!r}")
    recipe = recipe or stored or "cmah"
    kind = load_recipe(recipe)
    preset = preset or given.pop("preset", None) or next(iter(kind.presets))
    given.pop("preset", None)
    if preset not in kind.presets:
        raise ConfigError(f"preset {preset!r}: the recipe {recipe} has {', '.join(kind.presets)}")
    parts = {**SHARED, "model": kind.model_config, "loss": kind.loss_config}
    values = _absolute(merge(kind.presets[preset], given))
    unknown = [key for key in values if key not in parts]
    if unknown:
        raise ConfigError(f"unknown setting {unknown[0]}; expected one of {', '.join(parts)}")
    return Config(
        recipe, preset, **{key: build(cls, values.get(key, {}), key + ".") for key, cls in parts.items()}
    )


def _absolute(values: dict[str, Any]) -> dict[str, Any]:
    """The same settings with absolute paths, so that a run finds its files from any folder.

    Links stay links: some caches keep files under names without a suffix, which says what is in them.
    """
    made = dict(values)
    for key, value in values.items():
        if isinstance(value, Mapping):
            made[key] = _absolute(dict(value))
        elif key in FILES and isinstance(value, str) and value and not value.startswith("download:"):
            made[key] = os.path.abspath(value)
    return made


def differences(
    stored: Config,
    recipe: str | None = None,
    preset: str | None = None,
    file: str | Path | None = None,
    assignments: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> list[str]:
    """Which of the settings given beside a stored configuration are others than it has, as text.

    Raises:
        ConfigError: for an unknown key or value among those given.
    """
    given = merge(merge(read_toml(file) if file else {}, overrides or {}), parse_assignments(assignments))
    given = merge(given, {k: v for k, v in (("recipe", recipe), ("preset", preset)) if v is not None})
    known = stored.to_dictionary()
    names = {key: given.pop(key) for key in ("recipe", "preset") if key in given}
    found = [f"{key} {known[key]}, not {name}" for key, name in names.items() if name != known[key]]
    if not found:
        settings = {key: value for key, value in known.items() if key not in ("recipe", "preset")}
        now = make_config(stored.recipe, stored.preset, overrides=merge(settings, given))
        found = _unequal(known, now.to_dictionary(), "")
    return found


def _unequal(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> list[str]:
    """Entries of nested dictionaries that are not equal, as text."""
    found = []
    for key, value in old.items():
        if isinstance(value, Mapping):
            found += _unequal(value, new[key], f"{where}{key}.")
        elif value != new[key]:
            found.append(f"{where}{key} = {value!r}, not {new[key]!r}")
    return found


def stored_config(values: Mapping[str, Any], where: str) -> Config:
    """The configuration stored in a run's config.json.

    Raises:
        ConfigError: if it was written by another version and has other keys.
    """
    try:
        recipe, preset = values["recipe"], values["preset"]
        return make_config(
            recipe, preset, overrides={k: v for k, v in values.items() if k in (*SHARED, "model", "loss")}
        )
    except KeyError as error:
        raise ConfigError(f"{where}: has no entry {error}; is it a run's config.json?") from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
