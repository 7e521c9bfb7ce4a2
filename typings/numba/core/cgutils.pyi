from typing import Any

ir: Any  # llvmlite.ir, which Numba brings along
true_bit: Any
alloca_once_value: Any
for_range: Any
alloca_once: Any
