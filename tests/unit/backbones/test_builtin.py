"""The weights that come with the package."""

import json
from pathlib import Path

import pytest

import actiondiff
from actiondiff.backbones.base import find_spec, load_backbone
from actiondiff.builtin.pretraining.options import PretrainingOptions
from actiondiff.builtin.world.world import world_hash

FOLDER = Path(actiondiff.__file__).parent / "backbones" / "builtin" / "tiny"


def test_they_are_small_and_have_a_card():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 15e6
    assert "pretrain-tiny" in (FOLDER / "README.md").read_text("utf-8")


def test_their_origin_is_a_run_of_this_code_on_this_world():
    origin = json.loads((FOLDER / "origin.json").read_text("utf-8"))
    options = PretrainingOptions(**origin["options"])
    assert origin["step"] == options.full_size_steps
    assert origin["world"] == world_hash()
    assert origin["architecture"] == find_spec("tiny").architecture
    changed = options.model_dump(exclude_defaults=True)
    command = "".join(f" --{name.replace('_', '-')} {value}" for name, value in changed.items())
    assert f"actiondiff pretrain-tiny FOLDER --threads 1{command}\n" in (FOLDER / "README.md").read_text(
        "utf-8"
    )


def test_the_built_in_backbone_reads_them():
    given = load_backbone("tiny").settings
    assert given["weights"] == load_backbone("tiny", weights=FOLDER).settings["weights"]
    assert given["weights"] != load_backbone("random-tiny").settings["weights"]


@pytest.mark.parametrize("text", ["training", "figures: reserved", "grid"])
def test_the_card_has_figures(text):
    card = (FOLDER / "README.md").read_text("utf-8")
    table = card.partition(f"<!-- {text} -->")[2].partition("<!-- end -->")[0]
    assert table.count("\n|") > 5
