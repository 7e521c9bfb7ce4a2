"""Frozen dataclasses from nested dictionaries, TOML files and KEY=VALUE strings, with strict keys and types."""

import dataclasses
import difflib
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cmah.checks import shown
from cmah.errors import ConfigError
from cmah.reading import require_file

C = TypeVar("C")
LARGEST = 2**32 - 1  # no whole number among the settings of a run is larger
TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: if it is missing or malformed, with the line.

    Examples:
        >>> _ = Path("settings.toml").write_text("model.bits = [16, 32]")
        >>> read_toml("settings.toml")
        {'model': {'bits': [16, 32]}}
    """
    require_file(path, "expected a TOML file of settings", ConfigError)
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not a TOML file ({error})") from None
    except RecursionError:
        raise ConfigError(f"{path}: not a TOML file (nested too deeply)") from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `base` with the entries of `over`, dictionaries merged entry by entry.

    Examples:
        >>> merge({"model": {"bits": 16, "width": 384}}, {"model": {"bits": 32}})
        {'model': {'bits': 32, 'width': 384}}
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Nested dictionary from strings such as "training.lr=1e-4" or "model.bits=16,32".

    Values stay strings; `build` reads them by the type of the field.

    Raises:
        ConfigError: if a string has no "=", or it is one string in place of a list.

    Examples:
        >>> parse_assignments(["training.lr=1e-4", "training.epochs=5"])
        {'training': {'lr': '1e-4', 'epochs': '5'}}
    """
    if isinstance(assignments, str) or not all(isinstance(each, str) for each in assignments):
        raise ConfigError(f'settings are {shown(assignments)}, expected a list such as ["training.lr=1e-4"]')
    nested: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {assignment}: expected KEY=VALUE, such as training.lr=1e-4")
        for part in reversed(key.strip().split(".")):
            value = {part: value}  # type: ignore[assignment]
        nested = merge(nested, value)  # type: ignore[arg-type]
    return nested


def build(cls: type[C], values: Mapping[str, Any], where: str = "") -> C:
    """Make a frozen dataclass from a dictionary.

    Args:
        cls: the dataclass; fields may be int, float, bool, str, `Literal`s of words, tuples of these, or dataclasses.
        values: of some or all fields; numbers are finite and from 0.
        where: prefix of the keys, for messages.

    Raises:
        ConfigError: for an unknown key (naming the nearest known one) or a value of the wrong type.

    Examples:
        >>> from cmah.config.schema import DataConfig
        >>> build(DataConfig, {"split": "all", "kinds": "render,photo"})
        DataConfig(split='all', kinds=('render', 'photo'), ...)
        >>> build(DataConfig, {"spilt": "all"}, "data.")
        Traceback (most recent call last):
        cmah.errors.ConfigError: unknown setting data.spilt; the nearest known one is data.split
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where.removesuffix('.')} = {shown(values)}: expected a table of settings")
    hints = typing.get_type_hints(cls)
    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    chosen: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            near = difflib.get_close_matches(key, names, 1, 0.0)
            raise ConfigError(f"unknown setting {where}{key}; the nearest known one is {where}{near[0]}")
        chosen[key] = _convert(hints[key], value, where + key)
    return cls(**chosen)


def _convert(kind: Any, value: Any, where: str) -> Any:
    """A value as the type of its field; ranges and words are checked by `Settings`."""
    if typing.get_origin(kind) is typing.Literal:
        kind = str
    if dataclasses.is_dataclass(kind):
        return build(typing.cast(type, kind), value, where + ".")
    if isinstance(kind, types.GenericAlias) and kind.__origin__ is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, Sequence):
            parts = [parts]
        if kind.__args__[-1] is Ellipsis:
            return tuple(_convert(kind.__args__[0], part, where) for part in parts)
        if len(parts) != len(kind.__args__):
            raise ConfigError(f"{where} = {shown(value)}: expected {len(kind.__args__)} values")
        return tuple(_convert(item, part, where) for item, part in zip(kind.__args__, parts, strict=True))
    try:
        result = _scalar(kind, value)
    except (ValueError, TypeError, OverflowError):
        raise ConfigError(f"{where} = {shown(value)}: expected {TYPES.get(kind, kind.__name__)}") from None
    if isinstance(result, int | float) and not 0 <= result < math.inf:
        raise ConfigError(f"{where} = {shown(value)}: expected a number from 0")
    if isinstance(result, int) and result > LARGEST:
        raise ConfigError(f"{where} = {shown(value)}: expected at most {LARGEST}")
    return result


def _scalar(kind: type, value: Any) -> Any:
    if kind is bool and isinstance(value, str):
        word = value.strip().lower()
        if word not in ("true", "false", "yes", "no", "1", "0", "on", "off"):
            raise ValueError
        return word in ("true", "yes", "1", "on")
    if kind is str or isinstance(value, bool) or kind is bool:
        if not isinstance(value, kind):
            raise ValueError
        return value
    if kind is int:
        if isinstance(value, float) and value != int(value):
            raise ValueError
        return int(value.strip()) if isinstance(value, str) else int(value)
    if isinstance(value, int | float | str):
        return kind(value)
    raise ValueError


def as_dictionary(config: Any) -> dict[str, Any]:
    """A dataclass as plain JSON values (tuples become lists).

    Examples:
        >>> from cmah.config.schema import DataConfig
        >>> as_dictionary(DataConfig(kinds=("render", "photo")))
        {'split': 'train', 'kinds': ['render', 'photo'], ...}
    """
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain
