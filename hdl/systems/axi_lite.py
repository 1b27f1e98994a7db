"""AXI4-Lite slave of 32 bits: the channels on one side, one write and one read port on the other.

Address and data of a write come in any order and are kept until both are there; then the write is
done in one cycle and answered. Reads are sampled with their address. An address that the far side
does not know, and a write that it refuses, are answered with SLVERR and change nothing.

Every output is a register or a function of registers alone. A write takes two cycles and a read
two, from handshake to answer; writes and reads do not wait for each other.

Source: AMBA AXI and ACE protocol specification, part B.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AxiLite", "bus"]

_OKAY, _SLVERR = 0, 2


def bus(address_bits: int) -> dict[str, wiring.Member]:
    """The channels as seen by the slave, in the order of the standard."""
    return {
        "awaddr": In(address_bits),
        "awprot": In(3),
        "awvalid": In(1),
        "awready": Out(1),
        "wdata": In(32),
        "wstrb": In(4),
        "wvalid": In(1),
        "wready": Out(1),
        "bresp": Out(2),
        "bvalid": Out(1),
        "bready": In(1),
        "araddr": In(address_bits),
        "arprot": In(3),
        "arvalid": In(1),
        "arready": Out(1),
        "rdata": Out(32),
        "rresp": Out(2),
        "rvalid": Out(1),
        "rready": In(1),
    }


class AxiLite(wiring.Component):
    """See the module.

    Parameters
    ----------
    address_bits : of awaddr and araddr; the lowest two are not looked at

    Ports
    -----
    awaddr .. rready : the bus (`bus`)
    write : Out, a write is done in this cycle, if `write_known`
    write_word : Out, its address over 4
    write_data, write_strobe : Out, its 32 bits and which of its 4 bytes count
    write_known : In, the word can be written
    read_word : Out, the address that is read, over 4
    read_data, read_known : In, what is there, and whether there is something
    """

    def __init__(self, address_bits: int) -> None:
        super().__init__(
            {
                **bus(address_bits),
                "write": Out(1),
                "write_word": Out(address_bits - 2),
                "write_data": Out(32),
                "write_strobe": Out(4),
                "write_known": In(1),
                "read_word": Out(address_bits - 2),
                "read_data": In(32),
                "read_known": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Two buffers, two answers."""
        m = Module()
        address_held, data_held = Signal(), Signal()
        m.d.comb += [
            self.awready.eq(~address_held),
            self.wready.eq(~data_held),
            self.write.eq(address_held & data_held & ~self.bvalid),
        ]
        with m.If(self.awvalid & self.awready):
            m.d.sync += [address_held.eq(1), self.write_word.eq(self.awaddr[2:])]
        with m.If(self.wvalid & self.wready):
            m.d.sync += [
                data_held.eq(1),
                self.write_data.eq(self.wdata),
                self.write_strobe.eq(self.wstrb),
            ]
        with m.If(self.bvalid & self.bready):
            m.d.sync += self.bvalid.eq(0)
        with m.If(self.write):
            m.d.sync += [
                address_held.eq(0),
                data_held.eq(0),
                self.bvalid.eq(1),
                self.bresp.eq(Mux(self.write_known, _OKAY, _SLVERR)),
            ]

        m.d.comb += [self.arready.eq(~self.rvalid), self.read_word.eq(self.araddr[2:])]
        with m.If(self.arvalid & self.arready):
            m.d.sync += [
                self.rvalid.eq(1),
                self.rdata.eq(Mux(self.read_known, self.read_data, 0)),
                self.rresp.eq(Mux(self.read_known, _OKAY, _SLVERR)),
            ]
        with m.Elif(self.rready):
            m.d.sync += self.rvalid.eq(0)
        return m
