"""Operations and parameters of the paper's backbones."""

import pytest

from actiondiff.backbones.base import find_spec
from actiondiff.experiments.grid import BackboneChoice
from actiondiff.paper.costs import backbone_cost, teraflop_per_frame
from actiondiff.types import FeatureKey


def test_costs():
    """Video transformers by their sizes; SVD by its parts, and by what each option adds."""

    def teraflop(layer, *timesteps, **options):
        choice = BackboneChoice(**options)
        chosen = timesteps or (find_spec(choice.backbone).timestep,)
        return teraflop_per_frame(choice, [FeatureKey.of(timestep, layer) for timestep in chosen])

    for name in ("vjepa-h", "vjepa-l", "videomaev2-g"):
        size = find_spec(name).architecture["encoder"]
        d, m, layers = size["hidden_size"], size["intermediate_size"], size["num_hidden_layers"]
        n = (224 // size["patch_size"]) ** 2 * 16 // size["tubelet_size"]
        patch = 3 * size["tubelet_size"] * size["patch_size"] ** 2
        flop = layers * (8 * n * d**2 + 4 * n * d * m + 4 * n**2 * d) + 2 * n * patch * d
        assert teraflop(layers, backbone=name) == pytest.approx(flop / 16e12, rel=0.01)
        weights = layers * (4 * d**2 + 2 * d * m) + patch * d
        cost = backbone_cost(BackboneChoice(backbone=name), f"layer{layers}")
        assert cost.parameters == pytest.approx(weights, rel=0.01)
    # VAE 65.2, CLIP 8.4 and U-Net 25.9 TFLOP per 25 frames; released draws encode twice.
    svd = teraflop(9, backbone="svd-xt")
    assert svd * 25 == pytest.approx(99.49, rel=0.001)
    assert teraflop(9, backbone="svd-xt", stochastic=True, seed=2) * 25 == pytest.approx(164.7, rel=0.001)
    three = teraflop(9, 10, 20, 29, backbone="svd-xt")
    assert (three - svd) * 25 == pytest.approx(2 * 25.88, rel=0.001)
    cost = backbone_cost(BackboneChoice(backbone="svd-xt"), "layer9")
    assert cost.teraflop == pytest.approx(99.49 / 4, rel=0.001)
    assert teraflop(9, backbone="svd-xt", temporal=False) < svd
    assert teraflop(9, backbone="svd", conditioning="text") < svd  # the image encoder is not run
    assert backbone_cost(BackboneChoice(backbone="pixels"), "layer1").teraflop == 0
