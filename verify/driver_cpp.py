"""The C++ that plays a script through the ports of a system, compiled with Verilator's model.

The script has a word of command a line: `S n` sends the next n beats, `E n` waits for n more
packets to come out, `W address data strobe` and `R address` use the bus, `I` waits until STATUS is
not busy, `C n` lets n cycles pass. Streams go on under all of them. Every line is answered by one
of output with the cycle; the first rule that is broken, or too many cycles without a transfer, ends
the run with a line that begins with `X`.
"""

__all__ = ["program"]

_TEXT = r"""
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>
#include "V@NAME@.h"
#include "verilated.h"

static const int IN = @IN@, OUT = @OUT@;  // bytes of TDATA
static V@NAME@ *top;
static uint64_t cycle = 0, quiet = 0, limit = 0;
static FILE *given_file, *taken_file;
static std::vector<uint8_t> beats;
static size_t next_beat = 0, quota = 0;
static uint64_t sent = 0, packets = 0;
static uint32_t source_share, sink_share, source_random, sink_random;
static bool offered = false, waiting = false;
static uint8_t held[OUT + 1];
static bool aw, w, b, ar, r;  // what was transferred on the bus in the last cycle
static uint32_t bus_data, bus_response;

static uint32_t step(uint32_t &x) {
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  return x;
}

static void fail(const char *what) {
  std::printf("X %s in cycle %llu\n", what, (unsigned long long)cycle);
  std::fflush(stdout);
  std::exit(0);
}

static void tick() {
  if (!offered) {
    bool go = next_beat < quota && (step(source_random) & 255) < source_share;
    if (go) {
      const uint8_t *from = &beats[next_beat * (IN + 1)];
      std::memcpy(&top->s_axis_tdata, from, IN);
      top->s_axis_tlast = from[IN];
      next_beat++;
      offered = true;
    } else {
      // What lies on the bus between beats must not matter.
      std::memset(&top->s_axis_tdata, (int)(cycle & 255), IN);
      top->s_axis_tlast = cycle & 1;
    }
    top->s_axis_tvalid = go;
  }
  top->m_axis_tready = (step(sink_random) & 255) < sink_share;
  top->clk = 0;
  top->eval();
  uint8_t now[OUT + 1];
  std::memcpy(now, &top->m_axis_tdata, OUT);
  now[OUT] = top->m_axis_tlast;
  if (waiting && !top->m_axis_tvalid) fail("m_axis_tvalid fell before the transfer");
  if (waiting && std::memcmp(now, held, OUT + 1)) fail("m_axis_tdata changed while it waited");
  waiting = top->m_axis_tvalid && !top->m_axis_tready;
  std::memcpy(held, now, OUT + 1);
  quiet++;
  if (top->s_axis_tvalid && top->s_axis_tready) {
    std::fwrite(&cycle, 8, 1, taken_file);
    offered = false;
    sent++;
    quiet = 0;
  }
  if (top->m_axis_tvalid && top->m_axis_tready) {
    std::fwrite(now, 1, OUT + 1, given_file);
    std::fwrite(&cycle, 8, 1, given_file);
    packets += now[OUT];
    quiet = 0;
  }
  aw = top->s_axi_awvalid && top->s_axi_awready;
  w = top->s_axi_wvalid && top->s_axi_wready;
  b = top->s_axi_bvalid && top->s_axi_bready;
  ar = top->s_axi_arvalid && top->s_axi_arready;
  r = top->s_axi_rvalid && top->s_axi_rready;
  if (b) bus_response = top->s_axi_bresp;
  if (r) {
    bus_response = top->s_axi_rresp;
    bus_data = top->s_axi_rdata;
  }
  top->clk = 1;
  top->eval();
  cycle++;
}

static void stuck() {
  if (quiet > limit) fail("no transfer for too long");
}

static void bus_write(uint32_t address, uint32_t data, uint32_t strobe) {
  top->s_axi_awaddr = address;
  top->s_axi_wdata = data;
  top->s_axi_wstrb = strobe;
  top->s_axi_awvalid = top->s_axi_wvalid = top->s_axi_bready = 1;
  for (int waited = 0;; waited++) {
    tick();
    if (aw) top->s_axi_awvalid = 0;
    if (w) top->s_axi_wvalid = 0;
    if (b) break;
    if (waited > 1000) fail("no answer to a write");
  }
  top->s_axi_bready = 0;
}

static void bus_read(uint32_t address) {
  top->s_axi_araddr = address;
  top->s_axi_arvalid = top->s_axi_rready = 1;
  for (int waited = 0;; waited++) {
    tick();
    if (ar) top->s_axi_arvalid = 0;
    if (r) break;
    if (waited > 1000) fail("no answer to a read");
  }
  top->s_axi_rready = 0;
}

int main(int argc, char **argv) {
  // script, beats, given, taken, source share, sink share (of 256), seed, limit
  if (argc != 9) return 2;
  VerilatedContext *context = new VerilatedContext;
  top = new V@NAME@{context};
  FILE *script = std::fopen(argv[1], "r");
  FILE *given = std::fopen(argv[2], "rb");
  given_file = std::fopen(argv[3], "wb");
  taken_file = std::fopen(argv[4], "wb");
  if (!script || !given || !given_file || !taken_file) return 3;
  std::fseek(given, 0, SEEK_END);
  beats.resize(std::ftell(given));
  std::rewind(given);
  if (std::fread(beats.data(), 1, beats.size(), given) != beats.size()) return 3;
  source_share = std::atoi(argv[5]);
  sink_share = std::atoi(argv[6]);
  source_random = std::strtoul(argv[7], 0, 10) * 2654435761u + 1;
  sink_random = source_random ^ 0x9e3779b9u;
  if (!source_random) source_random = 1;
  if (!sink_random) sink_random = 1;
  limit = std::strtoull(argv[8], 0, 10);
  top->rst = 1;
  for (int i = 0; i < 4; i++) {
    if (i == 3 && top->m_axis_tvalid) fail("m_axis_tvalid is high in reset");
    top->clk = 0;
    top->eval();
    top->clk = 1;
    top->eval();
  }
  top->rst = 0;
  char word;
  while (std::fscanf(script, " %c", &word) == 1) {
    unsigned long long x = 0, data = 0, strobe = 0;
    bus_data = bus_response = 0;
    quiet = 0;
    if (word == 'W' && std::fscanf(script, "%llu %llu %llu", &x, &data, &strobe) == 3) {
      bus_write(x, data, strobe);
    } else if (word == 'R' && std::fscanf(script, "%llu", &x) == 1) {
      bus_read(x);
    } else if (word == 'S' && std::fscanf(script, "%llu", &x) == 1) {
      quota += x;
      if (quota * (IN + 1) > beats.size()) return 4;
      while (sent < quota) {
        tick();
        stuck();
      }
    } else if (word == 'E' && std::fscanf(script, "%llu", &x) == 1) {
      static uint64_t expected = 0;
      expected += x;
      while (packets < expected) {
        tick();
        stuck();
      }
    } else if (word == 'I') {
      do {
        bus_read(@STATUS@);
        stuck();
      } while (bus_data & @BUSY@);
    } else if (word == 'C' && std::fscanf(script, "%llu", &x) == 1) {
      for (unsigned long long i = 0; i < x; i++) tick();
    } else {
      return 4;
    }
    std::printf("%c %llu %u %u\n", word, (unsigned long long)cycle, bus_data, bus_response);
  }
  std::fclose(given_file);
  std::fclose(taken_file);
  top->final();
  std::printf("END %llu\n", (unsigned long long)cycle);
  return 0;
}
"""


def program(name: str, input_bytes: int, output_bytes: int, status: int, busy: int) -> str:
    """Source for the module `name` with TDATA of so many bytes, busy being a bit of STATUS."""
    text = _TEXT.lstrip()
    for mark, value in (
        ("@NAME@", name),
        ("@IN@", str(input_bytes)),
        ("@OUT@", str(output_bytes)),
        ("@STATUS@", str(status)),
        ("@BUSY@", str(busy)),
    ):
        text = text.replace(mark, value)
    return text
