"""The extraction benchmarks: what they compare with is what the released code does, and figures add up."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from actiondiff.backbones.base import find_spec
from actiondiff.backbones.svd.random_checkpoint import RandomCheckpoint
from actiondiff.checkpoints.reader import open_checkpoint

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def released_path(script) -> ModuleType:
    return script("released_path")


def test_the_released_path_costs_what_the_released_code_costs(released_path):
    """No straw man: 2 x 79.95 of U-Net, 3 x 65.23 of VAE and 50 x 0.335 of CLIP make 372.3 TFLOP."""
    architecture = find_spec("svd-xt").architecture
    flop = released_path.count_flop(architecture, height=576, width=1024, frames=25, grid=False)
    assert flop["released"]["all"] == pytest.approx(372.3, rel=1e-3)
    assert flop["released"]["U-Net"] == pytest.approx(2 * 79.95, rel=1e-3)
    assert flop["released"]["VAE"] == pytest.approx(3 * 65.23, rel=1e-3)
    assert flop["released"]["CLIP"] == pytest.approx(50 * 0.335, rel=2e-3)
    # ours: a third of the VAE, half of CLIP, and the U-Net to layer 9 without its constant cross-attention
    assert flop["ours"]["VAE"] == pytest.approx(65.23, rel=1e-3)
    assert flop["ours"]["CLIP"] == pytest.approx(25 * 0.335, rel=2e-3)
    assert 25 < flop["ours"]["U-Net"] < 27.07


class Completed:
    """The golden weights, which lack the decoder; no feature depends on what stands in for it."""

    def __init__(self, path: Path) -> None:
        self._checkpoint = open_checkpoint(path, unet_head_dim=16, clip_head_dim=16)
        self._random = RandomCheckpoint(
            {"unet": self.unet_config, "clip": self.clip_config, "vae": self.vae_config}, 0
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._checkpoint, name)

    def tensors(self, component: str, names: list[str], *, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        known = self._checkpoint.keys(component)
        found = self._checkpoint.tensors(component, [n for n in names if n in known], dtype=dtype)
        missing = [n for n in names if n not in known]
        return found | (self._random.tensors(component, missing, dtype=dtype) if missing else {})


def test_the_released_path_gives_the_released_codes_features(released_path, shared_dir):
    goldens = shared_dir / "goldens"
    stored = load_file(goldens / "features.safetensors") | load_file(goldens / "inputs.safetensors")
    weights = Completed(goldens / "sgm_tiny_unet.safetensors")
    assert not weights.one_vae
    torch.set_num_threads(2)  # as for the other golden tests
    path = released_path.ReleasedPath(weights)
    frames = stored["video"].numpy()[:20:4]  # the first window
    found = path.features(released_path.prepared(frames, 128, 192, "cpu"), 20)
    assert len(found) == 13
    for key, tokens in found.items():
        assert released_path.relative_error(tokens, stored[f"nonoise.{key}.mean"][:5]) < 5e-5, key


@pytest.fixture
def run(script, monkeypatch, capsys) -> Callable[..., str]:
    """Run a script with arguments; what it printed."""

    def call(name: str, *arguments: str) -> str:
        monkeypatch.setattr("sys.argv", [name, *arguments])
        script(name).main()
        return capsys.readouterr().out

    return call


def test_both_paths_in_turns(run, tmp_path):
    size = ["--height", "32", "--width", "64", "--frames", "3"]
    printed = run("extraction", "--smoke", *size, "--json", str(tmp_path / "x.json"))
    figures: dict[str, Any] = json.loads((tmp_path / "x.json").read_text())
    assert "| one timestep, layer 9 |" in printed
    assert figures["agreement"]["largest of the grid"] < 1e-5
    assert {name: len(passes) for name, passes in figures["passes"].items()} == {
        "released": 7, "ours": 7, "ours grid": 3,
    }  # fmt: skip
    one, grid = figures["ratios"].values()
    assert one["flop_ratio"] < grid["flop_ratio"]
    for passes in figures["passes"].values():
        for parts in passes:
            seconds = parts["cpu_seconds"]
            assert 0 < sum(seconds[part] for part in ("CLIP", "VAE", "U-Net")) <= seconds["all"]
    flop = figures["tflop"]
    assert flop["released grid"]["all"] == pytest.approx(7 * flop["released"]["all"])
    assert np.isfinite(list(figures["peak_memory_gib"].values())).all()


def test_gpu_pieces_are_kept_and_not_done_again(run, tmp_path):
    """The script's code, on a CPU and a tiny network; no figure of it means anything here."""
    file = tmp_path / "gpu.json"
    first = run("gpu_extraction", "ceiling", "ours-float32", "--smoke", "--json", str(file))
    assert "ours-float32 ..." in first
    done = json.loads(file.read_text())["pieces"]
    names = ["ours-float32", "released-default", "ours-float16-vae-tf32", "profile-ours"]
    second = run("gpu_extraction", *names, "--smoke", "--json", str(file), "--repeats", "1")
    assert "ours-float32 ..." not in second
    figures = json.loads(file.read_text())
    assert figures["pieces"]["ours-float32"] == done["ours-float32"]
    assert figures["agreement"]["released-default"]["largest of all"] < 1e-5
    assert "for CUDA devices" in figures["pieces"]["ours-float16-vae-tf32"]["skipped"]
    assert sum(figures["pieces"]["profile-ours"]["share_by_kind"].values()) == pytest.approx(1)
    row = figures["summary"]["ours-float32"]
    base = figures["pieces"]["released-default"]
    assert row["times_faster_grid"] == pytest.approx(base["grid_seconds"] / row["grid_seconds"])
    assert row["share_of_ceiling"].keys() == {"CLIP", "VAE", "U-Net"}
    assert figures["summary"].keys() == {"ours-float32", "released-default"}


def test_a_piece_that_fails_leaves_the_others_undisturbed(run, script, tmp_path, monkeypatch):
    def fail(error):
        def raise_it(*_arguments, **_options):
            raise error

        return raise_it

    monkeypatch.setattr(script("gpu_extraction"), "measure_ceiling", fail(RuntimeError("broken driver")))
    memory = torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 60 GB")
    monkeypatch.setattr(script("gpu_extraction"), "profile_path", fail(memory))
    file = tmp_path / "gpu.json"
    with pytest.raises(SystemExit, match=r"failed: ceiling$"):
        run("gpu_extraction", "ceiling", "profile-ours", "--smoke", "--json", str(file))
    pieces = json.loads(file.read_text())["pieces"]
    assert pieces.keys() == {"profile-ours"}
    assert pieces["profile-ours"]["skipped"] == "CUDA out of memory."
    # Figures of a smoke run never stand in for those of a real one.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(SystemExit, match="holds figures of --smoke"):
        run("gpu_extraction", "ceiling", "--device", "cpu", "--json", str(file))


def test_the_gpu_script_refuses_machines_without_one(run, tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(SystemExit):
        run("gpu_extraction", "--json", str(tmp_path / "x.json"))
    assert "no CUDA device" in capsys.readouterr().err
