from typing import Any

class Cache:
    save_overload: Any

class _SourceFileBackedLocatorMixin:
    _py_file: str
    get_source_stamp: Any
