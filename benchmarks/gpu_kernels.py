"""The Triton kernels of SVD's fused path against their eager forms: error, time and bandwidth by shape.

    python benchmarks/gpu_kernels.py

Shapes are those of one window of 25 frames at 576 x 1024. The error is relative, against float64 on the same
rounded inputs; bandwidth counts every value that must be read or written once.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actiondiff.backbones.svd import eager

SHAPES = (
    (4, 576, 1024, 128, 1),
    (4, 288, 512, 256, 1),
    (4, 72, 128, 512, 1),
    (25, 72, 128, 320, 1),
    (25, 72, 128, 320, 25),
    (25, 36, 64, 640, 25),
    (25, 9, 16, 1280, 1),
)
"""(N, H, W, C) and number of frames that share statistics, of the VAE and of the U-Net."""


def milliseconds(run: Callable[[], Any]) -> float:
    """Median time of a function on the device."""
    from triton.testing import do_bench

    return float(do_bench(run, warmup=5, rep=20, return_mode="median"))


def report(name: str, result: Tensor, reference: Tensor, run: Callable[[], Any], values: int) -> None:
    error = (result.double() - reference.double()).norm() / reference.double().norm()
    time = milliseconds(run)
    print(
        f"{name:44} error {float(error):.1e} {time:8.3f} ms {2 * values / time / 1e9:6.2f} TB/s", flush=True
    )


def main() -> None:
    from actiondiff.backbones.svd import kernels

    torch.manual_seed(0)
    device = "cuda"
    for N, H, W, C, frames in SHAPES:
        x, residual = (torch.randn(N, H, W, C, device=device, dtype=torch.float16) for _ in range(2))
        bias = torch.randn(1, C, device=device, dtype=torch.float16)
        norm = nn.GroupNorm(32, C, eps=1e-5, device=device, dtype=torch.float16).requires_grad_(False)
        shape = f"{N}x{H}x{W}x{C}/{frames}"
        run = lambda: kernels.normalise(x, norm, bias=bias, frames=frames)  # noqa: B023, E731
        expected = eager.normalise(x, norm, bias=bias, frames=frames)
        report(f"normalise {shape}", run(), expected, run, 3 * x.numel())
        y, partial = kernels.add(x, bias, residual, statistics=True)
        reference, _ = eager.add(x, bias, residual)
        run = lambda: kernels.add(x, bias, residual, statistics=True)  # noqa: B023, E731
        report(f"add {shape}", y, reference, run, 3 * x.numel())
        run = lambda: kernels.normalise(y, norm, partial=partial, frames=frames)  # noqa: B023, E731
        report(
            f"normalise after add {shape}",
            run(),
            eager.normalise(reference, norm, frames=frames),
            run,
            2 * x.numel(),
        )
        weight = torch.randn(C, C, 3, 3, device=device, dtype=torch.float16) / (9 * C) ** 0.5
        weight = weight.contiguous(memory_format=torch.channels_last)
        time = milliseconds(lambda: F.conv2d(x.permute(0, 3, 1, 2), weight, None, 1, 1))  # noqa: B023
        print(f"{'convolution ' + shape:44} {18 * x.numel() * C / time / 1e9:.0f} TFLOP/s", flush=True)
    x = torch.randn(25, 9216, 2560, device=device, dtype=torch.float16)
    bias = torch.randn(2560, device=device, dtype=torch.float16)
    run = lambda: kernels.geglu(x, bias)  # noqa: E731
    report("geglu 25x9216x2560", run(), eager.geglu(x, bias), run, x.numel() * 3 // 2)
    qkv = torch.randn(1, 25, 9216, 960, device=device, dtype=torch.float16)
    run = lambda: kernels.attend_frames(qkv, 5)  # noqa: E731
    report("attend_frames 25x9216x320", run(), eager.attend_frames(qkv, 5), run, qkv.numel() * 4 // 3)


if __name__ == "__main__":
    main()
