"""The fields of one stream beat, and their packing into bits.

A `Payload` is the one description of a port that golden model, hardware and bench share: the
hardware derives its `StructLayout` from it, the bench packs and unpacks beats with it, and a
mismatch is printed through its formats. A batch is a dict of integer arrays, one a field, whose
first axis is the beat.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError

__all__ = ["Batch", "Encoding", "Field", "Payload", "join"]

Batch = dict[str, npt.NDArray[np.int64]]
"""Field name -> integer codes; shape (beats,) for a scalar field, (beats, count) for a vector."""

Encoding = Literal["unsigned", "signed", "sign_magnitude"]


_CHUNK = 2048
"""Beats that are packed at a time, a multiple of 8: whole bytes, whatever the width."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One named field of a beat.

    Parameters
    ----------
    name : identifier, also the name of the field in hardware
    width : bits an element, 1..62
    count : number of elements, or None for a scalar
    encoding : how the integer of the batch becomes bits; a batch holds signed integers for
        "signed" (two's complement) and "sign_magnitude" (sign is the top bit, -0 never emitted)
    format : name of the number format (`narrowgauge.golden.formats.get`) that prints it, or None
    """

    name: str
    width: int
    count: int | None = None
    encoding: Encoding = "unsigned"
    format: str | None = None

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise UsageError(f"field name must be an identifier, got {self.name!r}")
        if not 1 <= self.width <= 62:
            raise UsageError(f"field {self.name}: width must be 1..62, got {self.width}")
        if self.count is not None and self.count < 1:
            raise UsageError(f"field {self.name}: count must be at least 1, got {self.count}")

    @property
    def bits(self) -> int:
        """Bits of the whole field."""
        return self.width * (1 if self.count is None else self.count)

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer that the field holds."""
        if self.encoding == "unsigned":
            return 0, (1 << self.width) - 1
        top = (1 << (self.width - 1)) - 1
        return (-top if self.encoding == "sign_magnitude" else -top - 1), top

    def to_bits(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Integers to bit patterns 0..2**width-1; a value out of range is an error."""
        low, high = self.limits
        if values.size and (values.min() < low or values.max() > high):
            bad = int(values.min() if values.min() < low else values.max())
            raise UsageError(f"field {self.name}: {bad} is outside {low}..{high}")
        if self.encoding == "sign_magnitude":
            sign = (values < 0).astype(np.int64) << (self.width - 1)
            return np.abs(values) | sign
        return values & ((1 << self.width) - 1)

    def from_bits(self, bits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Bit patterns to integers, the reverse of `to_bits` (both zeros read as 0)."""
        if self.encoding == "unsigned":
            return bits
        top = 1 << (self.width - 1)
        if self.encoding == "sign_magnitude":
            magnitude = bits & (top - 1)
            return np.where(bits & top, -magnitude, magnitude)
        return (bits ^ top) - top


@dataclass(frozen=True)
class Payload:
    """The ordered fields of one beat; the first field lies in the least significant bits."""

    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        names = [f.name for f in self.fields]
        if len(set(names)) != len(names):
            raise UsageError(f"field names must differ, got {names}")

    @property
    def width(self) -> int:
        """Bits of a beat."""
        return sum(f.bits for f in self.fields)

    @property
    def data(self) -> "Payload":
        """The fields that AXI4-Stream carries in TDATA: all but `last`, which is TLAST."""
        return Payload(tuple(f for f in self.fields if f.name != "last"))

    @property
    def has_last(self) -> bool:
        """Whether there is a field `last`."""
        return len(self.data.fields) < len(self.fields)

    @property
    def data_width(self) -> int:
        """Bits of TDATA: those of `data`, padded to whole bytes, at least one."""
        return max(8, 8 * -(-self.data.width // 8))

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise UsageError(f"no field {name!r}; fields are {[f.name for f in self.fields]}")

    def beats(self, count: int, **given: npt.ArrayLike) -> Batch:
        """`count` beats with the given fields, zeros elsewhere; a name that is none is an error."""
        batch: Batch = {}
        for field in self.fields:
            shape = (count,) if field.count is None else (count, field.count)
            values = np.asarray(given.pop(field.name, 0), np.int64)
            batch[field.name] = np.broadcast_to(values, shape).copy()
        if given:
            raise UsageError(f"no fields {sorted(given)}")
        return batch

    def check(self, batch: Mapping[str, npt.ArrayLike]) -> Batch:
        """The batch as int64 arrays; wrong names, shapes, dtypes or lengths are errors."""
        want = {f.name for f in self.fields}
        if set(batch) != want:
            raise UsageError(f"batch has fields {sorted(batch)}, expected {sorted(want)}")
        checked: Batch = {}
        beats: int | None = None
        for field in self.fields:
            array = np.asarray(batch[field.name])
            if array.dtype.kind not in "iub":
                raise UsageError(f"field {field.name}: dtype must be integer, got {array.dtype}")
            tail = () if field.count is None else (field.count,)
            if array.ndim != 1 + len(tail) or array.shape[1:] != tail:
                shape = ", ".join(["beats", *map(str, tail)])
                raise UsageError(f"field {field.name}: shape must be ({shape}), got {array.shape}")
            beats = len(array) if beats is None else beats
            if len(array) != beats:
                raise UsageError(f"field {field.name}: {len(array)} beats, expected {beats}")
            checked[field.name] = array.astype(np.int64)
        return checked

    def pack(self, batch: Mapping[str, npt.ArrayLike]) -> npt.NDArray[np.uint8]:
        """A batch to bytes, shape (beats, ceil(width / 8)), little-endian."""
        checked = self.check(batch)
        codes = {f.name: f.to_bits(checked[f.name]) for f in self.fields}
        beats = len(next(iter(codes.values())))
        raw = np.empty((beats, -(-self.width // 8)), np.uint8)
        # A bit takes a byte and more on the way, so not all beats at once.
        for start in range(0, beats, _CHUNK):
            columns = []
            for field in self.fields:
                part = codes[field.name][start : start + _CHUNK]
                bits = part.reshape(len(part), -1, 1) >> np.arange(field.width, dtype=np.int64)
                columns.append((bits & 1).astype(np.uint8).reshape(len(part), -1))
            packed = np.packbits(np.concatenate(columns, axis=1), axis=1, bitorder="little")
            raw[start : start + _CHUNK] = packed
        return raw

    def unpack(self, raw: npt.NDArray[np.uint8]) -> Batch:
        """Bytes back to a batch, the reverse of `pack`."""
        size = -(-self.width // 8)
        if raw.ndim != 2 or raw.shape[1] != size or raw.dtype != np.uint8:
            raise UsageError(f"raw beats must be uint8 of shape (beats, {size}), got {raw.shape}")
        bits = np.unpackbits(raw, axis=1, bitorder="little", count=self.width)
        batch: Batch = {}
        start = 0
        for field in self.fields:
            part = bits[:, start : start + field.bits].astype(np.int64)
            part = part.reshape(len(raw), field.bits // field.width, field.width)
            codes = (part << np.arange(field.width, dtype=np.int64)).sum(axis=2)
            batch[field.name] = field.from_bits(codes[:, 0] if field.count is None else codes)
            start += field.bits
        return batch

    def pack_tight(self, batch: Mapping[str, npt.ArrayLike]) -> npt.NDArray[np.uint8]:
        """A batch to bytes without a bit between beats, (ceil(beats * width / 8),).

        Bit j of beat i is bit i * width + j of the whole, bit 0 the least significant of byte 0;
        the last byte is filled up with zeros.
        """
        rows = self.pack(batch)
        parts = [np.empty(0, np.uint8)]
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            bits = np.unpackbits(part, axis=1, bitorder="little", count=self.width)
            parts.append(np.packbits(bits, bitorder="little"))
        return np.concatenate(parts)

    def unpack_tight(self, raw: npt.NDArray[np.uint8], count: int) -> Batch:
        """The first `count` beats of such bytes, the reverse of `pack_tight`."""
        size = -(-count * self.width // 8)
        if raw.ndim != 1 or len(raw) < size or raw.dtype != np.uint8:
            raise UsageError(f"{count} beats are uint8 of shape ({size},), got {raw.shape}")
        step = _CHUNK * self.width // 8
        parts = []
        for start in range(0, size, step):
            beats = min(_CHUNK, count - start // step * _CHUNK)
            bits = np.unpackbits(
                raw[start : start + step], bitorder="little", count=beats * self.width
            )
            rows = np.packbits(bits.reshape(beats, self.width), axis=1, bitorder="little")
            parts.append(self.unpack(rows))
        return join(parts) if parts else self.beats(0)


def join(parts: Sequence[Batch]) -> Batch:
    """Beats one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
