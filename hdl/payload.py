"""The hardware layout of a golden payload."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from narrowgauge.golden.payload import Field, Payload

__all__ = ["layout"]


def _shape(field: Field) -> object:
    shape = signed(field.width) if field.encoding == "signed" else unsigned(field.width)
    return shape if field.count is None else data.ArrayLayout(shape, field.count)


def layout(payload: Payload) -> data.StructLayout:
    """The `StructLayout` whose bits `Payload.pack` fills; sign-magnitude fields are raw bits."""
    return data.StructLayout({field.name: _shape(field) for field in payload.fields})
