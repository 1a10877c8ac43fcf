"""Pre-training on CUDA: to the exported weights, and with as many sequences as its full size has."""

import pytest
import torch
from tests.unit.builtin.pretraining.test_pretrain import ARCHITECTURE, FEW

from actiondiff import load_backbone
from actiondiff.builtin.pretraining.diffusion import Denoiser, denoising_loss
from actiondiff.builtin.pretraining.pretrain import Pretraining, pretrain
from actiondiff.testing import sample_video
from actiondiff.training.stage import Deadline


def test_to_the_end(tmp_path):
    options = FEW.model_copy(update={"bfloat16": True})
    assert pretrain(tmp_path / "run", options, device="cuda")
    tokens = load_backbone("tiny", weights=tmp_path / "run" / "tiny", device="cuda").extract(sample_video(8))
    assert tokens[20, 3].shape[0] == 8
    assert (tmp_path / "run" / "samples-0.png").stat().st_size > 1000


def test_a_run_of_another_device_is_continued(tmp_path):
    for device, seconds in (("cpu", 0), ("cuda", None)):
        run = Pretraining(tmp_path, FEW, architecture=ARCHITECTURE, device=device)
        finished = run.run(Deadline(seconds), lambda line: None)
    assert finished


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_backward_pass_of_256_windows(dtype):
    """Temporal attention then has 256 x 16 x 16 sequences, more than fit 16 bits."""
    torch.manual_seed(0)
    model = Denoiser(ARCHITECTURE["unet"], ARCHITECTURE["clip"]).to("cuda")
    random = torch.Generator().manual_seed(0)
    frames = torch.rand(256, 8, 3, 64, 64, generator=random).to("cuda") * 2 - 1
    latents = torch.randn(256, 8, 4, 16, 16, generator=random).to("cuda")
    with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss, _ = denoising_loss(model, frames, latents, FEW, random)
    loss.backward()
    torch.cuda.synchronize()
    assert all(bool(weight.grad.isfinite().all()) for weight in model.parameters() if weight.grad is not None)
