"""Weight-only core: what `opal_core` does, on bf16 activations and INT weights.

See `cores.baseline`; the scale of a row meets its result in a bf16 multiplier.
"""

from amaranth.hdl import Module

from narrowgauge.golden.cores.w4a16_core import Params
from narrowgauge.hdl.cores.baseline import BaselineCore
from narrowgauge.hdl.units.w4a16_dot import W4a16Dot

__all__ = ["W4a16Core"]


class W4a16Core(BaselineCore):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.cores.w4a16_core.Params`

    Ports
    -----
    i : stream of `params.input`, packets
    o : stream of `params.output`, their answers
    """

    scaled = True

    def __init__(self, params: Params) -> None:
        self._dot = params.dot
        super().__init__(params)

    def array(self, m: Module) -> W4a16Dot:
        """The array, its weights connected."""
        dot = W4a16Dot(self._dot)
        beat = self.i.payload
        m.d.comb += [dot.i.payload.w.eq(beat.word), dot.i.payload.w_scale.eq(beat.scale)]
        return dot
