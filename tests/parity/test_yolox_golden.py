"""Our YOLOX-tiny against that of the package pixeltable-yolox, on weights that a formula makes."""

import importlib.util
from pathlib import Path

import torch
from safetensors.torch import load_file

from actiondiff.detection.yolox import YoloxTiny

ROOT = Path(__file__).parents[2]


def test_boxes_and_scores_are_those_of_the_package():
    spec = importlib.util.spec_from_file_location("golden", ROOT / "tools/make_yolox_golden.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    network = YoloxTiny().eval()
    with torch.no_grad():
        made.fill(network)
        boxes = network(made.pictures())
    golden = load_file(ROOT / "tests/fixtures/yolox_tiny.safetensors")["boxes"]
    assert boxes.shape == golden.shape == (1, 126, 5)  # 8 * 12 + 4 * 6 + 2 * 3 places
    assert golden.std(dim=1).min() > 1e-3
    for own, other in zip(boxes[0].T, golden[0].T, strict=True):
        assert (own - other).norm() < 1e-5 * (other - other.mean()).norm()
