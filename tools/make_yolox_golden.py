"""Writes what YOLOX-tiny of pixeltable-yolox computes from made-up weights, for a test of our own network.

It needs that package and a torchvision that fits torch, neither of which this project installs:

    pip install pixeltable-yolox==0.4.3
    PYTHONPATH=src python tools/make_yolox_golden.py tests/fixtures/yolox_tiny.safetensors
"""

import sys

import torch
from safetensors.torch import save_file


def fill(network: torch.nn.Module) -> None:
    """Fill every tensor of a network by a formula, by the order of their names."""
    for number, (name, tensor) in enumerate(sorted(network.state_dict().items())):
        if not tensor.is_floating_point():
            continue
        wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * (0.37 + 0.011 * number))
        scale = 2.4 / tensor[0].numel() ** 0.5 if tensor.ndim > 1 else 0.3
        shift = 1.0 if name.endswith(("bn.weight", "running_var")) else 0.0
        tensor.copy_((scale * wave + shift).reshape(tensor.shape))


def pictures() -> torch.Tensor:
    """(1, 3, 64, 96) in [0, 255]."""
    return (torch.arange(3 * 64 * 96, dtype=torch.float64).sin().reshape(1, 3, 64, 96) * 127 + 128).float()


def main(target: str) -> None:
    """Write the boxes and scores of the package's network."""
    from yolox.config import YoloxConfig

    config = YoloxConfig(name="yolox_tiny")
    config.depth, config.width, config.num_classes = 0.33, 0.375, 1
    network = config.get_model().eval()
    network.head.training = False
    with torch.no_grad():
        fill(network)
        boxes = network(pictures())
    save_file({"boxes": torch.cat([boxes[..., :4], boxes[..., 4:5] * boxes[..., 5:]], dim=-1)}, target)


if __name__ == "__main__":
    main(sys.argv[1])
