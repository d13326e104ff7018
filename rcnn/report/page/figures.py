"""Numbers of a JSON document as a page shows them, each with its place in the document."""

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

NOTHING = "\N{EN DASH}"


class Figures:
    """A JSON document whose numbers are shown by their JSON pointers (RFC 6901)."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document

    def at(self, *keys: str | int) -> Any:
        """What stands there; None where nothing does."""
        value: Any = self.document
        for key in keys:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def show(self, *keys: str | int, form: str | None = None) -> Markup:
        """The number there as an element of the page: three decimals, or a whole number, unless `form` says else."""
        value = self.at(*keys)
        if value is None:
            return Markup('<span class="none">{}</span>').format(NOTHING)
        chosen = form or (",d" if isinstance(value, int) else "z.3f")
        text = format(value, chosen).replace("-", "\N{MINUS SIGN}")
        return Markup('<data data-figure="{}" value="{}">{}</data>').format(pointer(*keys), json.dumps(value), text)

    def text(self) -> Markup:
        """The document as the content of a script element, which no text in it can close."""
        return Markup(json.dumps(self.document).replace("<", "\\u003c"))


def pointer(*keys: str | int) -> str:
    """The JSON pointer of a place: `/measured/AP`."""
    return "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in keys)
