"""Examples of the API reference begin with the import that they need, so that they can be pasted."""

import re
from typing import Any

import griffe

FIRST = re.compile(r"^(?P<indent> *)>>> ", re.MULTILINE)


class ImportLines(griffe.Extension):
    """Puts `>>> from MODULE import *` before the first line of every example."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of a class or function."""
        if obj.docstring is None or not (obj.is_class or obj.is_function):
            return
        module = obj.module.path
        name = module if module.startswith("cmah") else f"cmah.{module}"  # the kernels lie beside cmah/
        line = rf"\g<indent>>>> from {name} import *\n\g<indent>>>> "
        obj.docstring.value = FIRST.sub(line, obj.docstring.value, count=1)
