"""Number formats: element formats, block formats, and their names.

`reference` is the specification, one number at a time in Python integers; `vector` is its NumPy
twin.
"""

from narrowgauge.golden.formats.element import (
    E8M0,
    FloatFormat,
    Format,
    IntFormat,
    Overflow,
    Rounding,
)
from narrowgauge.golden.formats.table import ELEMENT_FORMATS, get

__all__ = [
    "E8M0",
    "ELEMENT_FORMATS",
    "FloatFormat",
    "Format",
    "IntFormat",
    "Overflow",
    "Rounding",
    "get",
]
