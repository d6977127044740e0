"""A torchvision network as the teacher of a small student: python examples/torchvision_teacher.py"""

import torch
from torchvision.models.resnet import BasicBlock, ResNet

from mdistiller_icc import distill, train_teacher, with_features

torch.manual_seed(0)
settings = {"SOLVER.TYPE": "AdamW", "SOLVER.LR": 0.002, "SOLVER.SCHEDULE": "cosine", "SOLVER.BATCH_SIZE": 32}

# torchvision's networks return logits alone. Methods that compare stages need their layers' names: the stem, then the
# stages. The pooled feature, which ICC spreads, is what the classifier reads.
resnet10 = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)
network = with_features(resnet10, stages=["relu", "layer1", "layer2", "layer3", "layer4"])
teacher = train_teacher(network, "digits", "ICC", epochs=4, settings=settings, overwrite=True)

for method in ("DKD", "FITNET"):
    student = distill(teacher, "resnet8", method, epochs=3, settings=settings, overwrite=True)
    print(f"{method}: teacher {teacher.top1:.1f} %, student {student.top1:.1f} % ({student.checkpoint})")
