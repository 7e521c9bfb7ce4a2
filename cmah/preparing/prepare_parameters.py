"""The parameters of `prepare`: what the views and points of a dataset depend on, beside the mesh files."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cmah.checks import as_int, check_up, shown
from cmah.errors import CmahError

USUAL: dict[str, Any] = {
    "views": 12,
    "image_size": 224,
    "points": 10_000,
    "up": "y",
    "elevations": (20.0,),
    "jitter": 0.0,
    "seed": 0,
}


@dataclass(frozen=True)
class Parameters:
    """What the views and points depend on, beside the mesh files.

    Attributes:
        views: cameras around each shape.
        image_size: side of a view, pixels.
        points: points of each shape.
        up: "y" or "z", the axis that points up in the files.
        elevations: elevations of the cameras, degrees, taken in turn.
        jitter: largest random deviation of azimuth and elevation, degrees.
        seed: seed of points and jitter, together with the shape id.

    Raises:
        CmahError: if a value is out of range.

    Examples:
        >>> parameters = Parameters(12, 224, 10_000, "y", elevations=(20.0,), jitter=0.0, seed=0)
        >>> parameters.to_json()["elevations"]
        [20.0]
        >>> Parameters(12, 224, 10_000, "x", elevations=(20.0,), jitter=0.0, seed=0)
        Traceback (most recent call last):
        cmah.errors.CmahError: up is 'x', expected 'y' or 'z'
    """

    views: int
    image_size: int
    points: int
    up: str
    elevations: tuple[float, ...]
    jitter: float
    seed: int

    def __post_init__(self) -> None:
        for name, least in (("views", 1), ("image_size", 1), ("points", 1), ("seed", 0)):
            value = as_int(getattr(self, name), name, CmahError)
            if value < least:
                raise CmahError(f"{name} must be at least {least}, got {value}")
            object.__setattr__(self, name, value)  # no integer of NumPy, which JSON lacks
        check_number(self.jitter, "jitter")
        check_up(self.up)
        check_elevations(self.elevations)

    @classmethod
    def of(cls, given: Mapping[str, Any], earlier: Mapping[str, Any]) -> "Parameters":
        """What is given, else what was before, else the usual values.

        Raises:
            CmahError: if a value is out of range.

        Examples:
            >>> Parameters.of({"views": 3}, {"views": 8, "points": 500})
            Parameters(views=3, image_size=224, points=500, up='y', elevations=(20.0,), jitter=0.0, seed=0)
        """
        values = {**USUAL, **{key: value for key, value in earlier.items() if key in USUAL}, **given}
        angles = values["elevations"]
        if isinstance(angles, str) or not isinstance(angles, Iterable):
            raise CmahError(f"elevations are {shown(angles)}, expected a list of numbers such as [20]")
        return cls(**{**values, "elevations": tuple(angles)})

    def to_json(self) -> dict[str, Any]:
        """The parameters as the log, the dataset and the workers get them."""
        return {**asdict(self), "elevations": list(self.elevations)}


def check_number(value: object, name: str) -> None:
    """Refuse what is no number from 0 up.

    Raises:
        CmahError: unless it is one, below 1,000,000.

    Examples:
        >>> check_number(2.5, "jitter")
        >>> check_number("2.5", "jitter")
        Traceback (most recent call last):
        cmah.errors.CmahError: jitter must be a number from 0 to below 1,000,000, got '2.5'
    """
    # NaN is none either
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise CmahError(f"{name} must be a number from 0 to below 1,000,000, got {shown(value)}")


def check_elevations(elevations: tuple[float, ...]) -> None:
    """Refuse what cannot be the elevations of cameras.

    Raises:
        CmahError: unless there is one or more, each between -90 and 90 degrees.

    Examples:
        >>> check_elevations((10.0, 35.0))
        >>> check_elevations((10.0, 90.0))
        Traceback (most recent call last):
        cmah.errors.CmahError: elevations must be above -90 and below 90 degrees, got 10.0, 90.0
    """
    if not elevations or any(
        isinstance(value, bool) or not isinstance(value, int | float) or not -90 < value < 90
        for value in elevations
    ):
        raise CmahError(f"elevations must be above -90 and below 90 degrees, got {shown(list(elevations))}")


def as_options(parameters: Mapping[str, Any]) -> str:
    """Parameters as options of the command.

    Examples:
        >>> as_options({"image_size": 64, "elevations": [10.0, 35.5]})
        '--image-size 64 --elevation 10,35.5'
    """
    texts = {
        key: ",".join(f"{v:g}" for v in value) if isinstance(value, list) else value
        for key, value in parameters.items()
    }
    names = {key: key.replace("_", "-").replace("elevations", "elevation") for key in parameters}
    return " ".join(f"--{names[key]} {text}" for key, text in texts.items())
