"""The small version of a grid that runs on drawn clips."""

from actiondiff.paper.plan import load_studies
from actiondiff.paper.stand_in import stand_in_grid


def test_what_a_stand_in_keeps():
    small, replaced, left_out = stand_in_grid(load_studies("table4"))
    assert [point.case for point in small.cells] == [
        "linear", "mlp", "transformer", "window 16", "window 21", "bce", "without mixup", "no condition"
    ]  # fmt: skip
    assert {point.extraction.backbone for point in small.cells} == {"tiny"}
    assert [point.extraction.window for point in small.cells[3:5]] == [16, 21]
    assert [point.recipe.head.name for point in small.cells[:3]] == ["linear", "mlp", "transformer"]
    assert set(replaced.values()) == {"svd"}
    assert "text tower" in next(iter(left_out.values()))
    controls, _, out = stand_in_grid(load_studies("control-backbones"))
    backbones = {point.case: point.extraction.backbone for point in controls.cells}
    assert backbones["random weights"] == "random-tiny"
    assert backbones["pixels"] == "pixels"
    assert set(out) == {"Stable Diffusion 2.1", "DINOv3", "V-JEPA 2"}  # never another row's number
