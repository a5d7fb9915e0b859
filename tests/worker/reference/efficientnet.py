"""The frozen backbone of torch_step.py: EfficientNet in plain PyTorch, with weights drawn at random."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

# Per stage: blocks, kernel, stride, expansion, channels. Tan and Le, table 1.
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112)]


def scaled(channels, width):
    return int(channels * width + 4) // 8 * 8


class Convolution(nn.Sequential):
    """With TensorFlow's SAME padding and a batch norm."""

    def __init__(self, inputs, outputs, kernel, stride=1, groups=1):
        super().__init__(nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False),
                         nn.BatchNorm2d(outputs, eps=1e-3, momentum=1))  # momentum 1: Backbone fills it in one pass
        self.kernel, self.stride = kernel, stride

    def forward(self, x):
        missing = max((math.ceil(x.shape[2] / self.stride) - 1) * self.stride + self.kernel - x.shape[2], 0)
        low, high = missing // 2, missing - missing // 2
        return super().forward(F.pad(x, (low, high, low, high)) if missing else x)


class Block(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride, expansion, lite):
        super().__init__()
        wide = inputs * expansion
        self.activation = F.relu6 if lite else F.silu
        self.expand = Convolution(inputs, wide, 1) if expansion > 1 else None
        self.depthwise = Convolution(wide, wide, kernel, stride, groups=wide)
        self.lite = lite
        if not lite:
            self.squeeze, self.excite = nn.Conv2d(wide, inputs // 4, 1), nn.Conv2d(inputs // 4, wide, 1)
        self.project = Convolution(wide, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        y = self.activation(self.expand(x)) if self.expand else x
        y = self.activation(self.depthwise(y))
        if not self.lite:
            y = y * torch.sigmoid(self.excite(F.silu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        y = self.project(y)
        return y + x if self.residual else y


class Backbone(nn.Module):
    """Images [B, 3, 16G, 16G] to features [B, C, G, G]."""

    def __init__(self, width, depth, lite, taps):
        super().__init__()
        inputs = 32 if lite else scaled(32, width)
        self.taps, self.activation = taps, F.relu6 if lite else F.silu
        self.stem, self.blocks = Convolution(3, inputs, 3, 2), nn.ModuleList()
        for repeats, kernel, stride, expansion, channels in STAGES:
            for i in range(math.ceil(repeats * depth)):
                outputs = scaled(channels, width)
                self.blocks.append(Block(inputs, outputs, kernel, stride if i == 0 else 1, expansion, lite))
                inputs = outputs
        del self.blocks[taps[-1] + 1:]
        # One pass fills the running statistics, so that features of random weights are of a natural size.
        with torch.no_grad():
            self.train()(torch.randn(2, 3, 112, 112))
        self.eval().requires_grad_(False)

    def forward(self, images):
        x, features = self.activation(self.stem(images)), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.taps:
                features.append(x)
        grid = (images.shape[2] // 16, images.shape[3] // 16)
        return torch.cat([F.interpolate(f, grid, mode="bilinear", align_corners=True) for f in features], 1)


def efficientnet_b4():
    return Backbone(1.4, 1.8, lite=False, taps=[1, 5, 9, 21])  # 24 + 32 + 56 + 160 channels


def efficientnet_lite0():
    return Backbone(1.0, 1.0, lite=True, taps=[0, 2, 4, 10])  # 16 + 24 + 40 + 112 channels
