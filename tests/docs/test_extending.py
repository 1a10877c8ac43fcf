"""The example backbone of docs/extend.md passes the checks of every backbone, and goes the whole road."""

import re
from pathlib import Path

import numpy as np
import pytest

import actiondiff as ad
from actiondiff.backbones.base import KINDS, PLUGIN_SPECS, backbone_from_settings
from actiondiff.backbones.options import OPTIONS, every_option
from actiondiff.datasets import DATASETS
from actiondiff.heads import HEADS
from actiondiff.testing import BACKBONE_CHECKS, sample_video

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def backbone():
    """The example, registered for as long as these tests last."""
    with pytest.MonkeyPatch.context() as patch:
        for registry in (KINDS, OPTIONS, PLUGIN_SPECS):
            patch.setattr(registry, "_references", dict(registry._references))
        patch.syspath_prepend(ROOT / "examples")
        import ltx_backbone  # noqa: F401  # registers itself

        yield ad.load_backbone("ltx-small", device="cpu", threads=1)


@pytest.mark.parametrize("check", BACKBONE_CHECKS, ids=lambda check: check.__name__)
def test_the_example_backbone_passes_every_check(backbone, check):
    check(backbone)


def test_it_is_rebuilt_from_its_settings(backbone):
    again = backbone_from_settings(backbone.settings, device="cpu")
    video = sample_video(3)
    assert again.settings == backbone.settings
    assert np.array_equal(again.extract(video)[20, 2], backbone.extract(video)[20, 2])


def test_timestep_and_seed_matter(backbone):
    video = sample_video(4)
    features = backbone.extract(video, timesteps=(0, 20), layers=(1, 2))
    assert not np.array_equal(features[0, 2], features[20, 2])
    other = ad.load_backbone("ltx-small", device="cpu", threads=1, seed=1)
    assert not np.array_equal(other.extract(video)[20, 2], features[20, 2])
    assert other.settings["weights"] != backbone.settings["weights"]


def test_its_own_option_is_an_option_everywhere(backbone):
    video = sample_video(4)
    other = ad.load_backbone("ltx-small", device="cpu", threads=1, caption_length=3)
    assert (backbone.settings["caption_length"], other.settings["caption_length"]) == (1, 3)
    assert backbone_from_settings(other.settings, device="cpu").settings == other.settings
    assert other.extract(video)[20, 2].shape == backbone.extract(video)[20, 2].shape
    assert "caption_length" in every_option().model_fields  # what the command line and recipes offer
    with pytest.raises(ad.ActionDiffError, match="caption_length: Input should be greater"):
        ad.load_backbone("ltx-small", caption_length=0)
    with pytest.raises(ad.ActionDiffError, match=r"tiny has no option caption_length; got 2\. It has "):
        ad.load_backbone("tiny", caption_length=2)


def test_weights_are_read_from_a_folder_of_diffusers(backbone, tmp_path):
    backbone._vae.save_pretrained(tmp_path / "vae")
    backbone._transformer.save_pretrained(tmp_path / "transformer")
    read = ad.load_backbone("ltx-small", weights=tmp_path, device="cpu", threads=1)
    video = sample_video(4)
    assert np.array_equal(read.extract(video)[20, 2], backbone.extract(video)[20, 2])
    assert read.settings["weights"] != backbone.settings["weights"]  # a file's, and not the seed's


def test_an_unknown_backbone_is_told_its_neighbours(backbone):
    with pytest.raises(ad.ActionDiffError, match="Did you mean 'ltx-small'"):
        ad.load_backbone("ltx-smal")


def blocks_of_the_page() -> list[str]:
    text = (ROOT / "docs" / "extend.md").read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


def block(word: str) -> str:
    (found,) = (text for text in blocks_of_the_page() if word in text)
    return found


def test_the_page_shows_the_examples_own_lines():
    example = (ROOT / "examples" / "ltx_backbone.py").read_text("utf-8")
    for line in block("class LTX").splitlines():
        assert line.split("  #")[0].split("(self, windows")[0].strip() in example


def test_the_pages_head_passes_the_check():
    exec(block("class MaxHead"), {})  # it ends with the check


def test_the_pages_checks_pass(backbone):
    space: dict[str, object] = {}
    exec(block("def test_my_backbone"), space)
    space["test_my_backbone"](BACKBONE_CHECKS[0])


def test_the_pages_dataset_is_a_table(tmp_path):
    space: dict[str, object] = {}
    exec(block("def read_notes"), space)
    notes = tmp_path / "notes.txt"
    notes.write_text("cam3/0412.mp4 | eating grooming | north\ncam7/0031.mp4 | walking | south\n", "utf-8")
    table = space["read_notes"](notes)
    assert table.label_names == ("eating", "grooming", "walking")
    assert table.multi_label
    assert table.values("site") == ["north", "south"]


def test_the_pages_entry_points_are_those_that_are_read():
    text = (ROOT / "docs" / "extend.md").read_text("utf-8")
    named = set(re.findall(r'entry-points\."([\w.]+)"', text))
    assert named | {"actiondiff.datasets"} == {
        f"actiondiff.{r.kind}s" for r in (KINDS, OPTIONS, PLUGIN_SPECS, HEADS, DATASETS)
    }
