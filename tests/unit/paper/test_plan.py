"""What a table or figure takes, before anything is run."""

from pathlib import Path

import pytest
import yaml

from actiondiff.backbones.base import find_spec
from actiondiff.datasets.base import Table
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.experiments.grid import BackboneChoice, load_grid
from actiondiff.paper.controls import permute_labels
from actiondiff.paper.costs import backbone_cost, teraflop_per_frame
from actiondiff.paper.plan import CONTROLS, TARGETS, choose_studies, group_studies, load_studies
from actiondiff.paper.run import plan_reproduction
from actiondiff.paper.stand_in import stand_in_grid
from actiondiff.types import Example, FeatureKey


def plain(name):
    """Its studies without datasets: `each` stays unresolved."""
    return load_studies(name)


@pytest.mark.parametrize("target", [*TARGETS, *CONTROLS])
def test_every_target_names_clips_and_features(target):
    grid = plain(target)
    tables = {point.data: Table(Path("t"), Path(), ()) for point in grid.cells}
    sweeps, stores = group_studies(target, grid, tables)
    assert sum(len(unit.cells) for unit in sweeps) == len(grid.cells)
    assert len({unit.slug for unit in sweeps}) == len(sweeps)
    assert len({work.slug for work in stores}) == len(stores)


def test_figure_5_is_whole():
    """13 layers by 7 timesteps on four panels, three seeds, one store a dataset."""
    grid = plain("fig5")
    assert len(grid.cells) == 4 * 13 * 7
    _, stores = group_studies("fig5", grid, {p.data: Table(Path("t"), Path(), ()) for p in grid.cells})
    assert {work.slug: len(work.keys) for work in stores} == {
        "charades-ego-svd-xt": 91, "ucf-hmdb-svd-xt": 91
    }  # fmt: skip
    assert {work.deepest for work in stores} == {"layer13"}


def test_every_published_number_is_in_a_recipe(shared_dir):
    """Tables 1 to 3: the frozen backbones are studies, the others are listed beside; S5 and 4 likewise."""
    results = yaml.safe_load((shared_dir / "paper" / "results.yaml").read_text("utf-8"))
    for target, key in (("table1", "table1_animal_kingdom"), ("table2", "table2_charades_ego"),
                        ("table3", "table3_ucf_hmdb")):  # fmt: skip
        grid = plain(target)
        ours = {(p.published.row, p.published.score) for p in grid.cells if p.published}
        others = {(entry.row, entry.score) for entry in grid.others}
        for method, entry in results[key].items():
            scores = [value for name, value in entry.items() if name not in ("kind", "note")]
            found = ours if entry["kind"] == "frozen backbone" else others
            assert {(method, score) for score in scores} <= found, method
    listed = sorted({p.published.score for p in plain("table4").cells})
    assert listed == sorted({row["map"] for row in results["table4_ablations"]})
    layers = {(p.recipe.features.layer, p.published.score) for p in plain("tableS5").cells}
    assert layers == {(n, score) for n, row in results["tableS5_layers"].items() for score in row.values()}


def test_rows_and_draws_can_be_left_out():
    grid = plain("table3")
    few = choose_studies(grid, ["SDv2, UCF"], draws=False)
    assert {point.case for point in few.cells} == {"SDv2, UCF to HMDB"}
    assert not any(point.extraction.stochastic for point in few.cells)
    assert {p.extraction.seed for p in choose_studies(grid, [], draws=True).cells} == {0, 1, 2}
    with pytest.raises(UsageError, match="there are ActionDiff, UCF to HMDB, "):
        choose_studies(grid, ["Sora"], draws=True)


def test_what_a_stand_in_keeps():
    small, replaced, left_out = stand_in_grid(plain("table4"))
    assert [point.case for point in small.cells] == [
        "linear", "mlp", "transformer", "window 16", "window 21", "bce", "without mixup", "no condition"
    ]  # fmt: skip
    assert {point.extraction.backbone for point in small.cells} == {"tiny"}
    assert [point.extraction.window for point in small.cells[3:5]] == [16, 21]
    assert [point.recipe.head.name for point in small.cells[:3]] == ["linear", "mlp", "transformer"]
    assert set(replaced.values()) == {"svd"}
    assert "text tower" in next(iter(left_out.values()))
    controls, _, out = stand_in_grid(plain("control-backbones"))
    backbones = {point.case: point.extraction.backbone for point in controls.cells}
    assert backbones["random weights"] == "random-tiny"
    assert backbones["pixels"] == "pixels"
    assert set(out) == {"Stable Diffusion 2.1", "DINOv3", "V-JEPA 2"}  # never another row's number


def test_permuted_labels_leave_the_test_alone():
    clips = tuple(
        Example(f"{i}.mp4", (f"c{i % 5}",), split=("train", "val", "test")[i % 3]) for i in range(60)
    )
    table = Table(Path("t"), Path(), clips)
    moved = permute_labels(table, seed=1)
    changed = [a.labels != b.labels for a, b in zip(clips, moved.examples, strict=True)]
    assert not any(change for change, clip in zip(changed, clips, strict=True) if clip.split == "test")
    assert sum(changed) > 20
    assert moved.counts() == table.counts()
    assert permute_labels(table, seed=1) == moved


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


def test_what_cannot_be_planned(tmp_path):
    with pytest.raises(UnknownNameError, match="'table1'"):
        plan_reproduction("tabel1", out=tmp_path, stand_in=True)
    with pytest.raises(UsageError, match="--stand-in"):
        plan_reproduction("table1", out=tmp_path)
    with pytest.raises(UsageError, match="either"):
        plan_reproduction("table1", out=tmp_path, data=tmp_path, stand_in=True)
    assert not list(tmp_path.iterdir())


def test_prices_say_what_is_missing(tmp_path):
    """The real annotation files' excerpt, and no video at all."""
    from actiondiff.paper.datasets.excerpts import write_excerpt

    write_excerpt("ucf-hmdb", tmp_path / "data")
    plan = plan_reproduction("table3", out=tmp_path / "out", data=tmp_path / "data", draws=False)
    prices = {price.work.slug: price for price in plan.estimate_stores(tmp_path / "out")}
    assert set(prices) == {"ucf-hmdb-svd-xt", "ucf-hmdb-svd-xt-temporal=False", "ucf-hmdb-vjepa-h",
                           "ucf-hmdb-vjepa-l", "ucf-hmdb-videomaev2-g"}  # fmt: skip
    assert all(price.num_missing == price.num_videos == 243 for price in prices.values())
    assert plan.num_trainings == 5 * plan.num_studies
    assert load_grid("paper/table3").others
    assert not (tmp_path / "out").exists()
