"""The mode of each layer and pass, one step up or down an interval, by its zero-setting error.

    share = zeroed / elements, summed over an interval; share < lower: down, share > upper: up

A beat reports a tensor of an entry: how many of its elements alignment set to zero, of how many.
`load` sets the entry's mode, and its sums begin with this report; `end`, or `last`, ends the
interval with this report. Such a beat is answered with the entry's mode from now on, the share, and
whether the mode moved; its sums begin anew. Thresholds are fractions, read with the beats that end.

Mode 3 loads as 2. Sums are exact for 2^interval_bits reports and wrap beyond. More zeroed than
elements: a share of all ones. An entry that was never loaded has what the memory held.

Source: `golden.precision`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError, check_limits
from narrowgauge.golden.formats import bf16_values, get_box, zero_setting
from narrowgauge.golden.payload import Batch, Field, Payload, join
from narrowgauge.golden.precision import decide, share_of
from narrowgauge.golden.units.scores import rows_of
from narrowgauge.golden.units.stimuli import blocks as transactions
from narrowgauge.golden.units.stimuli import filled, real_rows

__all__ = ["Params", "Sums", "model", "output_lengths", "sums_of", "vectors"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Params:
    """All of them say what.

    Parameters
    ----------
    entries : passes of layers, 2..4096
    count_bits : bits of a report's numbers, 4..32
    interval_bits : an interval may have 2^interval_bits reports, 1..16
    fraction_bits : bits of a share and of thresholds, 4..16; with the others at most 60
    """

    entries: int = 64
    count_bits: int = 24
    interval_bits: int = 10
    fraction_bits: int = 8

    def __post_init__(self) -> None:
        check_limits(
            self,
            entries=(2, 4096),
            count_bits=(4, 32),
            interval_bits=(1, 16),
            fraction_bits=(4, 16),
        )
        if self.sum_bits + self.fraction_bits > 60:
            raise UsageError(
                "count_bits, interval_bits and fraction_bits must be at most 60 together, "
                f"got {self.sum_bits + self.fraction_bits}"
            )

    @property
    def sum_bits(self) -> int:
        """Bits of a sum."""
        return self.count_bits + self.interval_bits

    @property
    def entry_bits(self) -> int:
        """Bits of an entry's number."""
        return (self.entries - 1).bit_length()

    @property
    def input(self) -> Payload:
        """A report."""
        return Payload(
            (
                Field(name="entry", width=self.entry_bits),
                Field(name="load", width=1),
                Field(name="mode", width=2),
                Field(name="zeroed", width=self.count_bits),
                Field(name="elements", width=self.count_bits),
                Field(name="lower", width=self.fraction_bits),
                Field(name="upper", width=self.fraction_bits),
                Field(name="end", width=1),
                Field(name="last", width=1),
            )
        )

    @property
    def output(self) -> Payload:
        """The answer to a report that ends an interval."""
        return Payload(
            (
                Field(name="entry", width=self.entry_bits),
                Field(name="mode", width=2),
                Field(name="share", width=self.fraction_bits),
                Field(name="lowered", width=1),
                Field(name="raised", width=1),
                Field(name="last", width=1),
            )
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """An entry as each report leaves it, before a decision; arrays are (beats,).

    Parameters
    ----------
    mode, zeroed, elements : of the entry
    end : the report is answered
    new_mode, share : after the decision, where `end`
    """

    mode: Ints
    zeroed: Ints
    elements: Ints
    end: npt.NDArray[np.bool_]
    new_mode: Ints
    share: Ints


def sums_of(params: Params, batch: Batch) -> Sums:
    """Follow the entries, which hold zeros before they are loaded."""
    kept = np.zeros((params.entries, 3), np.int64)
    rows = []
    mask = (1 << params.sum_bits) - 1
    names = ("entry", "load", "mode", "zeroed", "elements", "lower", "upper", "end", "last")
    for beat in zip(*(batch[name].tolist() for name in names), strict=True):
        entry, load, mode, zeroed, elements, lower, upper, end, last = beat
        at = entry % params.entries
        if load:
            kept[at] = min(mode, 2), 0, 0
        kept[at, 1:] = (kept[at, 1:] + (zeroed, elements)) & mask
        now, a, b = kept[at].tolist()
        made = share = 0
        if end or last:
            bits = params.fraction_bits
            share = int(share_of(a, b, bits))
            made = int(decide(now, a, b, lower=lower, upper=upper, fraction_bits=bits))
            kept[at] = made, 0, 0
        rows.append((now, a, b, end or last, made, share))
    columns = np.array(rows, np.int64).reshape(-1, 6).T
    return Sums(
        mode=columns[0],
        zeroed=columns[1],
        elements=columns[2],
        end=columns[3] == 1,
        new_mode=columns[4],
        share=columns[5],
    )


def model(params: Params, batch: Batch) -> Batch:
    """Reports to the answers of those that end an interval."""
    beats = params.input.check(batch)
    if len(beats["entry"]) and beats["entry"].max() >= params.entries:
        raise UsageError(
            f"entry must be below entries={params.entries}, got {beats['entry'].max()}"
        )
    at = sums_of(params, beats)
    moved = (at.new_mode - at.mode)[at.end]
    return {
        "entry": beats["entry"][at.end],
        "mode": at.new_mode[at.end],
        "share": at.share[at.end],
        "lowered": (moved < 0).astype(np.int64),
        "raised": (moved > 0).astype(np.int64),
        "last": beats["last"][at.end],
    }


def output_lengths(params: Params, outputs: Batch) -> Ints:
    """Answers to each group of reports."""
    return rows_of(outputs["last"]).lengths


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Groups of reports on one entry to six, each loaded first; shares about the thresholds."""
    rng = np.random.default_rng(seed)
    if level == "real":
        return join([_real(params, rows) for rows, _ in real_rows(rng, 12)])
    return filled(transactions(level, smoke=3_000), lambda: _reports(params, rng))


def _reports(params: Params, rng: np.random.Generator) -> Batch:
    count = int(rng.integers(1, 40))
    most, grid = (1 << params.count_bits) - 1, 1 << params.fraction_bits
    known = rng.permutation(params.entries)[: rng.integers(1, 7)]
    known[0] = rng.choice([known[0], 0, params.entries - 1])
    entry = rng.choice(known, count)
    load = (rng.random(count) < 0.05).astype(np.int64)
    load[np.unique(entry, return_index=True)[1]] = 1
    low, high = np.sort(rng.integers(0, grid, (2, 1)), axis=0)
    if rng.random() < 0.3:
        low, high = rng.integers(0, grid, (2, count))
    elif rng.random() < 0.2:
        low, high = np.array([[0], [grid - 1]])
    elif rng.random() < 0.2:
        low = high
    elements = rng.integers(0, most + 1, count) >> rng.integers(0, params.count_bits, count)
    if rng.random() < 0.2:
        elements[:] = most
    near = rng.choice([0, 1], count) * (high - low) + low
    zeroed = np.where(
        rng.random(count) < 0.5, elements * near // grid, (rng.random(count) * elements).astype(int)
    )
    zeroed += rng.choice([0, 0, 0, 1, -1], count)
    kind = rng.random(count)
    zeroed = np.where(kind < 0.05, elements, np.where(kind < 0.08, 0, zeroed))
    zeroed = np.where(kind > 0.97, rng.integers(0, most + 1, count), zeroed)
    last = np.zeros(count, np.int64)
    last[-1] = 1
    return params.input.beats(
        count,
        entry=entry,
        load=load,
        mode=rng.integers(0, 4, count),
        zeroed=np.clip(zeroed, 0, most),
        elements=elements,
        lower=low,
        upper=high,
        end=rng.random(count) < rng.choice([0.1, 0.5, 1]),
        last=last,
    )


def _real(params: Params, rows: npt.NDArray[np.uint16]) -> Batch:
    """Tokens of a tensor in FB12, FB16 and FB24 as three entries, intervals of four."""
    reports = []
    most = (1 << params.count_bits) - 1
    for token, row in enumerate(rows):
        for entry, name in enumerate(("fb12_g216", "fb16_g108", "fb24_g54")):
            # As much of it as can be counted.
            part = bf16_values(row)[:most]
            zeroed = int(zero_setting(part, get_box(name)).sum())
            place = entry % params.entries
            reports.append((place, token == 0, entry, zeroed, len(part), token % 4 == 3))
    columns = np.array(reports, np.int64).T
    names = ("entry", "load", "mode", "zeroed", "elements", "end")
    grid = 1 << params.fraction_bits
    last = (np.arange(len(reports)) == len(reports) - 1).astype(np.int64)
    return params.input.beats(
        len(reports),
        **dict(zip(names, columns, strict=True)),
        lower=grid // 10,
        upper=grid // 5,
        last=last,
    )
