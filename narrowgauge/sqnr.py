"""Quantisation error on the real sample: MX-OPAL beside plain MXINT and the OCP formats.

SQNR = 10 log10(sum x^2 / sum (x - q(x))^2) in dB over a whole tensor, blocks along the channels,
the reference being the captured bf16 values.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from narrowgauge import console
from narrowgauge.golden import samples
from narrowgauge.golden.formats import bf16_values, dequantize, get_block, quantize, sqnr_db

__all__ = ["FORMATS", "HEAD", "Row", "label", "losses", "markdown", "measure", "summary", "verdict"]

WIDTHS = (3, 4, 5, 7)
"""Element widths at which MX-OPAL is compared with MXINT of the same width and block."""

FORMATS = (
    *(name for b in WIDTHS for name in (f"mx_opal{b}", f"mx_opal{b}_n0")),
    "mxfp4_e2m1",
    "mxint8",
)
"""Block formats of the table; `mx_opal<b>_n0` is plain MXINT of width b, without outliers."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One format on all tensors: bits an element as stored, and SQNR in dB by tensor."""

    format: str
    bits_per_element: float
    sqnr: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def measure(formats: Sequence[str] = FORMATS) -> list[Row]:
    """SQNR of each format on each captured activation tensor."""
    rows = []
    tensors = samples.load().activations
    for name in formats:
        block = get_block(name)
        ratios: dict[str, float] = {}
        for tensor, codes in tensors.items():
            kept = dequantize(quantize(codes, block, axis=1))
            ratios[tensor] = sqnr_db(bf16_values(codes), kept)
        rows.append(Row(format=name, bits_per_element=block.bits_per_element, sqnr=ratios))
    return rows


def losses(rows: Sequence[Row]) -> list[tuple[int, str]]:
    """Where MX-OPAL does not beat MXINT of the same width: (width, tensor)."""
    by_name = {row.format: row.sqnr for row in rows}
    return [
        (b, tensor)
        for b in WIDTHS
        for tensor, decibel in by_name[f"mx_opal{b}"].items()
        if decibel <= by_name[f"mx_opal{b}_n0"][tensor]
    ]


HEAD = ("format", "bits/element", "SQNR dB: lowest", "median", "highest")


def summary(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Rows under `HEAD`: each format over all tensors."""
    return [
        (
            label(row.format),
            f"{row.bits_per_element:.2f}",
            *(f"{f(row.sqnr.values()):.1f}" for f in (min, median, max)),
        )
        for row in rows
    ]


def verdict(rows: Sequence[Row]) -> str:
    """One sentence on MX-OPAL against MXINT of the same width."""
    lost = losses(rows)
    tensors = len(rows[0].sqnr)
    if not lost:
        return f"MX-OPAL has the higher SQNR than MXINT of the same b in all {tensors} tensors"
    named = ", ".join(f"b={b} {tensor}" for b, tensor in lost)
    return f"MX-OPAL does not have the higher SQNR than MXINT of the same b in: {named}"


def label(name: str) -> str:
    """The name of a format as readers know it."""
    if name.startswith("mx_opal"):
        b = name.removeprefix("mx_opal").removesuffix("_n0")
        return f"MXINT{b}, k=128" if name.endswith("_n0") else f"MX-OPAL{b}, k=128, n=4"
    return {"mxfp4_e2m1": "MXFP4, k=32", "mxint8": "MXINT8, k=32"}[name]


def markdown(rows: Sequence[Row]) -> str:
    """The table: a row a format, a column a tensor."""
    tensors = list(rows[0].sqnr)
    cells = [
        (
            label(row.format),
            f"{row.bits_per_element:.2f}",
            *(f"{row.sqnr[tensor]:.1f}" for tensor in tensors),
        )
        for row in rows
    ]
    return console.markdown(("format", "bits/element", *tensors), cells)
