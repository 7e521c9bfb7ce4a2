from typing import Any

int64: Any

def none(*arguments: Any) -> Any: ...
