"""torchvision's ImageNet ResNets, read stage by stage."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UserError
from .features import Output, Staged, read_out

if TYPE_CHECKING:
    from torchvision.models.resnet import BasicBlock, Bottleneck


def before_last_relu(block: BasicBlock | Bottleneck, x: Tensor) -> Tensor:
    """What a torchvision residual block computes up to its last ReLU."""
    out = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))
    if hasattr(block, "conv3"):
        out = block.bn3(block.conv3(block.relu(out)))
    return out + (x if block.downsample is None else block.downsample(x))


def refuse_damaged(file: Path) -> None:
    """Compare weights that were downloaded before with the start of their SHA-256, which ends their name.

    Raises:
        UserError: they are damaged, or not the ones of that name.
    """
    expected = file.stem.rpartition("-")[2]
    if file.is_file() and not hashlib.sha256(file.read_bytes()).hexdigest().startswith(expected):
        raise UserError(f"{file}: its SHA-256 does not begin with {expected}: damaged, or cut off; delete it")


class ImageNetResNet(Staged, nn.Module):
    """A torchvision ResNet that also hands out its features; its state-dict keys are torchvision's.

    Args:
        name: torchvision's name of the network.
        pretrained: load torchvision's first ImageNet weights, the ones mdistiller's teachers have.
        num_classes: length of the logits.
    """

    feature_modules = ("conv1", "bn1", "relu", "layer1", "layer2", "layer3", "layer4")
    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d
    relu: nn.ReLU
    maxpool: nn.MaxPool2d
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential
    fc: nn.Linear

    def __init__(self, name: str, *, pretrained: bool = False, num_classes: int = 1000) -> None:
        # Imported here because it takes a second that only ImageNet runs should pay.
        from torchvision import models

        super().__init__()
        body = models.get_model(name, num_classes=num_classes)
        if pretrained:
            weights = models.get_model_weights(name).IMAGENET1K_V1
            refuse_damaged(Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name)
            body.load_state_dict(weights.get_state_dict(progress=True, check_hash=True, weights_only=True))
        for child_name, child in body.named_children():
            self.add_module(child_name, child)
        last_convs = [self._last(stage, "conv") for stage in self.stages]
        self.stage_channels = [body.conv1.out_channels, *(conv.out_channels for conv in last_convs)]

    @property
    def stages(self) -> list[nn.Sequential]:
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    @staticmethod
    def _last(stage: nn.Sequential, kind: str) -> Any:
        block = stage[-1]
        return getattr(block, f"{kind}3" if hasattr(block, f"{kind}3") else f"{kind}2")

    def get_bn_before_relu(self) -> list[nn.BatchNorm2d]:
        """The batch norms that end the last three stages, as in mdistiller."""
        return [self._last(stage, "bn") for stage in self.stages[1:]]

    def forward(self, image: Tensor) -> Output:
        x = self.relu(self.bn1(self.conv1(image)))
        feats, preacts = [x], [x]
        x = self.maxpool(x)
        for stage in self.stages:
            *inner, last = stage
            for block in inner:
                x = block(x)
            preact = before_last_relu(last, x)
            x = F.relu(preact)
            feats.append(x)
            preacts.append(preact)
        return read_out(self.fc, x, feats, preacts)


ResNet18 = partial(ImageNetResNet, "resnet18")
ResNet34 = partial(ImageNetResNet, "resnet34")
ResNet50 = partial(ImageNetResNet, "resnet50")
ResNet101 = partial(ImageNetResNet, "resnet101")
