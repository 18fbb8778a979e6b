"""The docstrings of this library as mkdocstrings expects them.

Here a parameter is `name : what it is`, for types stand in the signature; numpy's style would take that for the type.
"""

import re
from typing import Any

from griffe import Extension, Object

SECTION = re.compile(r"^(Parameters|Attributes)\n-+\n(.*?)(?=\n\n\S|\Z)", re.MULTILINE | re.DOTALL)
ITEM = re.compile(r"^([\w*][\w*, ]*) : (.+)$", re.MULTILINE)
RETURNS = re.compile(r"^(Returns|Yields)\n-+\n(?=\S)", re.MULTILINE)


def plain(docstring: str) -> str:
    """A docstring with what an item is on a line of its own, and what is returned as a sentence."""
    items = SECTION.sub(lambda found: ITEM.sub(r"\1\n    \2", found[0]), docstring)
    return RETURNS.sub(r"\1: ", items)


class PlainSections(Extension):
    """Rewrites every docstring as it is read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = plain(obj.docstring.value)
