"""The data path of a combinational stream component, and what runs beside it."""

from dataclasses import dataclass

import numpy as np

from narrowgauge.verify.prove.claims import Claim, Context, Counterexample, Proof, Stopwatch
from narrowgauge.verify.prove.gates import Gates, gates

__all__ = ["Datapath", "Handshake", "datapath"]


@dataclass(frozen=True, kw_only=True)
class Datapath:
    """From the payload's bits to TDATA.

    Parameters
    ----------
    gates : the design
    inputs : nets of the input payload, lowest bit first, without padding
    outputs : nets of the whole of the output's TDATA
    reason : why the outputs are no function of the inputs alone; empty where they are
    """

    gates: Gates
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    reason: str


def datapath(context: Context) -> Datapath:
    """The data path of a design; `reason` is set where padding or handshake reach the data."""
    made = gates(context.design.text, context.design.name)
    width = context.params.input.width
    inputs = made.inputs["s_axis_tdata"][:width]
    outputs = made.outputs["m_axis_tdata"]
    support = made.support(outputs)
    foreign = [
        f"{port}[{bit}]" if len(nets) > 1 else port
        for port, nets in made.inputs.items()
        for bit, net in enumerate(nets)
        if net in support and not (port == "s_axis_tdata" and bit < width)
    ]
    reason = f"the result depends on {', '.join(foreign)}" if foreign else ""
    return Datapath(gates=made, inputs=inputs, outputs=outputs, reason=reason)


@dataclass(frozen=True, kw_only=True)
class Handshake(Claim):
    """Valid and ready pass straight through, and depend on nothing else."""

    claim: str = "valid and ready pass through, apart from the data"
    method: str = "exhaustive, against the wires"
    size: str = "all 2^4 control inputs"

    def settle(self, context: Context) -> Proof:
        """Evaluate the two outputs over all values of what they may depend on."""
        watch = Stopwatch()
        path = datapath(context)
        if path.reason:
            return self._refuted(watch, path.reason)
        made = path.gates
        pairs = {"m_axis_tvalid": "s_axis_tvalid", "s_axis_tready": "m_axis_tready"}
        data = set(made.inputs["s_axis_tdata"])
        control = [net for nets in made.inputs.values() for net in nets if net not in data]
        rows = np.arange(1 << len(control), dtype=np.uint64)
        driven = {net: -((rows >> np.uint64(i)) & np.uint64(1)) for i, net in enumerate(control)}
        for out, source in pairs.items():
            (net,) = made.outputs[out]
            if made.support([net]) & data:
                return self._refuted(watch, f"{out} depends on s_axis_tdata")
            (got,) = made.evaluate(driven, [net])
            if (got != driven[made.inputs[source][0]]).any():
                return self._refuted(watch, f"{out} is not {source}")
        return self.proof("proved", watch.seconds)

    def _refuted(self, watch: Stopwatch, text: str) -> Proof:
        return self.proof("refuted", watch.seconds, counterexample=Counterexample(text=text))
