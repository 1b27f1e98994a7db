"""Coverage of `flexblock_core`: commands, statuses, modes, counters, what becomes of results.

Programs differ in what they are answered with, and a packet's answer depends on those before it: of
the streams' claims the rules of the handshake hold.
"""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores.flexblock_core import Params
from narrowgauge.golden.cores.flexblock_packets import Opcode, Side, Status, fields_of
from narrowgauge.golden.cores.packets import split
from narrowgauge.golden.payload import Batch
from narrowgauge.verify.prove.stream import HANDSHAKE, StreamClaim
from narrowgauge.verify.prove.stream import claims as of_streams

__all__ = ["claims", "coverage"]

Bins = dict[str, npt.NDArray[np.bool_]]

_NAN = 0x7FC00000
_INF = 0x7F800000


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """What holds of a design whose answers depend on what came before."""
    return of_streams(params, HANDSHAKE)


def _bins(params: Params) -> list[str]:
    """The names of all bins."""
    names = ["unknown_opcode", "NOP", "after"]
    names += [f"LOAD_{side.name}" for side in Side]
    names += [f"LOAD_{status.name}" for status in Status if status != Status.BEYOND]
    names += [f"RUN_{status.name}" for status in Status]
    names += [f"mode_{mode}_{of}" for mode in range(4) for of in ("shared", "private")]
    names += ["begin", "add", "hold", "add_hold", "some_kept", "one_kept"]
    names += [f"counts_{name}" for name in ("beats", "t2", "t1", "n2", "n1")]
    names += ["groups_in_a_tap", "group_with_its_tap", "largest_group", "one_beat", "backwards"]
    names += ["many_sums", "nan", "infinite", "zero", "load_behind_a_run"]
    if params.load > 1:
        names.append("words_in_part")
    return names


def _packet(params: Params, part: Batch, answer: Batch, before: int) -> set[str]:
    """Names of the bins that one packet hits; `before` is the opcode of the one before."""
    header = fields_of(params.header, part["word"][:1])
    opcode = header["opcode"]
    if opcode not in list(Opcode):
        return {"unknown_opcode"}
    if opcode == Opcode.NOP:
        return {"NOP"}
    status = Status(int(answer["status"][-1]))
    name = Opcode(opcode).name
    hits = {f"{name}_{status.name}"}
    if status in (Status.ILLEGAL, Status.CUT):
        return hits
    if opcode == Opcode.LOAD:
        hits.add(f"LOAD_{Side(header['side']).name}")
        hits |= {"after"} if header["after"] else set()
        hits |= {"words_in_part"} if header["words"] % params.load else set()
        hits |= {"load_behind_a_run"} if before == Opcode.RUN and not header["after"] else set()
        return hits
    return hits | _run(params, header, part, answer)


def _run(params: Params, header: dict[str, int], part: Batch, answer: Batch) -> set[str]:
    """Of a RUN that is carried out."""
    fields = fields_of(params.run, part["word"][1 : 1 + params.run_beats])
    mode = header["mode"]
    hits = {f"mode_{mode}_{'shared' if header['shared'] else 'private'}"}
    kinds = {(0, 0): "begin", (1, 0): "add", (0, 1): "hold", (1, 1): "add_hold"}
    hits.add(kinds[header["add"], header["hold"]])
    kept = header["keep"].bit_count()
    if mode == 0 and kept < 4:
        hits.add("one_kept" if kept == 1 else "some_kept")
    hits |= {f"counts_{name}" for name in ("beats", "t2", "t1", "n2", "n1") if fields[name]}
    group, beats = fields["group"], fields["beats"]
    hits.add("groups_in_a_tap" if group < beats else "group_with_its_tap")
    hits |= {"largest_group"} if group == params.pe.beats(min(mode, 2)) - 1 else set()
    hits |= {"one_beat"} if not beats else set()
    moves = ("move_t2", "move_t1", "move_n2", "move_n1")
    hits |= {"backwards"} if any(fields[name] >> params.address_bits for name in moves) else set()
    count = (fields["n1"] + 1) * (fields["n2"] + 1) * (kept if mode == 0 else 1)
    hits |= {"many_sums"} if header["hold"] and count > params.sums else set()
    magnitude = answer["data"] & 0x7FFFFFFF
    for name, value in (("nan", _NAN), ("infinite", _INF), ("zero", 0)):
        hits |= {name} if (magnitude == value).any() else set()
    return hits


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a program."""
    programs = len(batch["final"])
    bins = {name: np.zeros(programs, np.bool_) for name in _bins(params)}
    starts = np.concatenate([[0], np.cumsum(outputs["answered"])])
    for number in range(programs):
        beats = {name: values[number] for name, values in batch.items()}
        beats["last"] = beats.pop("final")
        span = slice(starts[number], starts[number + 1])
        given = {field.name: outputs[field.name][span] for field in params.output.fields}
        answers = iter(split(given))
        before = 0
        for part in split(beats):
            opcode = int(part["word"][0, 0]) & 15
            answer = next(answers) if opcode else given
            for name in _packet(params, part, answer, before) & bins.keys():
                bins[name][number] = True
            before = opcode
    return bins
