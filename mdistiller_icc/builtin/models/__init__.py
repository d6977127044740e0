"""The built-in host's model registries: mdistiller's names, state-dict keys and numbers.

``cifar_model_dict`` and ``tiny_imagenet_model_dict`` hold ``name: (factory, checkpoint path or None)``, with
``factory(num_classes=…)``; ``imagenet_model_dict`` holds ``name: factory(pretrained=bool)``.
"""

from __future__ import annotations

from . import cifar_resnet, cifar_resnet18, imagenet_resnet, vgg, wrn
from .checkpoints import cifar_teacher, tiny_imagenet_teacher
from .mobilenetv1 import MobileNetV1
from .mobilenetv2 import MobileNetV2
from .shufflenetv1 import ShuffleV1
from .shufflenetv2 import ShuffleV2
from .tiny_mobilenetv2 import TinyMobileNetV2

cifar_model_dict = {
    # mdistiller released a checkpoint of these six.
    "resnet56": (cifar_resnet.resnet56, cifar_teacher("resnet56")),
    "resnet110": (cifar_resnet.resnet110, cifar_teacher("resnet110")),
    "resnet32x4": (cifar_resnet.resnet32x4, cifar_teacher("resnet32x4")),
    "ResNet50": (cifar_resnet18.ResNet50, cifar_teacher("ResNet50")),
    "wrn_40_2": (wrn.wrn_40_2, cifar_teacher("wrn_40_2")),
    "vgg13": (vgg.vgg13, cifar_teacher("vgg13")),
    "resnet8": (cifar_resnet.resnet8, None),
    "resnet14": (cifar_resnet.resnet14, None),
    "resnet20": (cifar_resnet.resnet20, None),
    "resnet32": (cifar_resnet.resnet32, None),
    "resnet44": (cifar_resnet.resnet44, None),
    "resnet8x4": (cifar_resnet.resnet8x4, None),
    "ResNet18": (cifar_resnet18.ResNet18, None),
    "wrn_16_1": (wrn.wrn_16_1, None),
    "wrn_16_2": (wrn.wrn_16_2, None),
    "wrn_40_1": (wrn.wrn_40_1, None),
    "vgg8": (vgg.vgg8, None),
    "vgg11": (vgg.vgg11, None),
    "vgg16": (vgg.vgg16, None),
    "vgg19": (vgg.vgg19, None),
    "MobileNetV2": (MobileNetV2, None),
    "ShuffleV1": (ShuffleV1, None),
    "ShuffleV2": (ShuffleV2, None),
}

tiny_imagenet_model_dict = {
    "ResNet18": (cifar_resnet18.ResNet18, tiny_imagenet_teacher("ResNet18", "ti_res18")),
    "MobileNetV2": (TinyMobileNetV2, None),
    "ShuffleV2": (ShuffleV2, None),
}

imagenet_model_dict = {
    "ResNet18": imagenet_resnet.ResNet18,
    "ResNet34": imagenet_resnet.ResNet34,
    "ResNet50": imagenet_resnet.ResNet50,
    "ResNet101": imagenet_resnet.ResNet101,
    "MobileNetV1": MobileNetV1,
}

OWN = frozenset({*cifar_model_dict, *tiny_imagenet_model_dict, *imagenet_model_dict})
"""The networks above, whatever else is registered; no memory layout is foreign to them."""
