"""The element formats by name."""

import re

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats.element import E8M0, FloatFormat, Format, IntFormat

__all__ = ["BF16", "ELEMENT_FORMATS", "get"]


def _floats() -> list[FloatFormat]:
    ieee = {
        "fp32": (8, 23),
        "tf32": (8, 10),
        "fp16": (5, 10),
        "bf16": (8, 7),
        "fp10_e5m4": (5, 4),
        "fp10_e6m3": (6, 3),
        "fp8_e5m2": (5, 2),
    }
    finite = {"fp6_e3m2": (3, 2), "fp6_e2m3": (2, 3), "fp4_e2m1": (2, 1)}
    return [
        *(FloatFormat(name=n, exponent_bits=e, mantissa_bits=m) for n, (e, m) in ieee.items()),
        FloatFormat(name="fp8_e4m3", exponent_bits=4, mantissa_bits=3, specials="nan"),
        *(
            FloatFormat(name=n, exponent_bits=e, mantissa_bits=m, specials="none")
            for n, (e, m) in finite.items()
        ),
    ]


def _integers() -> list[IntFormat]:
    full = [IntFormat(name=f"int{w}", width=w) for w in range(2, 17)]
    return full + [
        IntFormat(name=f"int{w}_symmetric", width=w, symmetric=True) for w in range(2, 17)
    ]


_ALL: tuple[Format, ...] = (*_floats(), E8M0(), *_integers())

ELEMENT_FORMATS: dict[str, Format] = {f.name: f for f in _ALL}
"""Name -> format. `tf32` is 19 bits: the significand of fp16 on the exponent of fp32."""

_IEEE = re.compile(r"ieee_e(\d+)m(\d+)")


def get(name: str) -> Format:
    """The element format of a name: one of `ELEMENT_FORMATS`, or `ieee_e<E>m<M>`.

    Raises `UsageError`, which lists the known names.
    """
    if name in ELEMENT_FORMATS:
        return ELEMENT_FORMATS[name]
    if match := _IEEE.fullmatch(name):
        return FloatFormat.ieee(int(match[1]), int(match[2]))
    floats = [n for n, f in ELEMENT_FORMATS.items() if not isinstance(f, IntFormat)]
    raise UsageError(
        f"no format {name!r}; formats: {', '.join(floats)}, ieee_e<E>m<M>, "
        "int2..int16, int2_symmetric..int16_symmetric"
    )


BF16 = FloatFormat(name="bf16", exponent_bits=8, mantissa_bits=7)
"""The format of every tensor that meets a block format."""
