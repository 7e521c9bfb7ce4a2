"""What cmah uses of Numba, so that compiled functions keep the signatures they are written with.

Numba's own annotations know nothing of how compiled functions are called: without these stubs every call of a kernel
would go unchecked.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import types as types

_F = TypeVar("_F", bound=Callable[..., Any])

__version__: str

class _Config:
    CACHE_DIR: str

config: _Config

def njit(*, cache: bool = ..., nogil: bool = ...) -> Callable[[_F], _F]: ...
