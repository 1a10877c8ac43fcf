"""The page on backbones agrees with `specs.yaml`."""

import re
from pathlib import Path

import pytest

from actiondiff.backbones.base import shipped_specs
from actiondiff.distillation.nearness import window_flop
from actiondiff.types import FeatureKey

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "backbones.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


def row_of(name: str, section: str) -> list[str]:
    rows = [line for line in section.splitlines() if line.startswith("|")]
    found = [row for row in rows if f"`{name}`" in row.split("|")[1]]
    assert len(found) == 1, (name, found)
    return [cell.strip() for cell in found[0].strip("|").split("|")]


@pytest.mark.parametrize("name", shipped_specs())
def test_every_backbone_has_its_rows(name):
    spec = shipped_specs()[name]
    first, _, second = PAGE.partition("## What they give")
    _, _, weights, licence = row_of(name, first)
    assert (weights == "none") == (spec.weights == "none")
    if spec.weights == "required":
        assert licence.split(",")[0].split(" (")[0].removesuffix("'s own") in spec.licence
    _, size, window, tokens, layers, timesteps = row_of(name, second)
    defaults = spec.defaults
    assert size.startswith(f"{defaults['height']} x {defaults['width']}")
    if name not in ("pixels", "motion"):
        assert ("crop" in size) == (defaults.get("fit") == "crop")
    assert window.split()[0] == str(defaults["window"])
    assert ("2 frames" in tokens) == ("tokens" in defaults)
    assert f"`{spec.layer}`" in layers
    assert timesteps == (f"{spec.num_timesteps} ({spec.timestep})" if spec.num_timesteps > 1 else "")


def test_every_hub_id_of_the_specs_is_named():
    for spec in shipped_specs().values():
        for hub_id in re.findall(r"\b[\w-]+/[\w.-]*-[\w.-]+\b", spec.title):
            assert hub_id in PAGE


@pytest.mark.parametrize("name", shipped_specs())
def test_the_readme_lists_every_backbone_with_its_cost(name):
    table = README.partition("## Compare with other backbones")[2].partition("\n\nTFLOP are counted")[0]
    names, _, frames, cost, _ = row_of(name, table)
    place = re.findall(r"`([^`]+)`", names).index(name)
    spec = shipped_specs()[name]
    of_windows, of_costs = frames.split(", "), cost.split(", ")
    if name != "student":  # which has its teacher's window
        assert of_windows[place if len(of_windows) > 1 else 0] == str(spec.defaults["window"])
    if name not in ("student", "pixels", "motion"):
        settings = {"name": name if spec.weights == "built-in" else f"random-{name}", **spec.defaults}
        flop = window_flop(settings, FeatureKey(spec.timestep, spec.layer))
        assert flop is not None
        assert float(of_costs[place]) * 1e12 == pytest.approx(flop, rel=0.02)
