"""Floats to groups of FB12, FB16 or FB24: one pass finds the largest exponent, one makes the codes.

The buffer is a ring of as many beats as the largest group has. A word is written at the earliest in
the cycle in which it is read, and a full ring always holds a whole group, so that one group of
storage serves both passes: a beat is taken every cycle as long as the output does not wait. What
the second pass needs of a group, its largest exponent and its mode, waits in a queue for as many
groups as a ring of the shortest whole ones has; only packets shorter than those can fill it.

Significands keep their leading one on top and move right to where the code's integer ends in bit 0:
by M - e, and by 8 or 12 more in the modes of 8 and 4 bits, which is added to M once for all lanes.
Rounding then is at one place, no bit is masked, and an element is set to zero by alignment where it
moves by 16 or more. A group with NaN stands so high that all of its codes move away.

Latency 2 from a group's end, one beat a cycle.
"""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.memory import Memory

from narrowgauge.golden.units.bfp_convert import Params
from narrowgauge.hdl.arith.carry_save import CarrySave
from narrowgauge.hdl.arith.sorting import largest
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.bfp_codes import Kept, code, keep

__all__ = ["BfpConvert"]

_LFSR = 31


class BfpConvert(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.bfp_convert.Params`

    Ports
    -----
    i : stream of `params.input`
    o : stream of `params.output`; scale and mode stay the same over a group's beats
    """

    latency = None
    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Ring, groups, codes, count."""
        m = Module()
        p = self._params
        beat, answer = self.i.payload, self.o.payload
        element = keep(p, beat.x[0]).bits
        seed = beat.seed if p.stochastic else Const(0, 0)
        width = len(element) * p.lanes + len(seed) + 2
        m.submodules.ring = ring = Memory(shape=width, depth=p.depth, init=[])
        write, read = ring.write_port(), ring.read_port()
        into, out, full, busy = Signal(range(p.depth)), Signal(range(p.depth)), Signal(), Signal()
        take, give, fetch, done, first = (
            Signal(name=n) for n in ("take", "give", "fetch", "done", "first")
        )
        end, last = read.data[-2], read.data[-1]
        m.submodules.search = search = Module()
        about = self._search(search, take, done)
        m.submodules.notes = notes = Module()
        top, asked, noted, room = self._notes(notes, about, take & done, fetch & first)
        after, following = Signal.like(into), Signal.like(out)
        m.d.comb += [
            self.i.ready.eq((~full | fetch) & room),
            take.eq(self.i.valid & self.i.ready),
            self.o.valid.eq(busy),
            give.eq(busy & self.o.ready),
            first.eq(~busy | end),
            # A word is read once, for the cycles in which its beat stands at the output.
            fetch.eq((~first | noted) & (~busy | self.o.ready)),
            after.eq(Mux(into == p.depth - 1, 0, into + 1)),
            following.eq(Mux(out == p.depth - 1, 0, out + 1)),
            write.addr.eq(into),
            write.en.eq(take),
            write.data.eq(Cat(*(keep(p, x).bits for x in beat.x), seed, done, beat.last)),
            read.addr.eq(out),
            read.en.eq(fetch),
        ]
        with m.If(take):
            m.d.sync += into.eq(after)
        with m.If(fetch):
            m.d.sync += [out.eq(following), busy.eq(1), full.eq(full & take)]
        with m.Else():
            m.d.sync += full.eq(full | (take & (after == out)))
            with m.If(give):
                m.d.sync += busy.eq(0)

        scale, mode = Signal(8, reset_less=True), Signal(2, reset_less=True)
        reference = Signal(9, reset_less=True)
        # Field 0 stands where field 1 does; codes of 4 and 8 bits end 12 and 8 bits lower.
        field, lower = Cat(top[0] | ~top.any(), top[1:]), Cat(Const(0, 2), ~asked.any(), ~asked[1])
        with m.If(fetch & first):
            m.d.sync += [
                scale.eq(field),
                mode.eq(asked),
                reference.eq((field + lower) | top.all().replicate(9)),
            ]
        random: list[Value] | None = None
        if p.stochastic:
            m.submodules.random = lfsr = Module()
            random = self._random(lfsr, read.data[-18:-2], give, last)
        wide, widest = Signal(), Signal()
        m.d.comb += [wide.eq(mode.any()), widest.eq(mode[1])]
        m.submodules.codes = codes = Module()
        gone = []
        for i in range(p.lanes):
            raw = read.data[len(element) * i :][: len(element)]
            kept = Kept.of(p, raw)
            made, far = code(
                codes,
                p,
                kept,
                reference,
                wide=wide,
                widest=widest,
                random=None if random is None else random[i],
                name=f"lane{i}",
            )
            m.d.comb += answer.codes[i].eq(made)
            gone.append(far)
        m.submodules.count = count = Module()
        m.d.comb += [
            answer.scale.eq(scale),
            answer.mode.eq(mode),
            answer.end.eq(end),
            answer.last.eq(last),
            answer.zeroed.eq(self._count(count, gone, scale.all(), give, last)),
        ]
        return m

    def _notes(
        self, m: Module, about: Value, put: Value, get: Value
    ) -> tuple[Value, Value, Value, Value]:
        """Field and mode of the group to be read next; whether there is one; room for more.

        As many as a ring of the shortest whole groups has.
        """
        p = self._params
        depth = max(2, -(-p.depth // min(p.beats)))
        m.submodules.queue = queue = Memory(shape=len(about), depth=depth, init=[])
        write, read = queue.write_port(), queue.read_port(domain="comb")
        into, out, full = Signal(range(depth)), Signal(range(depth)), Signal()
        after = Signal.like(into)
        m.d.comb += [
            after.eq(Mux(into == depth - 1, 0, into + 1)),
            write.addr.eq(into),
            write.data.eq(about),
            write.en.eq(put),
            read.addr.eq(out),
        ]
        with m.If(put):
            m.d.sync += into.eq(after)
        with m.If(get):
            m.d.sync += [out.eq(Mux(out == depth - 1, 0, out + 1)), full.eq(full & put)]
        with m.Else():
            m.d.sync += full.eq(full | (put & (after == out)))
        found, room = Signal(), Signal()
        m.d.comb += [found.eq(full | (into != out)), room.eq(~full | get)]
        return read.data[:8], read.data[8:], found, room

    def _search(self, m: Module, take: Value, done: Signal) -> Value:
        """What is noted of a group: largest field and mode."""
        p = self._params
        beat = self.i.payload
        number, running = Signal(range(p.depth)), Signal(8)
        asked, mode, length = Signal(2, reset_less=True), Signal(2), Signal(range(p.depth))
        fresh = Signal()
        size = p.format.mantissa_bits
        fields = [x[size : size + 8] for x in beat.x]
        top = largest(m, [*fields, running], "largest")
        final = [beats - 1 for beats in p.beats]
        m.d.comb += [
            fresh.eq(~number.any()),
            mode.eq(Mux(fresh, Cat(beat.mode[0] & ~beat.mode[1], beat.mode[1]), asked)),
            length.eq(Array([*final, final[-1]])[mode]),
            done.eq(beat.last | (number == length)),
        ]
        with m.If(take):
            m.d.sync += [
                asked.eq(mode),
                number.eq(Mux(done, 0, number + 1)),
                running.eq(Mux(done, 0, top)),
            ]
        return Cat(top, mode)

    def _random(self, m: Module, seed: Value, give: Value, last: Value) -> list[Value]:
        """Random bits of each lane for the beat at the output."""
        state, kept, begins = Signal(_LFSR), Signal(_LFSR, reset_less=True), Signal(init=1)
        m.d.comb += state.eq(Mux(begins, Cat(seed, ~seed[:15]), kept))
        with m.If(give):
            m.d.sync += [
                begins.eq(last),
                # Eight steps at once: no bit that comes in is tapped.
                kept.eq(Cat(state[_LFSR - 8 :] ^ state[_LFSR - 11 : -3], state[: _LFSR - 8])),
            ]
        return [
            Cat(*(state[(5 * lane + i) % _LFSR] for i in range(8)))
            for lane in range(self._params.lanes)
        ]

    def _count(self, m: Module, gone: list[Signal], nan: Value, give: Value, last: Value) -> Signal:
        """Elements set to zero up to this beat of its packet, at most all ones."""
        p = self._params
        before, count = Signal(p.count_bits), Signal(p.count_bits)
        # The lanes' bits come late: above them waits the count as it is and one more.
        size = p.lanes.bit_length()
        adder = CarrySave(m, size + 1, "here")
        for bit in gone:
            adder.add_bit(bit & ~nan, 0, arrival=2)
        adder.add(before[:size])
        low, high = Signal(size + 1), before[size:]
        more, over = Signal(len(high)), Signal()
        m.d.comb += [
            low.eq(adder.total()),
            more.eq(high + ~high.all()),
            over.eq(low[size] & high.all()),
            count.eq(Cat(low[:size] | over.replicate(size), Mux(low[size], more, high))),
        ]
        with m.If(give):
            m.d.sync += before.eq(Mux(last, 0, count))
        return count
