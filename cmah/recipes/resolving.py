"""From what the user gave to a whole configuration, and from a configuration to its recipe."""

import os
import pkgutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import cmah.recipes
from cmah.config.parsing import build, merge, parse_assignments, read_toml
from cmah.config.schema import SHARED, Config
from cmah.errors import ConfigError
from cmah.recipes.recipe import Recipe

FILES = ("image_weights", "shape_weights", "landmarks")  # settings that are paths
DEFAULT = "cmah"  # the recipe where none is named
NO_METHODS = ("recipe", "resolving", "two_tower_recipe")  # the other modules in cmah/recipes


def recipe_names() -> list[str]:
    """The names of all recipes.

    Examples:
        >>> recipe_names()
        ['captionless', 'cmah', 'prealigned', 'style_mixed', 'towers']
    """
    names = {module.name for module in pkgutil.iter_modules(cmah.recipes.__path__)}
    return sorted(names.difference(NO_METHODS))


def load_recipe(name: str) -> type[Recipe]:
    """The class of the method in cmah/recipes/<name>.py.

    Raises:
        ConfigError: if there is no such file.

    Examples:
        >>> list(load_recipe("cmah").presets)
        ['small', 'tiny', 'base']
    """
    if name not in recipe_names():
        raise ConfigError(f"recipe {name!r}: expected one of {', '.join(recipe_names())}")
    words = "".join(word.capitalize() for word in name.split("_"))
    recipe: type[Recipe] = getattr(import_module(f"cmah.recipes.{name}"), f"{words}Recipe")
    return recipe


def build_recipe(config: Config) -> Recipe:
    """The recipe of a configuration, its network initialised from the global random state.

    Examples:
        >>> build_recipe(make_config("cmah", "tiny", assignments=["model.bits=16,32"])).model.code_lengths
        (16, 32)
    """
    return load_recipe(config.recipe)(config)


def make_config(
    recipe: str | None,
    preset: str | None = None,
    file: str | Path | None = None,
    assignments: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Resolve a configuration: defaults ← preset ← TOML file ← overrides ← assignments.

    Args:
        recipe: name of a file in cmah/recipes; None takes the file's, else the only one that has the preset, else cmah.
        preset: one of the recipe's presets; None takes the file's, or the recipe's first.
        file: TOML with the tables model, loss, training, data, image_augmentation, point_augmentation.
        assignments: strings such as "training.lr=1e-4".
        overrides: nested dictionary.

    Raises:
        ConfigError: for an unknown recipe, preset, key or value.

    Examples:
        >>> make_config("cmah", "tiny", assignments=["model.bits=16,32"]).model.bits
        (16, 32)
    """
    given = given_settings(file, overrides, assignments)
    named = given.pop("recipe", None)
    if recipe and named not in (None, recipe):
        raise ConfigError(f"{file or 'the settings given'}: is for the recipe {named!r}, not {recipe!r}")
    preset = preset or given.get("preset")
    given.pop("preset", None)
    recipe, chosen = recipe or named or _recipe_with(preset), recipe or named
    method = load_recipe(recipe)
    preset = preset or next(iter(method.presets))
    if preset not in method.presets:
        others = [] if chosen else [name for name in recipe_names() if name != recipe]
        of_others = "".join(f"; {name} has {', '.join(load_recipe(name).presets)}" for name in others)
        raise ConfigError(
            f"preset {preset!r}: the recipe {recipe} has {', '.join(method.presets)}{of_others}"
        )
    tables = {**SHARED, "model": method.model_config, "loss": method.loss_config}
    values = _absolute(merge(method.presets[preset], given))
    unknown = [key for key in values if key not in tables]
    if unknown:
        raise ConfigError(f"unknown setting {unknown[0]}; expected one of {', '.join(tables)}")
    parts: dict[str, Any] = {
        key: build(schema, values.get(key, {}), key + ".") for key, schema in tables.items()
    }
    data = parts["data"]
    if data.unpaired and not method.takes_unpaired:
        raise ConfigError(
            f"data.unpaired = {list(data.unpaired)}: the recipe {recipe} takes no images without a shape; expected none"
        )
    if data.picture_weight != 1 and not method.weighs_pictures:
        raise ConfigError(f"data.picture_weight = {data.picture_weight:g}: the recipe {recipe} takes 1 only")
    return Config(recipe, preset, **parts)


def _recipe_with(preset: str | None) -> str:
    """The recipe that is meant where only a preset is named: the default, or the one that alone has it."""
    if preset is None or preset in load_recipe(DEFAULT).presets:
        return DEFAULT
    having = [name for name in recipe_names() if preset in load_recipe(name).presets]
    return having[0] if len(having) == 1 else DEFAULT


def stored_config(values: Mapping[str, Any], where: str) -> Config:
    """The configuration stored in a run's config.json.

    Raises:
        ConfigError: if it was written by another version and has other keys.

    Examples:
        >>> values = make_config("cmah", "tiny").to_dictionary()
        >>> stored_config(values, "config.json").training.epochs
        60
        >>> stored_config({"preset": "tiny"}, "config.json")
        Traceback (most recent call last):
        cmah.errors.ConfigError: config.json: has no entry 'recipe'; is it a run's config.json?
    """
    try:
        recipe, preset = values["recipe"], values["preset"]
        tables = {key: value for key, value in values.items() if key in (*SHARED, "model", "loss")}
        return make_config(recipe, preset, overrides=tables)
    except KeyError as error:
        raise ConfigError(f"{where}: has no entry {error}; is it a run's config.json?") from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def differences(
    stored: Config,
    recipe: str | None = None,
    preset: str | None = None,
    file: str | Path | None = None,
    assignments: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> list[str]:
    """List the given settings that differ from a stored configuration, as "key = stored, not given".

    Raises:
        ConfigError: for an unknown key or value among those given.

    Examples:
        >>> differences(make_config("cmah", "tiny"), assignments=["training.epochs=5", "training.lr=1e-3"])
        ['training.epochs = 60, not 5']
    """
    given = given_settings(file, overrides, assignments)
    given = merge(given, {k: v for k, v in (("recipe", recipe), ("preset", preset)) if v is not None})
    before = stored.to_dictionary()
    names = {key: given.pop(key) for key in ("recipe", "preset") if key in given}
    changes = [f"{key} {before[key]}, not {name}" for key, name in names.items() if name != before[key]]
    if changes:
        return changes
    settings = {key: value for key, value in before.items() if key not in ("recipe", "preset")}
    now = make_config(stored.recipe, stored.preset, overrides=merge(settings, given))
    return _unequal(before, now.to_dictionary(), "")


def given_settings(
    file: str | Path | None, overrides: Mapping[str, Any] | None, assignments: Sequence[str]
) -> dict[str, Any]:
    """The settings that a user gave, as nested dictionaries: file ← overrides ← assignments.

    Examples:
        >>> given_settings(None, {"model": {"bits": (16,)}}, ["training.lr=1e-4"])
        {'model': {'bits': (16,)}, 'training': {'lr': '1e-4'}}
    """
    return merge(merge(read_toml(file) if file else {}, overrides or {}), parse_assignments(assignments))


def _absolute(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings with absolute paths, so that a run finds its files from any folder.

    Links stay links: some caches keep files under names without a suffix, which says what is in them.
    """
    absolute = dict(values)
    for key, value in values.items():
        if isinstance(value, Mapping):
            absolute[key] = _absolute(value)
        elif key in FILES and isinstance(value, str) and value and not value.startswith("download:"):
            absolute[key] = os.path.abspath(value)
    return absolute


def _unequal(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> list[str]:
    """Entries of nested dictionaries that are not equal, as text."""
    changes = []
    for key, value in old.items():
        if isinstance(value, Mapping):
            changes += _unequal(value, new[key], f"{where}{key}.")
        elif value != new[key]:
            changes.append(f"{where}{key} = {value!r}, not {new[key]!r}")
    return changes
