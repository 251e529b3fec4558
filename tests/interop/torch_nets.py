"""PyTorch's networks, named and ordered as torchvision and usual programs do."""

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """torchvision's BasicBlock."""

    def __init__(self, seen, features, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(seen, features, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(seen, features, 1, stride, bias=False), nn.BatchNorm2d(features))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (self.downsample(x) if self.downsample else x))


class ResNet18(nn.Module):
    """torchvision's ResNet with [2, 2, 2, 2] basic blocks."""

    def __init__(self, classes=1000, width=64, seen=3):
        super().__init__()
        self.conv1 = nn.Conv2d(seen, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(width, width), Block(width, width))
        self.layer2 = nn.Sequential(Block(width, 2 * width, 2), Block(2 * width, 2 * width))
        self.layer3 = nn.Sequential(Block(2 * width, 4 * width, 2), Block(4 * width, 4 * width))
        self.layer4 = nn.Sequential(Block(4 * width, 8 * width, 2), Block(8 * width, 8 * width))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * width, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class LeNet5(nn.Module):
    def __init__(self, classes=10, rows=5 * 5):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16 * rows, 120), nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, x):
        x = functional.avg_pool2d(torch.tanh(self.conv1(x)), 2)
        x = functional.avg_pool2d(torch.tanh(self.conv2(x)), 2).flatten(1)
        return self.fc3(torch.tanh(self.fc2(torch.tanh(self.fc1(x)))))


class VGG11(nn.Module):
    """torchvision's vgg11_bn with one dense layer; `rows` positions are left."""

    def __init__(self, classes=10, width=64, rows=1, seen=3):
        super().__init__()
        layers = []
        for times, count in ((1, 1), (2, 1), (4, 2), (8, 2), (8, 2)):
            for _ in range(count):
                layers += [nn.Conv2d(seen, times * width, 3, padding=1, bias=False), nn.BatchNorm2d(times * width), nn.ReLU()]
                seen = times * width
            layers.append(nn.MaxPool2d(2))
        self.features, self.classifier = nn.Sequential(*layers), nn.Sequential(nn.Linear(seen * rows, classes))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class AllConvolutional(nn.Sequential):
    """With even images: SAME of stride 2 pads at the end only."""

    def __init__(self, classes=10, width=96, seen=3):
        layers = [nn.Dropout(0.2)]
        for features, stride in ((width, 1), (width, 1), (width, 2), (2 * width, 1), (2 * width, 1), (2 * width, 2), (2 * width, 1)):
            pad = [nn.ZeroPad2d((0, 1, 0, 1))] if stride == 2 else []
            layers += [*pad, nn.Conv2d(seen, features, 3, stride, 0 if pad else 1), nn.ReLU()]
            seen = features
        super().__init__(*layers, nn.Conv2d(seen, seen, 1), nn.ReLU(), nn.Conv2d(seen, classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class SqueezeExcitation(nn.Module):
    """As torchvision's, with 1x1 convolutions in place of dense layers."""

    def __init__(self, features):
        super().__init__()
        self.fc1 = nn.Conv2d(features, max(features // 4, 1), 1)
        self.fc2 = nn.Conv2d(max(features // 4, 1), features, 1)

    def forward(self, x):
        gate = self.fc2(functional.relu(self.fc1(functional.adaptive_avg_pool2d(x, 1))))
        return x * functional.relu6(gate + 3) / 6


class MobileNet(nn.Module):
    def __init__(self, classes=10, width=32, seen=3):
        super().__init__()
        layers = [nn.Sequential(nn.Conv2d(seen, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.Hardswish())]
        for before, made, stride in ((1, 2, 1), (2, 4, 2), (4, 4, 1), (4, 8, 2), (8, 8, 1)):
            b, m = before * width, made * width
            layers.append(
                nn.Sequential(
                    nn.Sequential(nn.Conv2d(b, b, 3, stride, 1, groups=b, bias=False), nn.BatchNorm2d(b), nn.Hardswish()),
                    SqueezeExcitation(b),
                    nn.Sequential(nn.Conv2d(b, m, 1, bias=False), nn.BatchNorm2d(m), nn.Hardswish()),
                )
            )
        self.features, self.classifier = nn.Sequential(*layers), nn.Linear(8 * width, classes)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def double_conv(seen, features):
    return nn.Sequential(
        nn.Conv2d(seen, features, 3, padding=1, bias=False), nn.BatchNorm2d(features), nn.ReLU(),
        nn.Conv2d(features, features, 3, padding=1, bias=False), nn.BatchNorm2d(features), nn.ReLU(),
    )  # fmt: skip


class UNet(nn.Module):
    """All that goes down first, then all that goes up, as most programs have it."""

    def __init__(self, classes=2, width=16, depth=3, seen=1):
        super().__init__()
        widths = [width * 2**i for i in range(depth + 1)]
        self.downs = nn.ModuleList(double_conv(s, f) for s, f in zip([seen, *widths[:-2]], widths[:-1], strict=True))
        self.bottleneck = double_conv(widths[-2], widths[-1])
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * f, f, 2, 2) for f in reversed(widths[:-1]))
        self.joins = nn.ModuleList(double_conv(2 * f, f) for f in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        kept = []
        for down in self.downs:
            kept.append(down(x))
            x = functional.max_pool2d(kept[-1], 2)
        x = self.bottleneck(x)
        for up, join in zip(self.ups, self.joins, strict=True):
            x = join(torch.cat([kept.pop(), up(x)], 1))
        return self.head(x)


class LayerNorm2d(nn.LayerNorm):
    """torchvision's."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """torchvision's CNBlock without its layer scale: dense layers in place of 1x1 convolutions, channels last between."""

    def __init__(self, features):
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(features, features, 7, padding=3, groups=features), nn.LayerNorm(features)
        self.pwconv1, self.pwconv2 = nn.Linear(features, 4 * features), nn.Linear(4 * features, features)

    def forward(self, x):
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        return x + self.pwconv2(functional.gelu(self.pwconv1(y))).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    def __init__(self, classes=10, width=32, depths=(2, 2, 2), seen=3):
        super().__init__()
        stages = [nn.Conv2d(seen, width, 2, 2), LayerNorm2d(width)]
        for stage, depth in enumerate(depths):
            features = 2**stage * width
            stages += [LayerNorm2d(features // 2), nn.Conv2d(features // 2, features, 2, 2)] if stage else []
            stages.append(nn.Sequential(*(ConvNeXtBlock(features) for _ in range(depth))))
        self.features, self.norm, self.head = nn.Sequential(*stages), nn.LayerNorm(features), nn.Linear(features, classes)

    def forward(self, x):
        return self.head(self.norm(self.features(x).mean((2, 3))))


def randomized(model, seed=0):
    """In evaluation, with random parameters and statistics."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, a in model.state_dict().items():
            if not a.is_floating_point():
                a.fill_(17)
            elif name.endswith("running_var"):
                a.copy_(torch.rand(a.shape, generator=generator) + 0.5)
            elif a.ndim > 1:
                a.copy_(torch.randn(a.shape, generator=generator) * (2 / a[0].numel()) ** 0.5)
            else:
                a.copy_(torch.randn(a.shape, generator=generator) * 0.3 + 0.5)
    return model.eval()
