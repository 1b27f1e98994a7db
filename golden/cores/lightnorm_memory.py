"""Memories of `lightnorm` that the host sees: bits as they came, and which were never written.

What would depend on a record that never was is a `UsageError`, since silicon has anything there.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores.lightnorm_commands import Table
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch

if TYPE_CHECKING:
    from narrowgauge.golden.cores.lightnorm import Params

__all__ = ["Memory"]

Ints = npt.NDArray[np.int64]
Raw = npt.NDArray[np.uint8]


class Memory:
    """All tables of a core.

    Parameters
    ----------
    params : of the core
    """

    def __init__(self, params: "Params") -> None:
        self._params = params
        rows = [params.channels] * len(Table)
        rows[Table.PLACES] *= params.chunks
        self._raw = [
            np.zeros((count, -(-record.width // 8)), np.uint8)
            for count, record in zip(rows, params.tables, strict=True)
        ]
        self._written = [np.zeros(count, np.bool_) for count in rows]

    def rows(self, table: Table, block: int, chunks: int = 1) -> Ints:
        """The records of a block, of PLACES those of so many chunks, chunk by chunk."""
        p = self._params
        places = table == Table.PLACES
        start = block * p.lanes * (p.chunks if places else 1)
        return start + np.arange(p.lanes * (chunks if places else 1))

    def raw(self, table: Table, rows: Ints) -> Raw:
        """Records as bytes."""
        if not self._written[table][rows].all():
            block = int(rows[0]) // int(self.rows(table, 1)[0])
            raise UsageError(f"{table.name} of block {block} were never written")
        return self._raw[table][rows]

    def get(self, table: Table, rows: Ints) -> Batch:
        """Records as fields."""
        return self._params.tables[table].unpack(self.raw(table, rows))

    def put(self, table: Table, rows: Ints, **fields: Ints) -> None:
        """Write records."""
        self._raw[table][rows] = self._params.tables[table].pack(fields)
        self._written[table][rows] = True

    def put_words(self, table: Table, rows: Ints, words: Ints) -> None:
        """Write what words (records, bytes) hold from bit 0 on."""
        width = self._params.tables[table].width
        bits = np.unpackbits(words.astype(np.uint8), axis=1, bitorder="little")
        self._raw[table][rows] = np.packbits(bits[:, :width], axis=1, bitorder="little")
        self._written[table][rows] = True
