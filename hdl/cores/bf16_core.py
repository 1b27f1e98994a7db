"""bf16 core: what `opal_core` does, on a bf16 array with a bf16 softmax; see `cores.baseline`."""

from amaranth.hdl import Module

from narrowgauge.golden.cores.bf16_core import Params
from narrowgauge.hdl.cores.baseline import BaselineCore
from narrowgauge.hdl.units.bf16_dot import Bf16Dot

__all__ = ["Bf16Core"]


class Bf16Core(BaselineCore):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.cores.bf16_core.Params`

    Ports
    -----
    i : stream of `params.input`, packets
    o : stream of `params.output`, their answers
    """

    def __init__(self, params: Params) -> None:
        self._dot = params.dot
        super().__init__(params)

    def array(self, m: Module) -> Bf16Dot:
        """The array, its weights connected."""
        dot = Bf16Dot(self._dot)
        m.d.comb += dot.i.payload.b.eq(self.i.payload.word)
        return dot
