"""Batches of transactions as beats on a wire, and back: boundaries, TDATA, TLAST, hex files."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import MismatchError
from narrowgauge.golden.payload import Batch, Payload

__all__ = ["Beats", "from_hex", "groups", "stream_beats", "to_hex"]

Raw = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Beats:
    """One stream's beats.

    Parameters
    ----------
    payload : the fields of a beat
    batch : the beats, by field
    ends : beats up to and with each transaction's last, shape (transactions,)
    """

    payload: Payload
    batch: Batch
    ends: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        """Beats of all transactions."""
        return int(self.ends[-1])

    @property
    def uniform(self) -> int | None:
        """Beats of every transaction; None where they differ."""
        lengths = np.diff(self.ends, prepend=0)
        return int(lengths[0]) if (lengths == lengths[0]).all() else None

    @property
    def last(self) -> bool:
        """Whether the stream has TLAST."""
        return self.payload.has_last

    @property
    def width(self) -> int:
        """Bits of TDATA."""
        return self.payload.data_width

    def raw(self) -> Raw:
        """Bytes of every beat, shape (beats, 1 + width / 8): TDATA little-endian, then flags."""
        batch = self.payload.check(self.batch)
        rows = np.zeros((self.count, 1 + self.width // 8), np.uint8)
        data = self.payload.data
        if data.fields:
            packed = data.pack({field.name: batch[field.name] for field in data.fields})
            rows[:, : packed.shape[1]] = packed
        if self.last:
            rows[:, -1] = batch["last"] & 1
        return rows

    def decode(self, rows: Raw) -> Batch:
        """The reverse of `raw`; padding is dropped."""
        data = self.payload.data
        batch: Batch = {}
        if data.fields:
            batch = data.unpack(np.ascontiguousarray(rows[:, : -(-data.width // 8)]))
        if self.last:
            batch["last"] = (rows[:, -1] & 1).astype(np.int64)
        return batch

    def transaction(self, beat: int) -> tuple[int, range]:
        """Number and beats of the transaction that a beat belongs to."""
        number = int(np.searchsorted(self.ends, beat, side="right"))
        return number, self.beats_of(number)

    def beats_of(self, number: int) -> range:
        """Beats of a transaction."""
        return range(int(self.ends[number - 1]) if number else 0, int(self.ends[number]))


def groups(batch: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """Running count of the batch's transactions at the end of each group of them.

    A group is what the stream sends as one: up to each `last` where the batch has that field (the
    blocks of a dot product, say), otherwise one transaction.
    """
    size = len(next(iter(batch.values())))
    if "last" not in batch:
        return np.arange(1, size + 1, dtype=np.int64)
    ends = np.flatnonzero(np.asarray(batch["last"])) + 1
    if not len(ends) or ends[-1] != size:
        raise MismatchError("the vectors do not end with `last`")
    return ends


def stream_beats(
    golden: ModuleType, params: Any, batch: Mapping[str, Any], side: str, transactions: int
) -> Beats:
    """The beats of one side (`input` or `output`) of a batch, in as many groups as stated.

    A golden model whose groups have several `last` or none, such as a core's programs, says in
    `output_lengths(params, outputs)` how many beats answer each. Else a group ends at each beat
    with `last` where the payload has that field and there are as many of them as groups; otherwise
    all take the same number of beats.
    """
    payload: Payload = getattr(params, side)
    convert = getattr(golden, f"{side}_beats", None)
    beats = payload.check(batch if convert is None else convert(params, batch))
    count = len(next(iter(beats.values())))
    stated = getattr(golden, f"{side}_lengths", None)
    if stated is not None:
        ends = np.cumsum(stated(params, batch), dtype=np.int64)
        if len(ends) != transactions or ends[-1] != count:
            raise MismatchError(
                f"{side}: {count} beats in {transactions} transactions, "
                f"but {side}_lengths says {int(ends[-1])} in {len(ends)}"
            )
        return Beats(payload=payload, batch=beats, ends=ends)
    if "last" in beats and count:
        marks = np.flatnonzero(beats["last"]) + 1
        if len(marks) == transactions and marks[-1] == count:
            return Beats(payload=payload, batch=beats, ends=marks)
    if not count or count % transactions:
        raise MismatchError(
            f"{side}: {count} beats cannot be {transactions} transactions of equal length"
        )
    ends = np.arange(1, transactions + 1, dtype=np.int64) * (count // transactions)
    return Beats(payload=payload, batch=beats, ends=ends)


def to_hex(rows: Raw) -> str:
    """One line of hex a row, most significant (last) byte first."""
    if not len(rows):
        return ""
    flat = np.ascontiguousarray(rows[:, ::-1])
    return flat.tobytes().hex("\n", rows.shape[1]) + "\n"


def from_hex(text: str, size: int) -> Raw:
    """The reverse of `to_hex`; a digit that is X or Z, or a line cut short, is an error."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        raise MismatchError("the output holds digits that are not hex (X or Z?)") from None
    if len(data) % size:
        raise MismatchError(f"the output holds {len(data)} bytes, not whole beats of {size}")
    return np.frombuffer(data, np.uint8).reshape(-1, size)[:, ::-1]
