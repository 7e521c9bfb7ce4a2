from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

_P = ParamSpec("_P")

# The function is called while compiling; compiled code calls the result without the typing context.
def intrinsic(function: Callable[Concatenate[Any, _P], Any]) -> Callable[_P, Any]: ...
