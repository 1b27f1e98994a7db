"""The search for bits: passes taken up in the middle, images from statistics, whole attacks."""

from typing import Any

import numpy as np
import pytest

from narrowgauge.golden import attack
from narrowgauge.golden.attack import WeightMemory, get_weights
from narrowgauge.golden.errors import UsageError

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from narrowgauge.golden.training import nets  # noqa: E402
from narrowgauge.golden.training.attack import distill, runs, search, victims  # noqa: E402
from narrowgauge.golden.training.attack.replay import Replay  # noqa: E402
from narrowgauge.golden.training.attack.victim import Victim, accuracy  # noqa: E402
from narrowgauge.golden.training.data import Images  # noqa: E402
from narrowgauge.golden.training.loop import Plan  # noqa: E402

# Threads that wait for each other take many times as long beside other work.
torch.set_num_threads(1)

FAST = {"validation": 20, "validation_steps": 5, "batch": 16, "bound": 8.0}


def bars(count: int = 512, test: int = 128) -> Images:
    """Bars, one place a class, with noise."""
    rng = np.random.default_rng(8)
    made = []
    for number in (count, test):
        labels = rng.integers(0, 10, number).astype(np.uint8)
        pictures = rng.integers(0, 60, (number, 28, 28)).astype(np.uint8)
        pictures[np.arange(number), 2 + 2 * labels] = 250
        made += [pictures, labels]
    return Images(
        name="bars", train=made[0], train_labels=made[1], test=made[2], test_labels=made[3]
    )


DATA = bars()


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """A net that knows the bars."""
    plan = Plan(net="mobilenet", norm="bn", seed=1, epochs=2, batch=16, rate=0.1)
    return victims.trained(plan, DATA)


@pytest.fixture
def net(kept: dict[str, Any]) -> Any:
    return victims.restored("mobilenet", kept["state"])


def test_a_net_is_kept(kept: dict[str, Any], net: Any) -> None:
    images = victims.sets(DATA, 128)
    assert kept["accuracy"] == accuracy(net, images.test, images.test_labels) > 0.9
    with pytest.raises(UsageError, match="cannot read the kept net mobilenet: "):
        victims.restored("mobilenet", kept["state"][:-9])
    with pytest.raises(UsageError, match="cannot read the kept net resnet: "):
        victims.restored("resnet", kept["state"])
    with pytest.raises(UsageError, match=r"tests must be 1\.\.128 of bars, got 129"):
        victims.sets(DATA, 129)


def test_nan_is_a_wrong_answer() -> None:
    class Fixed(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x.flatten(1)

    rows = torch.tensor([[3.0, 1.0], [float("nan"), 1.0], [float("inf"), 1.0]])
    assert accuracy(Fixed(), rows, torch.tensor([0, 0, 0])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
def test_replay_is_a_whole_pass(name: str) -> None:
    """Three tries at once, of one, two and no channels, in every layer, against plain passes."""
    torch.manual_seed(3)
    victim = Victim(nets.make(name), get_weights("int8"))
    x = torch.randn(5, 1, 28, 28)
    random = torch.Generator().manual_seed(1)
    with Replay(victim.net, victim.layers) as replay:
        clean = replay.record(x).detach()
        for layer, module in victim.layers.items():
            weight = module.weight.detach()
            rows = [
                (number, row, torch.randn(weight[row].shape, generator=random))
                for number, row in ((0, 1), (2, len(weight) - 1), (2, 0))
            ]
            found = replay.outputs(layer, rows, 3)
            assert found.shape == (3, 5, 10)
            assert torch.equal(found[1], clean)
            for number in (0, 2):
                changed = weight.clone()
                for n, row, values in rows:
                    if n == number:
                        changed[row] = values
                before = weight.clone()
                with torch.no_grad():
                    module.weight.copy_(changed)
                    plain = replay.record(x).detach()
                    module.weight.copy_(before)
                assert not torch.equal(plain, clean)
                assert torch.allclose(found[number], plain, rtol=1e-4, atol=1e-4), layer
            replay.record(x)
    assert "forward" not in next(iter(victim.layers.values())).__dict__
    assert torch.equal(victim.net(x), clean)


def test_layers_that_cannot_be_tried() -> None:
    class Twice(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, times: int) -> None:
            super().__init__()
            self.layer, self.times = torch.nn.Linear(4, 4), times

        def forward(self, x: Any) -> Any:
            for _ in range(self.times):
                x = self.layer(x)
            return x

    for times, message in ((2, "layer layer is called twice"), (0, "layer layer is not called")):
        victim = Victim(Twice(times), get_weights("int8"))
        with Replay(victim.net, victim.layers) as replay, pytest.raises(UsageError, match=message):
            replay.record(torch.zeros(1, 4))
    with pytest.raises(UsageError, match="no convolution and no linear layer"):
        Victim(torch.nn.ReLU(), get_weights("int8"))


@pytest.mark.parametrize("name", ["int8", "mx_opal4_k16_n2", "bfp_e8m4_k16"])
def test_the_best_bits(name: str) -> None:
    """As the effects of single flips order them; what is beyond the first order by magnitude."""
    rng = np.random.default_rng(2)
    memory = WeightMemory.encode(rng.normal(size=(4, 16)).astype(np.float32), get_weights(name))
    gradient = rng.normal(size=(4, 16)).astype(np.float32)
    mask = memory.layout.fields < 2
    found = search.best_bits(memory, gradient, mask, 5)
    assert len(found) == 5
    scores = {}
    for address in np.flatnonzero(mask):
        flip = memory.flip(*divmod(int(address), 64))
        scores[int(address)] = float(
            ((flip.new - flip.old) * gradient.reshape(-1)[flip.weights]).sum()
        )
        memory.flip(*divmod(int(address), 64))
    best = sorted(scores.values(), reverse=True)[:5]
    assert [scores[address] for address in found] == pytest.approx(best)
    every = search.best_bits(memory, gradient, np.ones_like(mask), 5)
    kinds = {memory.layout.place(*divmod(address, 64)).field for address in every}
    # Exponents that multiply by 2^128, of a block or of an outlier, are before all others.
    assert kinds <= ({"top", "element"} if name == "int8" else {"scale", "outlier"})
    assert search.best_bits(memory, np.zeros_like(gradient), mask, 5) == []


def test_images_from_statistics(net: Any) -> None:
    settings = distill.Distillation(ce=0.2, bn=0.1, bound=2, group=8, steps=60)
    images, labels, made = distill.distill(net, (1, 28, 28), 10, 12, settings, 5)
    assert images.shape == (12, 1, 28, 28)
    assert len(made) == 2
    # They look to a norm as training images do, which zeros do not.

    def apart(x: Any) -> float:
        norm, inner = net[1], net[0](x).detach()
        return float(distill._distance(inner, norm.running_mean, norm.running_var.sqrt()))

    assert apart(images) < apart(torch.zeros(12, 1, 28, 28))
    again = distill.distill(net, (1, 28, 28), 10, 12, settings, 5)
    assert torch.equal(again[0], images)
    assert torch.equal(again[1], labels)
    other = distill.distill(net, (1, 28, 28), 10, 12, settings, 6)
    assert not torch.equal(other[0], images)
    # A looser bound is reached sooner.
    loose = distill.Distillation(ce=0.2, bn=0.1, bound=10, group=12)
    assert distill.distill(net, (1, 28, 28), 10, 12, loose, 5)[2][0]["steps"] < made[0]["steps"]


def test_no_norm_no_attack() -> None:
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)).eval()
    with pytest.raises(UsageError, match="the net has no batch normalisation with statistics"):
        distill.distill(plain, (1, 28, 28), 10, 4, distill.ATTACK, 1)
    blind = torch.nn.Sequential(torch.nn.BatchNorm2d(1, track_running_stats=False), plain).eval()
    with pytest.raises(UsageError, match="the net has no batch normalisation with statistics"):
        distill.distill(blind, (1, 28, 28), 10, 4, distill.ATTACK, 1)


def loss_of(victim: Victim, images: Any, labels: Any) -> float:
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(victim.net(images), labels))


def test_each_flip_raises_the_loss(net: Any) -> None:
    sets = victims.sets(DATA, 64)
    victim = Victim(net, get_weights("int6"))
    losses = [loss_of(victim, sets.test, sets.test_labels)]

    def watch(flips: int) -> tuple[dict[str, Any], bool]:
        losses.append(loss_of(victim, sets.test, sets.test_labels))
        return {"flips": flips}, flips >= 5

    found, end = search.progressive(
        victim, sets.test, sets.test_labels, search=search.Search(), budget=9, watch=watch
    )
    assert end == "reached"
    assert [flip["flips"] for flip in found] == [1, 2, 3, 4, 5]
    assert losses == sorted(losses)
    assert [flip["loss"] for flip in found] == pytest.approx(losses[1:], rel=1e-3)
    # The record alone leads from the clean memories to the same net.
    for flip in found:
        memory = victim.clean[flip["tensor"]]
        again = memory.flip(flip["word"], flip["bit"])
        assert (again.before, again.after) == (flip["before"], flip["after"])
        assert again.old[0] == flip["old"]
    for name, memory in victim.clean.items():
        assert np.array_equal(memory.words, victim.memories[name].words)
        kept = victim.layers[name].weight.detach().numpy()
        assert np.array_equal(memory.floats(), kept)
    victim.restore()


def test_ends_of_a_search(net: Any) -> None:
    sets = victims.sets(DATA, 32)

    def watch(flips: int) -> tuple[dict[str, Any], bool]:
        return {}, False

    def ask(victim: Victim, fields: tuple[str, ...], budget: int = 2) -> tuple[Any, str]:
        return search.progressive(
            victim, sets.test, sets.test_labels,
            search=search.Search(fields=fields, tried=2), budget=budget, watch=watch,
        )  # fmt: skip

    victim = Victim(net, get_weights("bfp_e8m4_k16"))
    found, end = ask(victim, ("scale",), 1)
    assert (len(found), end) == (1, "budget")
    assert (found[0]["field"], found[0]["place"]) == ("scale", 7)
    # Images are lost, and count as 10 000 each.
    assert 100 < found[0]["loss"] <= 10_000
    with torch.no_grad():
        victim.net[8].bias.fill_(float("nan"))
    assert ask(victim, ("scale",)) == ([], "no gradient")
    victim.restore()
    with pytest.raises(UsageError, match="no bit lies in outlier"):
        ask(victim, ("outlier",))
    with pytest.raises(UsageError, match="no field 'padding'; fields: top, element, scale"):
        ask(victim, ("padding",))
    with pytest.raises(UsageError, match="no layer 'x'; layers: 0, "):
        victim.flip("x", 0, 0)
    with pytest.raises(UsageError, match="tried must be at least 1, got 0"):
        search.Search(tried=0)
    with pytest.raises(UsageError, match="no field was given"):
        search.Search(fields=())


@pytest.mark.parametrize("method", attack.METHODS)
def test_a_run(kept: dict[str, Any], method: str) -> None:
    """Twice the same; flips lie where they may; shared exponents fall at once."""
    sets = victims.sets(DATA, 128)

    def ask(fmt: str, **changed: Any) -> dict[str, Any]:
        plan = attack.Plan(fmt=fmt, method=method, **{**FAST, "budget": 3, **changed})
        return runs.run(victims.restored("mobilenet", kept["state"]), sets, plan)

    found = ask("int8", fields=("element",))
    assert found == ask("int8", fields=("element",))
    assert found["clean"]["test"] > 0.9
    if method == "random":
        counts = [flip["flips"] for flip in found["flips"]]
        assert counts[:4] == [1, 2, 3, 4]
        assert counts == sorted(set(counts))
    else:
        assert {flip["field"] for flip in found["flips"]} == {"element"}
        assert len(found["trials"]) == 1
    fast = ask("bfp_e8m4_k16", fields=("scale",), trials=3)
    assert fast["end"] == "reached"
    assert fast["flips"][-1]["test"] <= 0.11
    assert fast["to_chance"] == fast["flips"][-1]["flips"]
    # One flip needs no further trial.
    assert method == "random" or (fast["to_chance"], len(fast["trials"])) == (1, 1)


def test_repetition(kept: dict[str, Any]) -> None:
    """A further trial may take one flip less than the best; the best is what is kept."""
    sets = victims.sets(DATA, 128)
    plan = attack.Plan(
        fmt="int4", method="zebra", **{**FAST, "budget": 16, "trials": 3, "bar": 0.6}
    )
    found = runs.run(victims.restored("mobilenet", kept["state"]), sets, plan)
    counts = [trial["flips"] for trial in found["trials"] if trial["end"] == "reached"]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == len(counts)
    assert found["to_chance"] == counts[-1] == len(found["flips"])
    assert all(trial["flips"] < counts[0] for trial in found["trials"][1:])


def test_no_gradient(net: Any) -> None:
    with torch.no_grad():
        net[8].bias.fill_(float("nan"))
    plan = attack.Plan(fmt="int8", method="bfa", **FAST)
    with pytest.raises(UsageError, match="the loss of bfa's images has no gradient in the clean"):
        runs.run(net, victims.sets(DATA, 16), plan)
