"""The Verilog around a design under test: source, sink, protocol assertions, recorder.

Everything that happens in every cycle happens here, in the simulator: beats are read from one
file and written to another, the streams are stalled by pattern, and the four stream rules are
asserted. Python only starts a pattern and waits for `done`. The text depends on the design's name
and port widths alone, so one build serves every level, seed and pattern.

Input file: one line of hex a beat, as {flags byte, TDATA}; flag 0 is TLAST, flag 1 marks the last
beat of a transaction. Output file: one line a beat, as {flags byte, TDATA}; flag 0 is TLAST.
"""

from dataclasses import dataclass

__all__ = ["ERRORS", "SINKS", "SOURCES", "Ports", "harness"]

ERRORS = {
    1: "m_axis_tvalid fell before the transfer: valid once raised must stay until ready",
    2: "m_axis_tdata changed while it waited: payload must be stable until the transfer",
    3: "m_axis_tvalid is X or Z",
    4: "m_axis_tdata is X or Z while valid",
    5: "s_axis_tready is X or Z",
    6: "more output beats than expected",
    7: "no transfer for {limit} cycles: the design is stuck, or dropped a beat",
    8: "m_axis_tvalid is high in reset",
    9: "the input file ended early",
}
"""Error code of the harness -> what it means."""

SOURCES = {"always": 0, "random": 1, "bursty": 2, "stalls": 3, "isolated": 4}
"""Idle patterns of the source. `isolated` waits for silence after each transaction."""

SINKS = {"always": 0, "random": 1, "bursty": 2, "stalls": 3, "patient": 4}
"""Backpressure patterns. `patient` raises ready only after valid, for one beat."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Widths in bits of TDATA, and whether there is TLAST, on both streams."""

    s_width: int
    s_last: bool
    m_width: int
    m_last: bool


_TEMPLATE = r"""
module harness(input wire clk /* verilator public_flat_rw */);
  // Driven and read by the bench.
  reg rst /* verilator public_flat_rw */ = 1;@MUTSEL@
  reg [2:0] source /* verilator public_flat_rw */ = 0;
  reg [2:0] sink /* verilator public_flat_rw */ = 0;
  reg [31:0] seed /* verilator public_flat_rw */ = 1;
  reg [31:0] beats_in /* verilator public_flat_rw */ = 0;
  reg [31:0] beats_out /* verilator public_flat_rw */ = 0;
  reg [31:0] abort_after /* verilator public_flat_rw */ = 0;
  reg [31:0] stuck_limit /* verilator public_flat_rw */ = 0;
  reg [31:0] drain /* verilator public_flat_rw */ = 0;
  reg done /* verilator public_flat_rw */ = 0;
  reg [3:0] error /* verilator public_flat_rw */ = 0;
  reg [31:0] error_cycle /* verilator public_flat_rw */ = 0;
  reg [31:0] error_beat /* verilator public_flat_rw */ = 0;
  reg [31:0] cycle /* verilator public_flat_rw */ = 0;
  reg [31:0] accepted /* verilator public_flat_rw */ = 0;
  reg [31:0] received /* verilator public_flat_rw */ = 0;
  reg [31:0] first_out /* verilator public_flat_rw */ = 0;
  reg [31:0] last_out /* verilator public_flat_rw */ = 0;
  reg [31:0] latency_min /* verilator public_flat_rw */ = 32'hffffffff;
  reg [31:0] latency_max /* verilator public_flat_rw */ = 0;

  reg [@SW@+7:0] word = 0;
  reg s_valid = 0;
  reg m_ready = 0;
  wire s_ready, m_valid;
  wire [@MW@-1:0] m_data;
  wire [7:0] m_flags;

  @NAME@ dut (
    .clk(clk), .rst(rst),@MUTANT@
    .s_axis_tdata(word[@SW@-1:0]), .s_axis_tvalid(s_valid), .s_axis_tready(s_ready),@SLAST@
    .m_axis_tdata(m_data), .m_axis_tvalid(m_valid), .m_axis_tready(m_ready)@MLAST@
  );
  @MFLAGS@

  integer in_file, out_file, code;
  reg [8*1024-1:0] path;
  initial begin
    if (!$value$plusargs("in=%s", path)) path = "in.hex";
    in_file = $fopen(path, "r");
    if (!$value$plusargs("out=%s", path)) path = "out.hex";
    out_file = $fopen(path, "w");
  end

  // Two generators (xorshift32), so that stalling one side does not change the other.
  function [31:0] step(input [31:0] x);
    reg [31:0] y;
    begin
      y = x ^ (x << 13);
      y = y ^ (y >> 17);
      step = y ^ (y << 5);
    end
  endfunction
  reg [31:0] s_random = 1, m_random = 1;
  reg [6:0] s_run = 0, m_run = 0;
  reg s_on = 1, m_on = 1;

  wire taken = s_valid & s_ready;
  wire given = m_valid & m_ready;
  wire ends = word[@SW@+1];
  reg was_reset = 0, was_long = 0, waiting = 0;
  reg [@MW@-1:0] held = 0;
  reg [7:0] held_flags = 0;
  reg [31:0] sent = 0, quiet = 0, since = 0, last_taken = 0;
  reg pending = 0, stop_source = 0, go = 0;
  reg [@SW@+7:0] next_word = 0;

  task fail(input [3:0] what);
    if (error == 0 && !done) begin
      error <= what;
      error_cycle <= cycle;
      error_beat <= received;
      done <= 1;
    end
  endtask

  always @(posedge clk) begin
    was_reset <= rst;
    was_long <= was_reset;
    if (rst) begin
      if (!was_reset) code = $fseek(in_file, 0, 0);
      // Two edges: at time zero an event-driven simulator has not settled before the first.
      if (was_reset && was_long && m_valid !== 1'b0) fail(8);
      else if (!was_reset) begin
        error <= 0;
        done <= 0;
      end
      s_valid <= 0;
      m_ready <= 0;
      cycle <= 0; accepted <= 0; received <= 0; sent <= 0; quiet <= 0; since <= 0;
      first_out <= 0; last_out <= 0; latency_min <= 32'hffffffff; latency_max <= 0;
      waiting <= 0; pending <= 0; stop_source = 0;
      s_random <= seed; m_random <= ~seed;
      s_run <= 0; m_run <= 0; s_on = 1; m_on = 1;
    end else if (!done) begin
      cycle <= cycle + 1;
      s_random <= step(s_random);
      m_random <= step(m_random);

      // Stream rules.
`ifndef VERILATOR  // which is two-valued
      if (^m_valid === 1'bx) fail(3);
      if (^s_ready === 1'bx) fail(5);
      if (m_valid && (^m_data === 1'bx || ^m_flags === 1'bx)) fail(4);
`endif
      if (waiting && !m_valid) fail(1);
      if (waiting && m_valid && (m_data !== held || m_flags !== held_flags)) fail(2);
      waiting <= m_valid & ~m_ready;
      held <= m_data;
      held_flags <= m_flags;

      // Recorder.
      if (given) begin
        $fdisplay(out_file, "%h", {m_flags, m_data});
        received <= received + 1;
        if (received == 0) first_out <= cycle;
        last_out <= cycle;
        if (received >= beats_out) fail(6);
      end
      if (taken) accepted <= accepted + 1;

      // Latency: from the transfer of a transaction's last beat to the next valid.
      if (taken && ends && source == 4) begin
        last_taken <= cycle;
        pending <= !m_valid;
      end
      if (m_valid && (pending || (taken && ends && source == 4))) begin
        pending <= 0;
        if (cycle - (pending ? last_taken : cycle) < latency_min)
          latency_min <= cycle - (pending ? last_taken : cycle);
        if (cycle - (pending ? last_taken : cycle) > latency_max)
          latency_max <= cycle - (pending ? last_taken : cycle);
      end

      // Source.
      quiet <= (taken || given) ? 0 : quiet + 1;
      s_run <= (s_run == 0) ? 0 : s_run - 1;
      case (source)
        3'd1: s_on = s_random[7];
        3'd2: if (s_run == 0) begin s_on = ~s_on; s_run <= {3'd0, s_random[11:8]}; end
        3'd3: if (s_run == 0) begin
          s_on = (s_random[12:8] != 0);
          s_run <= s_on ? 7'd0 : 7'd64;
        end
        3'd4: begin
          if (taken && ends) stop_source = 1;
          else if (quiet >= drain) stop_source = 0;
          s_on = !stop_source;
        end
        default: s_on = 1;
      endcase
      if (!s_valid || taken) begin
        go = s_on && sent < beats_in && (abort_after == 0 || sent < abort_after);
        if (go) begin
          code = $fscanf(in_file, "%h", next_word);
          if (code != 1) fail(9);
          word <= next_word;
          sent <= sent + 1;
        end else begin
          // What lies on the bus between beats must not matter.
          word <= ~word;
        end
        s_valid <= go;
      end

      // Sink.
      m_run <= (m_run == 0) ? 0 : m_run - 1;
      case (sink)
        3'd1: m_on = m_random[9];
        3'd2: if (m_run == 0) begin m_on = ~m_on; m_run <= {3'd0, m_random[14:11]}; end
        3'd3: if (m_run == 0) begin
          m_on = (m_random[17:13] != 0);
          m_run <= m_on ? 7'd0 : 7'd64;
        end
        3'd4: m_on = m_valid && !given && m_random[9];
        default: m_on = 1;
      endcase
      // From the last beat before a cut on, what is offered must be withdrawn by the reset.
      m_ready <= m_on && (abort_after == 0 || accepted + {31'd0, taken} < abort_after);

      // End: everything in and out, then silence; or stuck; or cut short for a reset.
      since <= (taken || given) ? 0 : since + 1;
      if (abort_after != 0 && accepted >= abort_after) done <= 1;
      else if (accepted == beats_in && received == beats_out && since >= drain) done <= 1;
      else if (since >= stuck_limit) fail(7);
    end
  end

  always @(posedge done) $fflush(out_file);
endmodule
"""


def harness(name: str, ports: Ports, select: int = 0) -> str:
    """Verilog of module `harness`, with one instance of module `name`.

    `select` is the width of the input `mutsel` of a design that holds mutants (`mutation.faults`),
    0 where there is none.
    """
    register = f"\n  reg [{select - 1}:0] mutsel /* verilator public_flat_rw */ = 0;"
    replacements = {
        "@NAME@": name,
        "@MUTSEL@": register if select else "",
        "@MUTANT@": " .mutsel(mutsel)," if select else "",
        "@SW@": str(ports.s_width),
        "@MW@": str(ports.m_width),
        "@SLAST@": f" .s_axis_tlast(word[{ports.s_width}])," if ports.s_last else "",
        "@MLAST@": ",\n    .m_axis_tlast(m_flags[0])" if ports.m_last else "",
        "@MFLAGS@": f"assign m_flags{'[7:1] = 7' if ports.m_last else ' = 8'}'d0;",
    }
    text = _TEMPLATE.lstrip()
    for mark, value in replacements.items():
        text = text.replace(mark, value)
    return text
