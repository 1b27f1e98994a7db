"""Quantised weights of a llama model: second moments of its activations, then `owq_quantize`."""

from collections.abc import Callable, Collection, Iterator

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.llm.decoder import SITE_OF
from narrowgauge.golden.owq import OwqWeights, second_moment
from narrowgauge.golden.owq_quantize import quantize
from narrowgauge.golden.samples.llama import Floats, Llama, Shape

__all__ = ["layers"]

_COLUMNS = 256
"""Inputs for each column kept in bf16: few, so that the distributor rarely stalls."""


def layers(
    shape: Shape,
    tensor: Callable[[str], Floats],
    windows: npt.NDArray[np.int64],
    *,
    bits: int,
    compensate: bool = True,
    wanted: Collection[int],
) -> Iterator[tuple[int, dict[str, OwqWeights]]]:
    """Each layer's matrices, quantised for what enters them in a float32 forward pass.

    Of every 256 columns of a matrix one is kept in bf16, wherever it does most.

    Parameters
    ----------
    shape, tensor : the model, as of `samples.llama.Llama`
    windows : calibration tokens, (windows, tokens)
    bits : of the codes
    compensate : as of `owq_quantize.quantize`
    wanted : layers to quantise; nothing is done after the last of them
    """
    model = Llama(shape, tensor)
    states = [tensor("token_embd.weight")[ids].astype(np.float32) for ids in windows]
    for layer in range(max(wanted, default=-1) + 1):
        moments: dict[str, npt.NDArray[np.float64]] = {}
        here = layer in wanted

        def observe(
            _: int,
            site: str,
            x: Floats,
            moments: dict[str, npt.NDArray[np.float64]] = moments,
            here: bool = here,
        ) -> None:
            if here:
                moment = second_moment(x.astype(np.float32))
                moments[site] = moments[site] + moment if site in moments else moment

        states = [model.layer(layer, state, observe).astype(np.float32) for state in states]
        if here:
            made = {}
            for matrix, site in SITE_OF.items():
                dense = tensor(f"blk.{layer}.{matrix}.weight").astype(np.float32)
                most = -(-dense.shape[1] // _COLUMNS)
                made[matrix] = quantize(
                    dense, moments[site], bits=bits, most=most, compensate=compensate
                )
            yield layer, made
