"""HTML written so that text is always escaped."""

import html

__all__ = ["Markup", "element"]

_VOID = frozenset({"col", "br", "hr", "input", "meta", "link"})


class Markup(str):
    """Text that is HTML already."""


def element(name: str, *children: str, **attributes: str | float | bool | None) -> Markup:
    """An element; children that are no `Markup` are escaped, as attributes are.

    An attribute that is None or False is left out, True is one without a value; `class_` is `class`
    and `data_key` is `data-key`.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{html.escape(str(value), quote=True)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    inner = "".join(
        child if isinstance(child, Markup) else html.escape(child, quote=False)
        for child in children
    )
    return Markup(f"<{name}{written}>{inner}</{name}>")
