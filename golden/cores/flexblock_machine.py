"""The model of `flexblock_core`: packets one after the other, memories between them.

What would depend on a word or a sum that was never written is a `UsageError`, and so is a LOAD that
may overtake the RUN before it: silicon has anything there.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import fp_add, fused_mul
from narrowgauge.golden.arith.fused_mul import FB12, FB24
from narrowgauge.golden.cores.flexblock_packets import Opcode, Side, Status, fields_of
from narrowgauge.golden.cores.packets import split
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.units import bfp_pe

if TYPE_CHECKING:
    from narrowgauge.golden.cores.flexblock_core import Params

__all__ = ["Machine", "Upset", "addresses"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_ADD = fp_add.Params(exp_bits=8, man_bits=23)


@dataclass(frozen=True, kw_only=True)
class Upset:
    """A bit that flips in a bank once a word is loaded.

    Parameters
    ----------
    program : number of the program
    load : number of the LOAD among those of the program that write
    word : among those of the LOAD
    bit : of what is stored of the word, check bits on top
    """

    program: int
    load: int
    word: int
    bit: int


def addresses(params: "Params", fields: dict[str, int]) -> tuple[Ints, Ints]:
    """Rows of A and addresses of B of every beat of a RUN, as the counters hold them."""
    counts = [fields[name] + 1 for name in ("beats", "t2", "t1", "n2", "n1")]
    moves = [1, *(fields[f"move_{name}"] for name in ("t2", "t1", "n2", "n1"))]
    number = np.arange(int(np.prod(counts)))
    step = np.ones(len(number), np.int64)
    within = 1
    for count, move in zip(counts, moves[1:], strict=False):
        within *= count
        step[number % within == 0] = move
    # The outermost counter ends the RUN.
    step[:1] = fields["b"]
    b = np.cumsum(step) % (2 << params.address_bits)
    depth = counts[0] * counts[1] * counts[2]
    return (fields["a"] + number % depth) % (2 << params.row_bits[0]), b


class Machine:
    """A core as after a reset.

    Parameters
    ----------
    params : of the core
    upsets : bits that flip, of its program
    """

    def __init__(self, params: "Params", upsets: tuple[Upset, ...] = ()) -> None:
        self._upsets, self._loads = upsets, 0
        p = self.params = params
        sizes = (p.pes * p.a_depth, p.pes * p.b_depth)
        self._memory = [p.word.beats(size) for size in sizes]
        self._written = [np.zeros(size, np.bool_) for size in sizes]
        self._sums = np.zeros(p.sums * p.pes, np.int64)
        self._summed = np.zeros(p.sums * p.pes, np.bool_)
        # What the RUN that may still be reading reads.
        self._reads = self._nothing()

    def run(self, beats: Batch, where: str = "program") -> Batch:
        """The answers to packets; the final one must have ended."""
        if not len(beats["last"]) or not beats["last"][-1]:
            raise UsageError(f"{where} ends within a packet")
        made = join([self.params.output.beats(0), *(self.packet(part) for part in split(beats))])
        for each in self._upsets:
            if not 0 <= each.load < self._loads:
                raise UsageError(f"no LOAD {each.load} in {where} of which a bit could flip")
        return made

    def packet(self, beats: Batch) -> Batch:
        """The answer to one packet; none to NOP."""
        p = self.params
        header = fields_of(p.header, beats["word"][:1])
        words = beats["word"][1:]
        if header["opcode"] == Opcode.NOP:
            return p.output.beats(0)
        if header["opcode"] == Opcode.LOAD:
            return self._bare(self._load(header, words))
        if header["opcode"] == Opcode.RUN:
            return self._run(header, words)
        return self._bare(Status.ILLEGAL)

    def overtakes(self, side: int, start: int, count: int) -> bool:
        """Whether a LOAD without `after` touches what the RUN before it reads."""
        return bool(self._reads[side][start : start + count].any())

    def _bare(self, status: Status) -> Batch:
        return self.params.output.beats(1, status=status, last=1)

    def _nothing(self) -> list[Bools]:
        return [np.zeros(len(each), np.bool_) for each in self._written]

    def _load(self, header: dict[str, int], words: Ints) -> Status:
        p = self.params
        if header["after"]:
            self._reads = self._nothing()
        side, start, count = header["side"], header["address"], header["words"]
        if not count or start % p.load or start + count > len(self._written[side]):
            return Status.ILLEGAL
        size = p.word.width // 8
        come = words[:, : p.load * size].reshape(-1, size)[:count]
        if self.overtakes(side, start, len(come)):
            name = Side(side).name
            raise UsageError(f"LOAD of {name} at {start} may overtake a RUN, which needs after")
        kept = self._read(come.astype(np.uint8))
        for name, values in p.word.unpack(kept).items():
            self._memory[side][name][start : start + len(come)] = values
        self._written[side][start : start + len(come)] = True
        need = -(-count // p.load)
        if len(words) < need:
            return Status.CUT
        return Status.OVERRUN if len(words) > need else Status.OK

    def _read(self, come: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Words of a LOAD as its banks give them: without flips as they came."""
        flips = [each for each in self._upsets if each.load == self._loads]
        self._loads += 1
        if not flips:
            return come
        guard = self.params.stored.guard
        stored = guard.encode(np.unpackbits(come, axis=1, bitorder="little"))
        for each in flips:
            if not (0 <= each.word < len(stored) and 0 <= each.bit < guard.stored_bits):
                raise UsageError(f"no bit {each.bit} of word {each.word} that could flip")
            stored[each.word, each.bit] ^= 1
        return np.packbits(guard.decode(stored).bits, axis=1, bitorder="little")

    def _run(self, header: dict[str, int], words: Ints) -> Batch:
        """RUN: all columns at once, then their results in order."""
        p = self.params
        mode = min(header["mode"], FB24)
        keep = np.flatnonzero([header["keep"] >> i & 1 for i in range(4)])
        if mode != FB12:
            keep = np.zeros(1, np.int64)
        short = np.pad(words, ((0, p.run_beats), (0, 0)))
        fields = fields_of(p.run, short[: p.run_beats])
        refused = Status.OK
        if not len(keep):
            refused = Status.ILLEGAL
        elif len(words) < p.run_beats:
            refused = Status.CUT
        elif fields["group"] >= p.pe.beats(mode):
            refused = Status.ILLEGAL
        if refused != Status.OK:
            self._reads = self._nothing()
            return self._bare(refused)
        status = Status.OVERRUN if len(words) > p.run_beats else Status.OK
        reads = self._nothing()
        found, beyond = self._columns(fields, mode, bool(header["shared"]), reads)
        if beyond:
            status = Status.BEYOND
        # (columns, outputs, elements)
        given = found[:, keep].reshape(-1)
        given, over = self._sum(given, bool(header["add"]), bool(header["hold"]))
        if over:
            status = Status.BEYOND
        # Its header has waited until the elements had what the one before reads.
        self._reads = reads
        rows = given.reshape(-1, p.results)
        if header["hold"]:
            rows = rows[-1:]
        made = p.output.beats(len(rows), data=rows)
        made["status"][-1], made["last"][-1] = status, 1
        return made

    def _columns(
        self, fields: dict[str, int], mode: int, shared: bool, reads: list[Bools]
    ) -> tuple[Ints, bool]:
        """FP32 of all columns, (columns, outputs, elements); whether an address was beyond.

        `reads` is told what is read.
        """
        p = self.params
        a_row, address = addresses(p, fields)
        end_b = p.pes * p.b_depth if shared else p.b_depth
        beyond = bool((a_row >= p.a_depth).any() or (address >= end_b).any())
        element = np.arange(p.pes)[:, None]
        a_word = a_row % p.a_depth * p.pes + element
        b_word = np.broadcast_to(address % (p.pes * p.b_depth), a_word.shape)
        if not shared:
            b_word = address % p.b_depth * p.pes + element
        c, depth = fields["beats"] + 1, (fields["t1"] + 1) * (fields["t2"] + 1)
        number = np.arange(len(address))
        in_tap = number % c
        given = {}
        for side, words in ((Side.A, a_word), (Side.B, b_word)):
            if not self._written[side][words].all():
                raise UsageError(f"RUN reads words of {side.name} that were never written")
            reads[side][words] = True
            flat, name = words.reshape(-1), side.name.lower()
            slots = self._memory[side]["slots"][flat]
            given[name] = fused_mul.repeated(slots, side) if mode == FB24 else slots
            given[f"{name}_scale"] = self._memory[side]["scales"][flat]
        beats = p.pe.input.beats(
            p.pes * len(number),
            mode=mode,
            end=np.tile(
                (in_tap % (fields["group"] + 1) == fields["group"]) | (in_tap == c - 1), p.pes
            ),
            last=np.tile(number % (c * depth) == c * depth - 1, p.pes),
            **given,
        )
        outputs = 4 if mode == FB12 else 1
        made = bfp_pe.model(p.pe, beats)["result"].reshape(p.pes, -1, outputs)
        return np.moveaxis(made, 0, 2), beyond

    def _sum(self, given: Ints, add: bool, hold: bool) -> tuple[Ints, bool]:
        """Results with the sums in their places; whether there are more of them than places."""
        size = len(self._sums)
        if not add and not hold:
            return given, False
        made = given.copy()
        for start in range(0, len(given), size):
            part = slice(start, start + size)
            count = len(made[part])
            if add:
                if not self._summed[:count].all():
                    raise UsageError("RUN adds to sums that were never left")
                made[part] = fp_add.model(_ADD, {"a": made[part], "b": self._sums[:count]})["o"]
            if hold:
                self._sums[:count] = made[part]
                self._summed[:count] = True
        return made, len(given) > size
