"""A training loop of your own with ICCLoss, on scikit-learn's handwritten digits: python examples/own_loop.py"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, StackDataset
from torchvision.transforms import v2

from mdistiller_icc import ICCLoss


class Digits(Dataset):
    """Images (1, 8, 8) and their labels; a training image is another view of itself each time."""

    def __init__(self, rows: slice, transform: v2.Transform) -> None:
        digits = load_digits()
        self.images = torch.from_numpy(digits.images[rows]).float().unsqueeze(1) / 16
        self.labels = digits.target[rows]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[i]), self.labels[i]


torch.manual_seed(0)
train = Digits(slice(0, 1400), v2.RandomCrop(8, padding=1))
test = Digits(slice(1400, None), v2.Identity())
body = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
)  # fmt: skip
head = nn.Linear(64, 10)
model = nn.Sequential(body, head)
icc = ICCLoss(num_classes=10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

for epoch in range(1, 11):
    model.train()
    for (image, target), index in DataLoader(StackDataset(train, range(len(train))), batch_size=64, shuffle=True):
        views = [train[i][0] for i in icc.second_views(index).tolist()]  # of the last batch's anchors
        features = body(torch.stack([*image, *views]))
        logits = head(features)
        loss = F.cross_entropy(logits[: len(target)], target) + icc(logits, features, target, index)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        correct = sum((model(image).argmax(1) == label).sum().item() for image, label in DataLoader(test, 64))
    figures = icc.figures()
    print(f"epoch {epoch}: test {100 * correct / len(test):.1f} %, anchors {100 * figures['icc/anchors']:.0f} %")
