"""A network and a distillation method of your own, with the trainer: python examples/own_network_and_method.py"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdistiller_icc import distill, train_teacher
from mdistiller_icc.distillers.base import Distiller


class Net(nn.Module):
    """Takes images (B, 3, 32, 32) and returns logits (B, 10), as any classifier does."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels, more in ((3, width), (width, 2 * width), (2 * width, 4 * width)):
            layers += [nn.Conv2d(channels, more, 3, stride=2, padding=1), nn.BatchNorm2d(more), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4 * width, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.body(image))


class Mimic(Distiller):
    """The student's logits follow the teacher's, as they are."""

    def forward_train(self, image: Tensor, target: Tensor, **_: object) -> tuple[Tensor, dict[str, Tensor]]:
        logits_teacher, _features = self.teach(image)
        logits_student, _features = self.student(image)
        loss_kd = F.mse_loss(logits_student, logits_teacher)
        return logits_student, {"loss_ce": F.cross_entropy(logits_student, target), "loss_kd": loss_kd}


torch.manual_seed(0)
settings = {"SOLVER.SCHEDULE": "cosine", "SOLVER.BATCH_SIZE": 16, "DATASET.FRACTION": 0.5}
teachers = {
    "plain": train_teacher(Net(32), "digits", "NONE", epochs=5, settings=settings, overwrite=True),
    "ICC": train_teacher(Net(32), "digits", "ICC", epochs=5, settings=settings, overwrite=True),
}
for kind, teacher in teachers.items():
    student = distill(teacher, Net(8), Mimic, epochs=5, settings=settings, overwrite=True)
    print(f"{kind} teacher: {teacher.top1:.1f} %, its student: {student.top1:.1f} % ({student.folder})")
