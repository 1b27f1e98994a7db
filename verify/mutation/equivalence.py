"""Whether a mutant that lived differs from the design at all, settled by ABC on both as AIGs.

Design and mutant get the same environment: payloads count only while valid, and inputs that the
payload cannot hold do not occur (a sign-magnitude code is never -0). In it a mutant of a
combinational design is equivalent where no input tells the two apart (SAT sweeping, `&cec`), and
one with registers where no sequence from the initial state does (ABC's `dprove`).
"""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from narrowgauge.golden.errors import MissingToolError
from narrowgauge.golden.payload import Payload
from narrowgauge.verify.mutation.faults import SELECT, SELECT_BITS, Fault
from narrowgauge.verify.prove import yosys

__all__ = ["Settled", "settle"]


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What the solver says of one mutant.

    Parameters
    ----------
    status : "unknown" where no answer came in time
    reason : the engine's word
    tdata, tlast : an input beat that shows the difference, where the design is combinational
    """

    status: Literal["equivalent", "different", "unknown"]
    reason: str
    tdata: int | None = None
    tlast: int = 0


def _held(given: Payload) -> list[str]:
    """Verilog that hands `s_tdata` on as `held`, without codes that the payload cannot hold."""
    lines = []
    start = 0
    for field in given.data.fields:
        for low in range(start, start + field.bits, field.width):
            top, rest = (
                f"s_tdata[{low + field.width - 1}]",
                f"s_tdata[{low + field.width - 2}:{low}]",
            )
            if field.encoding == "sign_magnitude":
                whole = f"{{{top} & |{rest}, {rest}}}"
                lines.append(f"  assign held[{low + field.width - 1}:{low}] = {whole};")
            else:
                part = f"[{low + field.width - 1}:{low}]"
                lines.append(f"  assign held{part} = s_tdata{part};")
        start += field.bits
    if start < given.data_width:
        lines.append(f"  assign held[{given.data_width - 1}:{start}] = 0;")
    return lines


def _environment(top: str, given: Payload, made: Payload) -> str:
    """Verilog of `environment`, the design with what does not count taken away."""
    s_last = " .s_axis_tlast(s_tlast)," if given.has_last else ""
    m_last = " .m_axis_tlast(last)," if made.has_last else ""
    held = "\n".join(_held(given))
    return f"""
module environment(
  input clk, input rst,
  input [{given.data_width - 1}:0] s_tdata, input s_tlast, input s_tvalid, output s_tready,
  output [{made.data_width - 1}:0] m_tdata, output m_tlast, output m_tvalid, input m_tready,
  input [{SELECT_BITS - 1}:0] {SELECT}
);
  wire [{given.data_width - 1}:0] held;
  wire [{made.data_width - 1}:0] data;
  wire last;
{held}
  {top} dut (
    .clk(clk), .rst(rst), .{SELECT}({SELECT}),
    .s_axis_tdata(held), .s_axis_tvalid(s_tvalid), .s_axis_tready(s_tready),{s_last}
    .m_axis_tdata(data), .m_axis_tvalid(m_tvalid),{m_last} .m_axis_tready(m_tready)
  );
  assign m_tdata = data & {{{made.data_width}{{m_tvalid}}}};
  assign m_tlast = {"last & m_tvalid" if made.has_last else "1'b0"};
endmodule
"""


def _chosen(given: Payload, made: Payload) -> str:
    """Verilog of `chosen`, the environment with the mutant `NUMBER` switched on."""
    return f"""
module chosen(
  input clk, input rst,
  input [{given.data_width - 1}:0] s_tdata, input s_tlast, input s_tvalid, output s_tready,
  output [{made.data_width - 1}:0] m_tdata, output m_tlast, output m_tvalid, input m_tready
);
  environment all (
    .clk(clk), .rst(rst), .{SELECT}({SELECT_BITS}'d`NUMBER),
    .s_tdata(s_tdata), .s_tlast(s_tlast), .s_tvalid(s_tvalid), .s_tready(s_tready),
    .m_tdata(m_tdata), .m_tlast(m_tlast), .m_tvalid(m_tvalid), .m_tready(m_tready)
  );
endmodule
"""


_GATES = (
    *("proc", "flatten", "memory_map", "opt -fast", "techmap", "opt -fast", "dffunmap"),
    # Bits without a value are 0 in both, as they are in the simulation.
    *("simplemap", "setundef -zero -init", "setundef -zero", "opt_clean", "aigmap"),
)


def _abc(script: str, folder: Path, limit: float) -> str:
    """What ABC says; "" where the time is over."""
    spec = find_spec("pyosys")
    if spec is None or not spec.submodule_search_locations:
        raise MissingToolError("pyosys is not installed: pip install 'narrowgauge[prove]'")
    tool = Path(next(iter(spec.submodule_search_locations))) / "yosys-abc"
    try:
        done = subprocess.run(
            [str(tool), "-c", script], cwd=folder, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout


def _settle(folder: Path, number: int, limit: float) -> Settled:
    """The verdict on `NUMBER.aig` against `0.aig`."""
    with open(folder / "0.aig", "rb") as stream:
        registers = int(stream.readline().split()[3])
    if not registers:
        said = _abc(f"&r 0.aig; &cec -T {max(1, round(limit))} {number}.aig", folder, limit + 30)
        method = "no input tells it apart (SAT)"
    else:
        # Where even unreachable states do not tell them apart, this is a matter of milliseconds.
        said = _abc(f"cec -T {max(1, round(limit))} 0.aig {number}.aig", folder, limit + 30)
        method = "no input tells it apart in any state (SAT)"
        if "Networks are equivalent" not in said:
            # Without bounded model checking, interpolation and BDDs: they settle nothing that the
            # rest does not, and do not heed the time.
            script = f"miter 0.aig {number}.aig; dprove -b -j -V 0 -T {max(1, round(limit))}"
            said = _abc(script, folder, 2 * limit)
            method = "no sequence tells it apart (induction, pdr)"
    if "Networks are equivalent" in said:
        return Settled(status="equivalent", reason=method)
    if "NOT EQUIVALENT" not in said:
        return Settled(status="unknown", reason=f"not settled within {limit:g} s")
    if registers:
        return Settled(status="different", reason="some sequence tells it apart")
    beat = dict(re.findall(r"(s_tdata|s_tlast) = \d+'h([0-9A-F]+)", said))
    return Settled(
        status="different",
        reason="an input tells it apart",
        tdata=int(beat.get("s_tdata", "0"), 16),
        tlast=int(beat.get("s_tlast", "0"), 16),
    )


def settle(
    *,
    flat_rtlil: str,
    top: str,
    faults: Sequence[Fault],
    given: Payload,
    made: Payload,
    folder: Path,
    limit: float = 30.0,
) -> list[Settled]:
    """The verdict on each fault of a flattened design with the payloads `given` and `made`.

    `limit` is in seconds, of one engine; all of them take three times as long at most. Needs
    pyosys, which brings ABC (`MissingToolError`).
    """
    if not faults:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "flat.il").write_text(flat_rtlil)
    (folder / "environment.v").write_text(_environment(top, given, made))
    (folder / "chosen.v").write_text(_chosen(given, made))
    # Gates are made once, of the design with all the mutants in it.
    commands = [
        "read_rtlil flat.il",
        *(
            f"mutate {fault.command} -ctrl {SELECT} {SELECT_BITS} {number}"
            for number, fault in enumerate(faults, 1)
        ),
        "read_verilog environment.v",
        "hierarchy -top environment",
        *_GATES,
        "design -save gates",
    ]
    for number in range(len(faults) + 1):
        commands += [
            "design -load gates",
            f"read_verilog -DNUMBER={number} chosen.v",
            "hierarchy -top chosen",
            "flatten",
            "opt_clean",
            f"write_aiger -zinit -symbols {number}.aig",
        ]
    yosys.run(commands, folder, timeout=600.0 + 60.0 * len(faults))
    return [_settle(folder, number, limit) for number in range(1, len(faults) + 1)]
