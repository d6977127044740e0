"""torchvision's ImageNet ResNets, read stage by stage."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, hub, nn

from ...errors import UserError
from .features import Output, Staged, read_out

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum
    from torchvision.models.resnet import BasicBlock, Bottleneck


def before_last_relu(block: BasicBlock | Bottleneck, x: Tensor) -> Tensor:
    """What a torchvision residual block computes up to its last ReLU."""
    out = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))
    if hasattr(block, "conv3"):
        out = block.bn3(block.conv3(block.relu(out)))
    return out + (x if block.downsample is None else block.downsample(x))


def _downloaded(weights: WeightsEnum) -> dict[str, Tensor]:
    """The weights from torch's own folder, where they are put when they are first asked for.

    Raises:
        UserError: they are not there and cannot be downloaded, or what is there is damaged.
    """
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except Exception as error:  # a network, a disk or a damaged file: in many ways
        file = Path(hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2])
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{file}: cannot be downloaded or read ({reason}); put {weights.url} there, "
            "or name a file with DISTILLER.TEACHER_CKPT"
        ) from error
    return state


class ImageNetResNet(Staged, nn.Module):
    """A torchvision ResNet that also hands out its features; its state-dict keys are torchvision's.

    Args:
        name: torchvision's name of the network.
        pretrained: load torchvision's first ImageNet weights, the ones mdistiller's teachers have.
        num_classes: length of the logits.

    Raises:
        UserError: see `_downloaded`.
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
            body.load_state_dict(_downloaded(models.get_model_weights(name).IMAGENET1K_V1))
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
