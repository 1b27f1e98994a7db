"""All inputs of up to 32 bits through a compiled evaluation of the gates, 512 at a time.

The gates become straight-line C++ on 512-bit vectors, one bit an input. The specification is a C++
function of one input, written with the host's own IEEE 754 arithmetic; its results are transposed
into the same shape and compared. A run covers a range of inputs and ends at the first difference.
"""

import hashlib
import importlib.resources
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from narrowgauge.golden.errors import MissingToolError, NarrowgaugeError, UsageError
from narrowgauge.golden.payload import Payload
from narrowgauge.verify.prove.claims import Claim, Context, Proof, Stopwatch
from narrowgauge.verify.prove.counterexample import from_bits
from narrowgauge.verify.prove.gates import Gate
from narrowgauge.verify.prove.wires import Datapath, datapath

__all__ = ["Sliced"]

_FLAGS = [
    "-std=c++17",
    "-O3",
    "-march=native",
    # The specification means the operations that it states, each rounded by itself.
    "-ffp-contract=off",
    "-fno-math-errno",
]

_TEXT = {
    "buf": "{0}",
    "not": "~{0}",
    "and": "{0} & {1}",
    "or": "{0} | {1}",
    "xor": "{0} ^ {1}",
    "nand": "~({0} & {1})",
    "nor": "~({0} | {1})",
    "xnor": "~({0} ^ {1})",
    "andnot": "{0} & ~{1}",
    "ornot": "{0} | ~{1}",
    "mux": "({0} & ~{2}) | ({1} & {2})",
}


@dataclass(frozen=True, kw_only=True)
class Sliced(Claim):
    """RTL = specification, by trying all inputs of the payload, at most 32 bits.

    Parameters
    ----------
    specification : C++ text that defines `uint32_t specification(uint32_t FIELD, ...)`, one
        parameter a field of the input in its order, each its bits; the result is the whole of
        TDATA. `sliced.hpp` is there to be used
    """

    specification: str

    def settle(self, context: Context) -> Proof:
        """Compile, where that has not been done, and run the part's share of the inputs."""
        watch = Stopwatch()
        path = datapath(context)
        if path.reason:
            return self.proof("unknown", watch.seconds, reason=path.reason)
        bits = context.params.input.width
        if not 9 <= bits <= 32 or len(path.outputs) > 32:
            raise UsageError(
                f"9 to 32 bits of input and up to 32 of TDATA can be tried, {context.name} has "
                f"{bits} and {len(path.outputs)}"
            )
        program = _compiled(_source(path, context.params.input, self.specification), context)
        blocks = (1 << bits) // 512
        first = blocks * context.part // self.parts
        end = blocks * (context.part + 1) // self.parts
        try:
            done = subprocess.run(
                [str(program), str(first), str(end)],
                capture_output=True,
                text=True,
                timeout=context.limit,
            )
        except subprocess.TimeoutExpired:
            reason = f"not done in {context.limit:g} s"
            return self.proof("unknown", watch.seconds, reason=reason)
        words = done.stdout.split()
        if done.returncode == 0 and words == ["equal", str((end - first) * 512)]:
            return self.proof("proved", watch.seconds)
        if done.returncode == 1 and words[:1] == ["differ"]:
            given, want, got = (int(word) for word in words[1:])
            shown = from_bits(context.params, given, want, got)
            return self.proof("refuted", watch.seconds, counterexample=shown)
        raise NarrowgaugeError(f"the compiled proof of {context.name} ended with {done.returncode}")


def _line(gate: Gate) -> str:
    inputs = [f"n{net}" for net in gate.inputs]
    return f"  const word n{gate.output} = {_TEXT[gate.kind].format(*inputs)};"


def _source(path: Datapath, payload: Payload, specification: str) -> str:
    """The whole program."""
    lines = ['#include "sliced.hpp"', "", specification, ""]
    calls = []
    offset = 0
    for field in payload.fields:
        mask = (1 << field.bits) - 1
        calls.append(f"(x >> {offset}) & {mask:#x}u")
        offset += field.bits
    lines += [
        "static inline uint32_t expected(uint32_t x) {",
        f"  return specification({', '.join(calls)});",
        "}",
        "",
        "static inline void design(const word *x, word *y) {",
        "  const word n0 = word{};",
        "  const word n1 = ~n0;",
    ]
    lines += [f"  const word n{net} = x[{bit}];" for bit, net in enumerate(path.inputs)]
    lines += [_line(gate) for gate in path.gates.cone(path.outputs)]
    lines += [f"  y[{bit}] = n{net};" for bit, net in enumerate(path.outputs)]
    lines += ["  (void)n1;", "}", ""]
    lines += [
        "int main(int count, char **words) {",
        f"  return search<{len(path.inputs)}, {len(path.outputs)}>"
        "(count, words, design, expected);",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _compiled(source: str, context: Context) -> Path:
    """The program of a source; one compiled before for the same compiler and machine is used."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise MissingToolError(f"no C++ compiler {compiler!r}: apt install g++, or set CXX")
    header = importlib.resources.files("narrowgauge.verify.prove") / "sliced.hpp"
    # What -march=native means here: the program must not be taken for another machine's.
    probe = [compiler, "-march=native", "-E", "-v", "-x", "c++", os.devnull]
    native = subprocess.run(probe, capture_output=True, text=True)
    parts = [source, header.read_text(), *_FLAGS, native.stderr]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    program = context.folder / f"sliced-{digest}"
    if program.exists():
        return program
    with tempfile.TemporaryDirectory(dir=context.folder) as name:
        aside = Path(name)
        (aside / "sliced.hpp").write_text(header.read_text())
        (aside / "proof.cpp").write_text(source)
        done = subprocess.run(
            [compiler, *_FLAGS, "proof.cpp", "-o", "proof"],
            cwd=aside,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
            raise NarrowgaugeError(f"{compiler} cannot compile the proof: {lines[0]}")
        os.replace(aside / "proof", program)
    return program
