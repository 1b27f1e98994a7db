"""Quantiser from bf16 to MX-OPAL: one pass that finds the outliers, one that makes the codes.

The first pass stores the beats of a block, sorts each and merges it with the n largest so far, kept
with sign and position, and the exponent of the next. The second reads the beats back, shifts each
significand right by its distance from the scale, rounds and clips; decoded positions clear the
outliers' slots. The buffer holds one block: a slot is written in the cycle in which it is read at
the earliest, so both passes run at full speed.

Rank n + 1 is an exponent only: it is asked for nothing else, and nothing below it comes back.

With `b_low` a block can have narrow codes: its reference stands b - b_low exponents higher, so that
every significand moves that much further down. A block without outliers is held as one whose ranks
are empty and whose scale is that of the first.

Latency 1, k / lanes beats a block.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.memory import Memory

from narrowgauge.golden.units.mx_quantize import Params
from narrowgauge.hdl.arith.sorting import Rank, Sorter, largest
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.mx_codes import fp4_code, int_code

__all__ = ["MxQuantize"]


_MAGNITUDE = 15


class MxQuantize(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.mx_quantize.Params`

    Ports
    -----
    i : stream of `params.input`
    o : stream of `params.output`; scale, outliers and positions stay the same over a block's beats
    """

    latency = 1

    def __init__(self, params: Params) -> None:
        self._params = params
        self.interval = params.beats
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Buffer, search, codes."""
        m = Module()
        p = self._params
        bits = 16 * p.lanes
        m.submodules.buffer = buffer = Memory(shape=bits, depth=p.beats, init=[])
        write = buffer.write_port()
        # Read and written at once only where a block is one beat.
        read = buffer.read_port(transparent_for=(write,) if p.beats == 1 else ())
        write_beat = Signal(range(p.beats))
        read_beat = Signal(range(p.beats))
        busy, accept, emit, last = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            # The first pass is never ahead of the second by more than a block.
            self.i.ready.eq(~busy | emit | (write_beat != read_beat)),
            accept.eq(self.i.valid & self.i.ready),
            self.o.valid.eq(busy),
            emit.eq(busy & self.o.ready),
            last.eq(read_beat.all()),
            write.addr.eq(write_beat),
            write.data.eq(Cat(self.i.payload.x)),
            write.en.eq(accept),
        ]
        done = Signal()
        next_beat = Signal(range(p.beats))
        m.d.comb += [
            done.eq(accept & write_beat.all()),
            next_beat.eq(read_beat + emit),
            # A word is read once, for the cycles in which its beat stands at the output.
            read.addr.eq(next_beat),
            read.en.eq(done | (emit & ~last)),
        ]
        with m.If(accept):
            m.d.sync += write_beat.eq(write_beat + 1)
        m.d.sync += read_beat.eq(next_beat)
        with m.If(done):
            m.d.sync += busy.eq(1)
        with m.Elif(emit & last):
            m.d.sync += busy.eq(0)

        low, plain, emptied = self._choices(m, accept, done, write_beat)
        m.submodules.search = search = Module()
        ranks = self._search(search, accept, done, write_beat, emptied)
        outliers, top = ranks[:-1], ranks[-1].magnitude
        payload = self.o.payload
        m.d.comb += payload.last.eq(last)
        for j, rank in enumerate(outliers):
            m.d.comb += payload.outliers[j].eq(Cat(rank.magnitude, rank.sign))
            m.d.comb += payload.positions[j].eq(rank.position)
        m.submodules.codes = codes = Module()
        taken = self._taken(codes, [rank.position for rank in outliers], read_beat, plain)
        nan = Signal()
        m.d.comb += nan.eq(top.all())
        reference: Value = Signal(8, name="reference")
        if p.element == "int":
            # Scale 0 shifts its subnormals as scale 1 would, from one place higher.
            m.d.comb += [reference.eq(Cat(top[0] | ~top.any(), top[1:])), payload.scale.eq(top)]
            if low is not None:
                raised = Signal(9)
                m.d.comb += raised.eq(reference + Mux(low, p.b - p.b_low, 0))
                reference = raised
        else:
            # The largest magnitude stands at the exponent 2 above the scale, which is at least 0.
            small = Signal()
            m.d.comb += [
                small.eq(~top[1:].any()),
                reference.eq(Mux(small, 2, top)),
                payload.scale.eq(Mux(nan, 255, reference - 2)),
            ]
        for i in range(p.lanes):
            x = read.data[16 * i : 16 * (i + 1)]
            if p.element == "int":
                code = int_code(codes, p, x, reference, ~top.any(), low, f"lane{i}")
            else:
                code = fp4_code(codes, p, x, reference, f"lane{i}")
            dropped = nan | taken[i] if p.n else nan
            kept = Signal(len(payload.codes[i]), name=f"lane{i}_code")
            codes.d.comb += kept.eq(Mux(dropped, 0, code))
            m.d.comb += payload.codes[i].eq(kept)
        return m

    def _choices(
        self, m: Module, accept: Value, done: Value, beat: Signal
    ) -> tuple[Signal | None, Signal | None, Signal | None]:
        """`low` and `plain` for the second pass, and `plain` for the end of the first."""
        if not self._params.b_low:
            return None, None, None
        made = []
        for name in ("low", "plain"):
            working = Signal(name=f"working_{name}", reset_less=True)
            held = Signal(name=f"held_{name}", reset_less=True)
            with m.If(accept & ~beat.any()):
                m.d.sync += working.eq(self.i.payload[name])
            with m.If(done):
                m.d.sync += held.eq(working)
            made += [working, held]
        return made[1], made[3], made[2]

    def _search(
        self, m: Module, accept: Value, done: Value, beat: Signal, emptied: Signal | None
    ) -> list[Rank]:
        """The n + 1 largest of a block, held for its second pass; the last is an exponent only.

        Where `emptied`, the first n are held as +0 at 0..n-1, and the last is the largest's.
        """
        p = self._params
        if not p.n:
            return [self._largest_exponent(m, accept, done)]
        lane_bits = (p.lanes - 1).bit_length()
        lanes = [
            Rank(x[:_MAGNITUDE], x[_MAGNITUDE], Const(i, lane_bits))
            for i, x in enumerate(self.i.payload.x[i] for i in range(p.lanes))
        ]
        sorter = Sorter(m, "sort", most=p.n + 1, compared=lane_bits)
        fresh = [
            Rank(rank.magnitude, rank.sign, Cat(rank.position, beat)) for rank in sorter.sort(lanes)
        ]
        working, held = self._registers("working"), self._registers("held", reset_less=True)
        # Below every element of its exponent, of which one is as good as another.
        last = Cat(Const(0, _MAGNITUDE - 8), working[-1].magnitude)
        before = [*working[:-1], Rank(last, Const(0, 1), Const(-1, p.position_bits))]
        merger = Sorter(m, "merge", most=p.n + 1, compared=p.position_bits)
        ranks = merger.merge(before, fresh, p.n + 1)
        ranks[-1] = Rank(ranks[-1].magnitude[_MAGNITUDE - 8 :], Const(0, 1), Const(0, 1))
        with m.If(accept):
            for old, new in zip(working, ranks, strict=True):
                m.d.sync += [old.fields[f].eq(new.fields[f]) for f in self._kept(old)]
        with m.If(done):
            for old, again, new in zip(held, working, ranks, strict=True):
                m.d.sync += [old.fields[f].eq(new.fields[f]) for f in self._kept(old)]
                m.d.sync += [again.fields[f].eq(again.fields[f].init) for f in self._kept(again)]
            if emptied is not None:
                with m.If(emptied):
                    largest_exponent = ranks[0].magnitude[_MAGNITUDE - 8 :]
                    m.d.sync += held[-1].magnitude.eq(largest_exponent)
                    for j, old in enumerate(held[:-1]):
                        m.d.sync += [old.magnitude.eq(0), old.sign.eq(0), old.position.eq(j)]
        return held

    def _largest_exponent(self, m: Module, accept: Value, done: Value) -> Rank:
        """The same without outliers: nothing has to be sorted."""
        working, held = Signal(8, name="working_exponent"), Signal(8, reset_less=True)
        beat = [x[7:_MAGNITUDE] for x in (self.i.payload.x[i] for i in range(self._params.lanes))]
        top = largest(m, [*beat, working], "largest")
        with m.If(accept):
            m.d.sync += working.eq(top)
        with m.If(done):
            m.d.sync += [working.eq(0), held.eq(top)]
        return Rank(held, Const(0, 1), Const(0, 1))

    def _registers(self, name: str, *, reset_less: bool = False) -> list[Rank]:
        """A list that every element of a block stands before, or at the last position equals."""
        p = self._params
        last = (1 << p.position_bits) - 1
        made = [
            Rank(
                Signal(_MAGNITUDE, name=f"{name}{r}_magnitude", reset_less=reset_less),
                Signal(name=f"{name}{r}_sign", reset_less=reset_less),
                Signal(
                    p.position_bits,
                    name=f"{name}{r}_position",
                    init=last,
                    reset_less=reset_less,
                ),
            )
            for r in range(p.n)
        ]
        top = Signal(8, name=f"{name}{p.n}_exponent", reset_less=reset_less)
        return [*made, Rank(top, Const(0, 1), Const(0, 1))]

    def _kept(self, rank: Rank) -> list[str]:
        """Fields that are registers."""
        return [name for name, value in rank.fields.items() if isinstance(value, Signal)]

    def _taken(
        self, m: Module, positions: list[Value], beat: Signal, plain: Signal | None
    ) -> Value:
        """Which lanes of the beat hold an outlier; none of a block that is `plain`."""
        p = self._params
        lanes = (p.lanes - 1).bit_length()
        taken = Const(0, p.lanes)
        for j, position in enumerate(positions):
            here = Signal(p.lanes, name=f"taken{j}")
            match = Signal(name=f"taken{j}_beat")
            here_too = position[lanes:] == beat
            m.d.comb += match.eq(here_too if plain is None else here_too & ~plain)
            m.d.comb += [here[i].eq(match & (position[:lanes] == i)) for i in range(p.lanes)]
            taken = taken | here
        return taken
