from contextlib import AbstractContextManager
from typing import Any

ir: Any  # llvmlite.ir, which Numba brings along
true_bit: Any

def alloca_once(builder: Any, kind: Any) -> Any: ...
def for_range(builder: Any, count: Any) -> AbstractContextManager[Any]: ...
