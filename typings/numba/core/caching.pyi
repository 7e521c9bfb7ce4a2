from typing import Any

class Cache:
    save_overload: Any
