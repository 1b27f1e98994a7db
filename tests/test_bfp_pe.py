"""`bfp_pe`: its golden model against fractions of codes; broken groups; a broken bench."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_units_golden import to_fp32

from narrowgauge import design, registry
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.units import bfp_pe
from narrowgauge.verify import runner

BITS = (4, 8, 16)
SMALL: dict[str, Any] = {"nibbles": 16, "group12": 24, "group16": 12, "group24": 6}


class Dot:
    """A dot product of codes, and what it is to give."""

    def __init__(self, params: bfp_pe.Params) -> None:
        self.params = params
        self.beats: list[Batch] = []
        self.sums = np.zeros(4, np.float32)
        self.mode = 0

    def add(self, mode: int, a: Any, b: Any, a_scale: list[int], b_scale: list[int]) -> None:
        """A group: codes (rows, size), a field for each row."""
        p = self.params
        rows = (a[None], b[None]) if mode == 0 else (a[:1], b[:1])
        words = p.pack(mode, *rows)
        count = words[0].shape[1]
        fields = {} if p.modes == 1 else {"mode": mode}
        each = p.input["a_scale"].count or 1
        self.beats.append(
            p.input.beats(
                count,
                a=words[0][0],
                b=words[1][0],
                a_scale=a_scale[:each],
                b_scale=b_scale[:each],
                end=np.arange(count) == count - 1,
                **fields,
            )
        )
        self.mode = mode
        for k in range(4) if mode == 0 else (3,):
            r, s = divmod(k, 2) if mode == 0 else (0, 0)
            total = sum(int(x) * int(y) for x, y in zip(a[r], b[s], strict=True))
            e, f = a_scale[r], b_scale[s]
            exponent = max(e, 1) + max(f, 1) - 254 - 2 * (BITS[mode] - 1)
            term = to_fp32(total * Fraction(2) ** exponent)
            with np.errstate(all="ignore"):
                self.sums[k] += np.float32("nan") if 255 in (e, f) else term

    def results(self) -> tuple[Batch, np.ndarray]:
        """Beats, and FP32 results."""
        beats = join(self.beats)
        beats["last"][-1] = 1
        return beats, self.sums if self.mode == 0 else self.sums[3:]


def _random_dot(params: bfp_pe.Params, rng: np.random.Generator) -> Dot:
    dot = Dot(params)
    centre = int(rng.choice([2, 62, 66, 127, 190, 252]))
    for _ in range(int(rng.integers(1, 5))):
        mode = int(rng.integers(0, 3)) if params.modes == 3 else 2
        most = (1 << BITS[mode]) - 1
        size = int(rng.integers(1, params.sizes[mode] + 1))
        a, b = rng.integers(-most, most + 1, (2, 2, size)) >> rng.integers(0, BITS[mode] + 1)
        fields = np.clip(rng.integers(centre - 8, centre + 8, (2, 2)), 0, 255)
        dot.add(mode, a, b, *fields.tolist())
    return dot


@pytest.mark.parametrize("overrides", [{}, SMALL, {"modes": 1}, {"nibbles": 144}], ids=str)
def test_against_fractions(overrides: dict[str, int]) -> None:
    p = bfp_pe.Params(**overrides)
    rng = np.random.default_rng(3)
    made = [_random_dot(p, rng).results() for _ in range(120)]
    got = bfp_pe.model(p, join([beats for beats, _ in made]))
    value = got["result"].astype(np.uint32).view(np.float32)
    want = np.concatenate([sums for _, sums in made])
    lengths = [len(sums) for _, sums in made]
    assert bfp_pe.output_lengths(p, got).tolist() == lengths
    assert np.array_equal(np.isnan(value), np.isnan(want))
    finite = ~np.isnan(want)
    assert np.array_equal(value[finite].view(np.uint32), want[finite].view(np.uint32))
    # Classes of results that must be among them.
    size = np.abs(want[finite])
    assert (~finite).any()
    assert np.isinf(size).any()
    assert (size == 0).any()
    assert ((size > 0) & (size < 2.0**-126)).any()


def test_a_whole_group_is_exact_and_one_more_wraps() -> None:
    p = bfp_pe.Params(**SMALL)
    for mode, size in enumerate(p.sizes):
        most = (1 << BITS[mode]) - 1
        for factor in (1, 8):
            shape = (1, 2, factor * size) if mode == 0 else (1, factor * size)
            a, b = p.pack(mode, np.full(shape, most), np.full(shape, -most))
            count = a.shape[1]
            end = np.arange(count) == count - 1
            beats = p.input.beats(count, a=a[0], b=b[0], mode=mode, end=end, last=end)
            made = bfp_pe.groups(p, beats)
            assert made.sums[0, 0] == -factor * size * most**2
            last = 3 if mode == 0 else 0
            width = p.rest_width if last else p.sum_width
            exact = made.sums[0, last] == made.totals[0, last]
            assert exact == (factor * size * most**2 < 1 << (width - 1))
            assert (made.sums[0, last] - made.totals[0, last]) % (1 << width) == 0
    assert (p.sum_bits(0), p.sum_bits(1), p.sum_bits(2)) == (14, 21, 36)
    q = bfp_pe.Params()
    assert [q.sum_bits(mode) for mode in range(3)] == [17, 24, 39]
    assert [q.beats(mode) for mode in range(4)] == [18, 9, 18, 18]


def test_mode_changes_within_a_group() -> None:
    # Each beat is added as its own mode says; the final one says what the group is.
    p = bfp_pe.Params(**SMALL)
    one = np.ones((1, 4), np.int64)
    narrow, wide = p.pack(1, one * 3, one * 5), p.pack(2, one[:, :1] * 700, one[:, :1] * 900)
    a, b = (np.concatenate([x[0], y[0]]) for x, y in zip(narrow, wide, strict=True))
    beats = p.input.beats(2, a=a, b=b, a_scale=127, b_scale=127, mode=[1, 2], last=[0, 1])
    got = bfp_pe.model(p, beats)
    want = to_fp32(Fraction(4 * 15 + 700 * 900, 1 << 30))
    assert got["result"].tolist() == [int(want.view(np.uint32))]


def test_beats_without_an_end_are_of_no_group() -> None:
    p = bfp_pe.Params(**SMALL)
    beats = p.input.beats(3, a=1, b=1, mode=1, end=[1, 0, 0])
    assert not len(bfp_pe.model(p, beats)["result"])


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"nibbles": 24}, "nibbles must be a multiple of 16, got 24"),
        ({"nibbles": 0}, "nibbles must be 16..1024, got 0"),
        ({"group16": 5000}, "group16 must be 1..4096, got 5000"),
        ({"modes": 2}, "modes must be 1 or 3, got 2"),
    ],
)
def test_bad_parameters(values: dict[str, int], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        bfp_pe.Params(**values)


def test_real_vectors_are_groups_of_captured_tensors() -> None:
    p = bfp_pe.Params()
    beats = bfp_pe.vectors(p, "real", 1)
    got = bfp_pe.model(p, beats)
    assert {*beats["mode"].tolist()} == {0, 1, 2}
    value = got["result"].astype(np.uint32).view(np.float32)
    assert np.isfinite(value).all()
    assert np.count_nonzero(value) > len(value) / 2


def test_bench_notices_a_wrong_exponent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (point,) = registry.points("bfp_pe/n16_small")
    monkeypatch.setattr("narrowgauge.hdl.units.bfp_pe._POINT", 285)
    result = runner.verify(
        name=point.full_name,
        component=design.component(point),
        golden=point.entry.golden,
        bench=point.entry.bench,
        params=point.params,
        build_dir=tmp_path,
        timeout=600,
    )
    assert not result.passed
    assert result.beats_in > 0
    assert result.failure.startswith("pattern "), result.failure
