"""Number formats: element formats, block formats, and their names.

`reference` is the specification, one number at a time in Python integers; `vector` is its NumPy
twin.
"""

from narrowgauge.golden.formats.bfp import BFP
from narrowgauge.golden.formats.block import BlockFormat, MXOpal, OcpMX, get_block
from narrowgauge.golden.formats.element import (
    E8M0,
    FloatFormat,
    Format,
    IntFormat,
    Overflow,
    Rounding,
)
from narrowgauge.golden.formats.flexblock import (
    FB12,
    FB16,
    FB24,
    BoxBFP,
    BoxTensor,
    dequantize_boxes,
    get_box,
    quantize_boxes,
    zero_setting,
)
from narrowgauge.golden.formats.table import BF16, ELEMENT_FORMATS, get
from narrowgauge.golden.formats.tensor import (
    BlockTensor,
    bf16_codes,
    bf16_values,
    dequantize,
    quantize,
    sqnr_db,
)

__all__ = [
    "BF16",
    "BFP",
    "E8M0",
    "ELEMENT_FORMATS",
    "FB12",
    "FB16",
    "FB24",
    "BlockFormat",
    "BlockTensor",
    "BoxBFP",
    "BoxTensor",
    "FloatFormat",
    "Format",
    "IntFormat",
    "MXOpal",
    "OcpMX",
    "Overflow",
    "Rounding",
    "bf16_codes",
    "bf16_values",
    "dequantize",
    "dequantize_boxes",
    "get",
    "get_block",
    "get_box",
    "quantize",
    "quantize_boxes",
    "sqnr_db",
    "zero_setting",
]
