"""The decoder: schemes beside float32, one layer's commands on the golden core, bad input."""

import numpy as np
import pytest

from narrowgauge.golden.cores import opal_core, packets
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_codes
from narrowgauge.golden.llm import commands, linear, nvfp4
from narrowgauge.golden.llm.decoder import Decoder
from narrowgauge.golden.llm.scheme import SCHEMES, get_scheme
from narrowgauge.golden.owq import dequantize
from narrowgauge.golden.samples.llama import Llama
from tests.llm_models import SHAPE, VOCABULARY, tensor, weights

IDS = np.random.default_rng(1).integers(0, VOCABULARY, (2, 24))


def losses(name: str, layers: int | None = None) -> np.ndarray:
    return Decoder(SHAPE, tensor, get_scheme(name), weights(), layers).losses(IDS)


def test_no_layer_is_float32() -> None:
    expected = np.stack([Llama(SHAPE, tensor).losses(ids) for ids in IDS])
    np.testing.assert_allclose(losses("bf16", 0), expected, rtol=2e-5)


@pytest.mark.parametrize("name", SCHEMES)
def test_schemes_are_near_float32(name: str) -> None:
    exact, made = losses("bf16", 0), losses(name)
    assert made.shape == (2, 23)
    # How far a random model's losses may move: bf16 hardly, 3 and 4 bits a lot.
    limit = 0.03 if name == "bf16" else 1.0
    least = 0.999 if name == "bf16" else 0.4 if name.startswith("w3") else 0.7
    assert 0 < np.abs(made - exact).mean() < limit
    assert np.corrcoef(made.ravel(), exact.ravel())[0, 1] > least


def test_windows_do_not_see_each_other() -> None:
    decoder = Decoder(SHAPE, tensor, get_scheme("w4a4_7_log2"), weights())
    both = decoder.losses(IDS)
    for index in range(2):
        np.testing.assert_array_equal(decoder.losses(IDS[index : index + 1])[0], both[index])


def test_bf16_activations_see_the_same_weights() -> None:
    owq = weights()(0, "ffn_down", 4)
    x = bf16_codes(np.random.default_rng(2).standard_normal((5, owq.columns)).astype(np.float32))
    made = linear.IntLinear(owq)(linear.Inputs(x))
    values = (x.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    exact = values @ dequantize(owq).astype(np.float64).T
    got = (made.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_allclose(got, exact, rtol=2**-6, atol=1e-3)


@pytest.mark.parametrize("name", ["w4a4_7_log2", "w3a3_5_log2"])
def test_a_layer_on_the_golden_core(name: str) -> None:
    scheme = get_scheme(name)
    decoder = Decoder(SHAPE, tensor, scheme, weights())
    rng = np.random.default_rng(3)
    state = rng.standard_normal((70, SHAPE.width)).astype(np.float32)
    made = commands.layer_commands(decoder, 1, state)
    assert [c.name for c in made.commands] == [
        "attn_q", "attn_k", "attn_v", "head0", "head1", "head2", "head3",
        "attn_output", "ffn_gate", "ffn_up", "ffn_down",
    ]  # fmt: skip
    params = opal_core.Params(low=scheme.policy.low, head=16, length=128, q_lanes=4)
    parts = [part for command in made.commands for part in commands.packets_of(params, command)]
    size = sum(len(part["last"]) for part in parts)
    program = packets.program(params.input, parts, size)
    program["final"] = program.pop("last")
    answers = opal_core.model(params, {name: values[None] for name, values in program.items()})
    found = packets.responses(opal_core.output_beats(params, answers))
    assert len(found) == 2 * len(made.commands)
    for command, (response, status) in zip(made.commands, found[1::2], strict=True):
        assert status == packets.Status.OK
        got = response["data"].reshape(-1)[: len(command.expected)]
        np.testing.assert_array_equal(got, command.expected, err_msg=command.name)
    whole = decoder._layer(1, state, 1)
    np.testing.assert_array_equal(made.after, whole[-1])


def test_bad_input() -> None:
    with pytest.raises(
        UsageError, match="no scheme 'w5a5'; schemes: bf16, bf16_log2, bf16_log2_norm, w4a16"
    ):
        get_scheme("w5a5")
    with pytest.raises(UsageError, match="scheme w4a16 needs quantised weights"):
        Decoder(SHAPE, tensor, get_scheme("w4a16"))
    state = np.zeros((2, SHAPE.width), np.float32)
    plain = Decoder(SHAPE, tensor, get_scheme("w4a4_7"), weights())
    with pytest.raises(UsageError, match="scheme w4a4_7 is not that of opal_core"):
        commands.layer_commands(plain, 0, state)
    with pytest.raises(UsageError, match=r"layer must be 0\.\.1, got 2"):
        commands.layer_commands(
            Decoder(SHAPE, tensor, get_scheme("w4a4_7_log2"), weights()), 2, state
        )
    with pytest.raises(UsageError, match="columns a multiple of 16"):
        nvfp4.quantize(np.zeros((2, 20), np.float32))


def test_nvfp4_rounds_as_the_formats_do() -> None:
    from narrowgauge.golden.formats import Overflow, Rounding, get, vector

    fmt = get("fp4_e2m1")
    x = np.random.default_rng(4).standard_normal((3, 64)).astype(np.float32)
    x[1] = 0
    values, scale = nvfp4.quantize(x)
    assert scale[1] == 1
    assert not values[1].any()
    groups = np.abs(x.astype(np.float64)).reshape(3, 4, 16).max(axis=2)
    e4m3 = get("fp8_e4m3")
    target = groups / 6 / scale[:, None]
    codes = vector.encode(e4m3, target, rounding=Rounding.RNE, overflow=Overflow.SATURATE)
    step = np.repeat(vector.decode(e4m3, codes), 16, axis=1)
    ratio = x / np.where(step == 0, 1, step) / scale[:, None]
    element = vector.encode(fmt, ratio, rounding=Rounding.RNE, overflow=Overflow.SATURATE)
    np.testing.assert_array_equal(values, vector.decode(fmt, element) * step)
