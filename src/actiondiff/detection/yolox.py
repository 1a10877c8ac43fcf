"""YOLOX-tiny, the network of MegaDetector-lite, for inference.

The modules bear the names of the original code, so that its tensors load strictly and need no map of names.

Source: Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv 2107.08430. Layers, names and constants are
those of the authors' code and of its fork pixeltable-yolox (both Apache-2.0), with whose outputs the tests
compare. That package itself cannot be imported beside torch's builds for CPU; docs/crops.md
says why.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["IMAGE_SIDE", "YoloxTiny"]

IMAGE_SIDE = 640  # pixels; a multiple of the coarsest stride
_STRIDES = (8, 16, 32)
_WIDTHS = (96, 192, 384)  # 0.375 of 256, 512, 1024, one for each stride
_NORM_EPS = 1e-3  # the original sets it for all of its batch norms
_POOLED = (5, 9, 13)  # sides of the pyramid's squares


class YoloxTiny(nn.Module):
    """Detects objects of one class, as in the original configuration `yolox_tiny`."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = _Neck()
        self.head = _Head()

    def forward(self, pictures: Tensor) -> Tensor:
        """Boxes of all places of the grid.

        Args:
            pictures: (B, 3, H, W) in [0, 255], H and W multiples of 32.

        Returns:
            (B, N, 5): x and y of the centre, width and height in pixels, and the score in [0, 1], which is
            the probability of an object times that of the class.
        """
        return self.head(self.backbone(pictures))


class _Conv(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(self, width_in: int, width: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, side, stride, padding=(side - 1) // 2, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=_NORM_EPS)
        self.act = nn.SiLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(maps)))


class _Bottleneck(nn.Module):
    """Two convolutions, with or without a path around them."""

    def __init__(self, width: int, *, is_residual: bool) -> None:
        super().__init__()
        self.conv1 = _Conv(width, width, 1)
        self.conv2 = _Conv(width, width, 3)
        self.is_residual = is_residual

    def forward(self, maps: Tensor) -> Tensor:
        result = self.conv2(self.conv1(maps))
        return result + maps if self.is_residual else result


class _CrossStage(nn.Module):
    """A cross-stage partial layer: half of the channels go through bottlenecks, the others around them."""

    def __init__(self, width_in: int, width: int, depth: int = 1, *, is_residual: bool = False) -> None:
        super().__init__()
        half = width // 2
        self.conv1 = _Conv(width_in, half, 1)
        self.conv2 = _Conv(width_in, half, 1)
        self.conv3 = _Conv(2 * half, width, 1)
        self.m = nn.Sequential(*(_Bottleneck(half, is_residual=is_residual) for _ in range(depth)))

    def forward(self, maps: Tensor) -> Tensor:
        return self.conv3(torch.cat((self.m(self.conv1(maps)), self.conv2(maps)), dim=1))


class _Pyramid(nn.Module):
    """Maxima over squares of several sizes, side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1 = _Conv(width, half, 1)
        self.m = nn.ModuleList(nn.MaxPool2d(side, stride=1, padding=side // 2) for side in _POOLED)
        self.conv2 = _Conv(half * (1 + len(_POOLED)), width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.conv1(maps)
        return self.conv2(torch.cat([maps, *(pool(maps) for pool in self.m)], dim=1))


class _Focus(nn.Module):
    """Squares of 2 x 2 pixels as channels: 3 x H x W become 12 x H/2 x W/2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _Conv(12, width, 3)

    def forward(self, pictures: Tensor) -> Tensor:
        corners = [pictures[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.conv(torch.cat(corners, dim=1))


class _Darknet(nn.Module):
    """The convolutional backbone: maps at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        low, (fine, middle, coarse) = 48, _WIDTHS
        self.stem = _Focus(low // 2)
        self.dark2 = nn.Sequential(_Conv(low // 2, low, 3, 2), _CrossStage(low, low, is_residual=True))
        self.dark3 = nn.Sequential(_Conv(low, fine, 3, 2), _CrossStage(fine, fine, 3, is_residual=True))
        self.dark4 = nn.Sequential(
            _Conv(fine, middle, 3, 2), _CrossStage(middle, middle, 3, is_residual=True)
        )
        self.dark5 = nn.Sequential(_Conv(middle, coarse, 3, 2), _Pyramid(coarse), _CrossStage(coarse, coarse))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.dark3(self.dark2(self.stem(pictures)))
        middle = self.dark4(fine)
        return fine, middle, self.dark5(middle)


class _Neck(nn.Module):
    """Mixes the maps of the three strides, from coarse to fine and back."""

    def __init__(self) -> None:
        super().__init__()
        fine, middle, coarse = _WIDTHS
        self.backbone = _Darknet()
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.lateral_conv0 = _Conv(coarse, middle, 1)
        self.C3_p4 = _CrossStage(2 * middle, middle)
        self.reduce_conv1 = _Conv(middle, fine, 1)
        self.C3_p3 = _CrossStage(2 * fine, fine)
        self.bu_conv2 = _Conv(fine, fine, 3, 2)
        self.C3_n3 = _CrossStage(2 * fine, middle)
        self.bu_conv1 = _Conv(middle, middle, 3, 2)
        self.C3_n4 = _CrossStage(2 * middle, coarse)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = self.backbone(pictures)
        from_coarse = self.lateral_conv0(coarse)
        mixed = self.C3_p4(torch.cat((self.upsample(from_coarse), middle), dim=1))
        from_middle = self.reduce_conv1(mixed)
        fine = self.C3_p3(torch.cat((self.upsample(from_middle), fine), dim=1))
        middle = self.C3_n3(torch.cat((self.bu_conv2(fine), from_middle), dim=1))
        coarse = self.C3_n4(torch.cat((self.bu_conv1(middle), from_coarse), dim=1))
        return fine, middle, coarse


class _Head(nn.Module):
    """Box, object and class at each place of the three maps."""

    def __init__(self) -> None:
        super().__init__()
        width = _WIDTHS[0]

        def pair() -> nn.Sequential:
            return nn.Sequential(_Conv(width, width, 3), _Conv(width, width, 3))

        self.cls_convs = nn.ModuleList(pair() for _ in _WIDTHS)
        self.reg_convs = nn.ModuleList(pair() for _ in _WIDTHS)
        self.cls_preds = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in _WIDTHS)
        self.reg_preds = nn.ModuleList(nn.Conv2d(width, 4, 1) for _ in _WIDTHS)
        self.obj_preds = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in _WIDTHS)
        self.stems = nn.ModuleList(_Conv(own, width, 1) for own in _WIDTHS)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.cat([self._boxes(n, own) for n, own in enumerate(maps)], dim=1)

    def _boxes(self, n: int, maps: Tensor) -> Tensor:
        """Boxes of one stride: (B, h * w, 5)."""
        maps = self.stems[n](maps)
        of_box = self.reg_convs[n](maps)
        edges = self.reg_preds[n](of_box)
        score = self.obj_preds[n](of_box).sigmoid() * self.cls_preds[n](self.cls_convs[n](maps)).sigmoid()
        rows, columns = (torch.arange(length, device=maps.device) for length in maps.shape[-2:])
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))  # (2, h, w)
        centres = (edges[:, :2] + grid) * _STRIDES[n]
        sizes = edges[:, 2:].exp() * _STRIDES[n]
        return torch.cat((centres, sizes, score), dim=1).flatten(2).transpose(1, 2)
