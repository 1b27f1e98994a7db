"""SystemVerilog around a generated module: active-low reset, and a bench that replays vectors."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["aresetn", "bench"]

Port = Mapping[str, Any]


def _range(width: int) -> str:
    return f"[{width - 1}:0] " if width > 1 else ""


def aresetn(name: str, ports: Sequence[Port]) -> str:
    """`NAME_aresetn`: the module with `aclk` and `aresetn` in place of `clk` and `rst`.

    The reset asserts at once and is released by two flip-flops. Until it is released inside, the
    wrapper offers neither ready nor valid, so that no beat is lost at the edge of the reset.
    """
    streams = [port for port in ports if port["name"] not in ("clk", "rst")]
    declared = ["input  wire aclk", "input  wire aresetn"]
    wires: list[str] = []
    joined = [".clk(aclk)", ".rst(reset)"]
    gated: list[str] = []
    for port in streams:
        direction = "input " if port["direction"] == "input" else "output"
        declared.append(f"{direction} wire {_range(port['width'])}{port['name']}")
        inner = port["name"]
        if port["direction"] == "output" and inner.endswith(("ready", "valid")):
            inner = f"core_{inner}"
            wires.append(f"    wire {inner};")
            gated.append(f"    assign {port['name']} = {inner} && !reset;")
        joined.append(f".{port['name']}({inner})")
    header = ",\n    ".join(declared)
    connections = ",\n        ".join(joined)
    lines = "\n".join(wires + gated)
    return f"""\
`default_nettype none

module {name}_aresetn (
    {header}
);
    (* async_reg = "true" *) logic [1:0] held = 2'b11;
    wire reset = held[1];

    always_ff @(posedge aclk or negedge aresetn)
        if (!aresetn) held <= 2'b11;
        else held <= {{held[0], 1'b0}};

{lines}

    {name} core (
        {connections}
    );
endmodule

`default_nettype wire
"""


def bench(name: str, ports: Sequence[Port]) -> str:
    """`NAME_tb`: plays `+input=FILE` into the module and compares with `+expected=FILE`.

    The files are those of `narrowgauge vectors`, one beat a line in hexadecimal, TLAST above
    TDATA where the stream has it. Ends with PASS or, after the first beat that differs, FAIL and a
    non-zero exit code. Nothing compared is a failure.
    """
    widths = {port["name"]: int(port["width"]) for port in ports}
    into, out = widths["s_axis_tdata"], widths["m_axis_tdata"]
    in_last, out_last = "s_axis_tlast" in widths, "m_axis_tlast" in widths
    in_bits, out_bits = into + 4 * in_last, out + 4 * out_last
    last_in = f"        .s_axis_tlast(beat[{into}]),\n" if in_last else ""
    last_out = "        .m_axis_tlast(last),\n" if out_last else ""
    got = "{3'b0, last, data}" if out_last else "data"
    unused = "" if out_last else "    assign last = 1'b0;\n"
    # A bus beside the streams is left at rest.
    idle = "".join(
        f"        .{port['name']}({port['width']}'d0),\n"
        if port["direction"] == "input"
        else f"        .{port['name']}(),\n"
        for port in ports
        if not port["name"].startswith(("clk", "rst", "s_axis_", "m_axis_"))
    )
    return f"""\
module {name}_tb;
    reg clk = 1'b0;
    reg rst = 1'b1;
    reg offered = 1'b0;
    reg [{in_bits - 1}:0] beat = 0;
    wire taken;
    wire valid;
    wire [{out - 1}:0] data;
    wire last;
    reg [{out_bits - 1}:0] want;
    reg [8*1024-1:0] path;
    integer source, expected, status, sent = 0, compared = 0, idle = 0;

{unused}    {name} dut (
        .clk(clk),
        .rst(rst),
{idle}        .s_axis_tdata(beat[{into - 1}:0]),
        .s_axis_tvalid(offered),
{last_in}        .s_axis_tready(taken),
        .m_axis_tdata(data),
        .m_axis_tvalid(valid),
{last_out}        .m_axis_tready(1'b1)
    );

    always #5 clk = !clk;

    initial begin
        if (!$value$plusargs("input=%s", path)) $fatal(1, "give +input=FILE");
        source = $fopen(path, "r");
        if (source == 0) $fatal(1, "cannot read the input file");
        if (!$value$plusargs("expected=%s", path)) $fatal(1, "give +expected=FILE");
        expected = $fopen(path, "r");
        if (expected == 0) $fatal(1, "cannot read the expected file");
        repeat (4) @(negedge clk);
        rst = 1'b0;
        status = $fscanf(source, "%h\\n", beat);
        offered = status == 1;
        while (idle < 4096) begin
            // Sample just before the rising edge: what holds here is transferred by it.
            #4;
            idle = idle + 1;
            if (valid) begin
                idle = 0;
                status = $fscanf(expected, "%h\\n", want);
                if (status != 1) $fatal(1, "FAIL: more beats came out than expected");
                if ({got} !== want)
                    $fatal(1, "FAIL: beat %0d is %h, expected %h", compared, {got}, want);
                compared = compared + 1;
            end
            if (offered && taken) begin
                idle = 0;
                sent = sent + 1;
                @(negedge clk);
                status = $fscanf(source, "%h\\n", beat);
                offered = status == 1;
            end else @(negedge clk);
        end
        status = $fscanf(expected, "%h\\n", want);
        if (offered || status == 1) $fatal(1, "FAIL: stalled after %0d beats out", compared);
        if (compared == 0) $fatal(1, "FAIL: nothing was compared");
        $display("PASS: %0d beats in, %0d beats out", sent, compared);
        $finish;
    end
endmodule
"""
