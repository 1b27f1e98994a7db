"""The look of the plots: colours as variables of the page's style sheet, so that one plot serves
light, dark and paper; shapes and dashes say the same as colours do.

The seven hues are those of Okabe and Ito (2008), which people with any common colour blindness
tell apart, darkened on light ground and lightened on dark.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["CONFIG", "DARK", "HUES", "LIGHT", "SHAPES", "css", "hue", "on_paper", "shape"]

HUES = tuple(f"var(--hue{index})" for index in range(7))
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")

_LIGHT_HUES = ("#0067a8", "#c04a00", "#007a58", "#9a4a86", "#946200", "#2f7fb0", "#585858")
_DARK_HUES = ("#62b8f0", "#ff9152", "#3fcf9f", "#e79ac8", "#efb83c", "#a4d6f5", "#c4c4c4")

LIGHT: Mapping[str, str] = {
    "ground": "#ffffff",
    "panel": "#f6f7f8",
    "text": "#16191d",
    "muted": "#5b636d",
    "line": "#dfe3e8",
    "accent": "#0067a8",
    "good": "#00694b",
    "bad": "#b02a10",
    **{f"hue{index}": colour for index, colour in enumerate(_LIGHT_HUES)},
}
DARK: Mapping[str, str] = {
    "ground": "#111418",
    "panel": "#1a1e24",
    "text": "#e9edf1",
    "muted": "#a0a9b4",
    "line": "#323941",
    "accent": "#62b8f0",
    "good": "#4fd3a5",
    "bad": "#ff9a80",
    **{f"hue{index}": colour for index, colour in enumerate(_DARK_HUES)},
}

_FONT = "system-ui, sans-serif"

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": _FONT,
    "padding": 4,
    "view": {"stroke": None},
    "axis": {
        "domainColor": "var(--muted)",
        "tickColor": "var(--line)",
        "gridColor": "var(--line)",
        "gridOpacity": 0.7,
        "labelColor": "var(--muted)",
        "titleColor": "var(--text)",
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 13,
        "titlePadding": 10,
        "labelPadding": 6,
    },
    "legend": {
        "orient": "top",
        "title": None,
        "labelColor": "var(--text)",
        "labelFontSize": 13,
        "symbolSize": 90,
        "padding": 0,
        "offset": 14,
    },
    "text": {"fill": "var(--text)", "fontSize": 12},
}


def hue(units: Sequence[str], unit: str) -> str:
    """The colour of a unit among those shown."""
    return HUES[units.index(unit) % len(HUES)]


def shape(units: Sequence[str], unit: str) -> str:
    """The marker of a unit among those shown."""
    return SHAPES[units.index(unit) % len(SHAPES)]


def css(colours: Mapping[str, str]) -> str:
    """Colours as declarations of a style sheet."""
    return "".join(f"--{name}:{value};" for name, value in colours.items())


def on_paper(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The same plot with plain colours on white, and a font that every machine draws alike."""
    text = json.dumps(spec)
    for name, value in LIGHT.items():
        text = text.replace(f"var(--{name})", value)
    changed: dict[str, Any] = json.loads(text.replace(_FONT, "Liberation Sans, sans-serif"))
    return changed | {"background": LIGHT["ground"]}
