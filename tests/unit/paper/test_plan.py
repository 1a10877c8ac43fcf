"""What a table or figure takes, before anything is run."""

from pathlib import Path

import pytest
import yaml

from actiondiff.datasets.base import Table
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.experiments.grid import load_grid
from actiondiff.paper.plan import CONTROLS, TARGETS, choose_studies, group_studies, load_studies, variant_of
from actiondiff.paper.run import plan_reproduction


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


def test_the_releases_figure_5_has_the_settings_of_its_scripts():
    """One case per script; the panels differ in mixup and tokens."""
    grid = load_studies(variant_of("fig5", "released"))
    settings = {
        cell.case: (
            cell.data.protocol,
            cell.recipe.head.name,
            cell.recipe.head.layers,
            cell.recipe.head.max_tokens,
            cell.recipe.training.epochs,
            cell.recipe.training.learning_rate,
            cell.recipe.training.weight_decay,
            cell.recipe.training.mixup,
        )
        for cell in grid.cells
    }
    assert len(grid.cells) == 9 * 13 * 7
    assert settings == {
        "a charades1-1val": ("first-to-first", "transformer", 7, 400, 20, 1e-4, 1e-3, 0.2),
        "b charades1-3val": ("first-to-third", "transformer", 7, 400, 20, 1e-4, 1e-3, 0.2),
        "a charades1-1": ("first-to-first", "transformer", 7, 400, 15, 1e-4, 1e-3, 0.3),
        "b charades1-3": ("first-to-third", "transformer", 7, 400, 15, 1e-4, 1e-3, 0.3),
        "a charades1-1valmlp": ("first-to-first", "linear", 7, 400, 50, 1e-5, 1e-4, 0.2),
        "c hmdb": ("hmdb-to-hmdb", "transformer", 6, 300, 15, 1e-5, 1e-4, 0.2),
        "d hmdbucf": ("hmdb-to-ucf", "transformer", 6, 500, 15, 1e-5, 1e-4, 0.0),
        "c hmdb linear": ("hmdb-to-hmdb", "linear", 6, 300, 50, 1e-5, 1e-4, 0.2),
        "d hmdbucf linear": ("hmdb-to-ucf", "linear", 6, 300, 50, 1e-5, 1e-4, 0.2),
    }
    assert variant_of("fig5", None) == "fig5"
    with pytest.raises(UnknownNameError, match="case of table1"):
        variant_of("table1", "released")


@pytest.mark.parametrize(
    ("target", "case"),
    [("table1", "full"), ("table1", "unseen species"), ("table2", "first to first"),
     ("table2", "third to first"), ("table3", "UCF to HMDB"), ("table3", "HMDB to UCF")],
)  # fmt: skip
def test_videomae_has_its_official_extractors_reading(target, case):
    cells = {cell.case: cell for cell in load_studies(target).cells if "VideoMAE" in cell.case}
    ours, official = cells[f"VideoMAEv2, {case}"], cells[f"VideoMAEv2, {case}, official extractor"]
    choice = official.extraction
    assert (choice.normalise, choice.fit, choice.tokens, choice.stride) == ("none", "squash", "segment", 1)
    assert ours.extraction.normalise is None
    assert ours.recipe == official.recipe
    assert ours.published == official.published


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


def test_what_cannot_be_planned(tmp_path):
    with pytest.raises(UnknownNameError, match="'table1'"):
        plan_reproduction("tabel1", out=tmp_path, stand_in=True)
    with pytest.raises(UsageError, match="--stand-in"):
        plan_reproduction("table1", out=tmp_path)
    with pytest.raises(UsageError, match="either"):
        plan_reproduction("table1", out=tmp_path, data=tmp_path, stand_in=True)
    assert not list(tmp_path.iterdir())


def test_prices_say_what_is_missing(tmp_path):
    """Sample annotations, and no video at all."""
    from actiondiff.paper.datasets.samples import write_sample

    write_sample("ucf-hmdb", tmp_path / "data")
    plan = plan_reproduction("table3", out=tmp_path / "out", data=tmp_path / "data", draws=False)
    prices = {price.work.slug: price for price in plan.estimate_stores(tmp_path / "out")}
    official = "ucf-hmdb-videomaev2-g-fit=squash-tokens=segment-normalise=none-stride=1"
    assert set(prices) == {"ucf-hmdb-svd-xt", "ucf-hmdb-svd-xt-temporal=False", "ucf-hmdb-vjepa-h",
                           "ucf-hmdb-vjepa-l", "ucf-hmdb-videomaev2-g", official}  # fmt: skip
    assert all(price.num_missing == price.num_videos == 243 for price in prices.values())
    assert plan.num_trainings == 5 * plan.num_studies
    assert load_grid("paper/table3").others
    assert not (tmp_path / "out").exists()
