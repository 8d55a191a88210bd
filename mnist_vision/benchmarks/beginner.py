"""The training loop of PyTorch's basic MNIST example, as a baseline.

Source: https://github.com/pytorch/examples/tree/main/mnist. Two convolutions of 32 and 64 channels,
dropout, 128 hidden units; Adadelta with a learning rate of 1.0, multiplied by 0.7 each epoch;
batches of 64 through torchvision's dataset and transforms.
"""

import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

from mnist_vision.benchmarks.harness import synchronize

BATCH_SIZE = 64
TEST_BATCH_SIZE = 1000


class BeginnerNetwork(nn.Module):
    """The network of the example, with its optimizer and schedule.

    Args:
        device: Where it is trained and tested.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
            nn.Flatten(),
            nn.Linear(64 * 12 * 12, 128),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(128, 10),
        ).to(device)
        self.optimizer = torch.optim.Adadelta(self.parameters(), lr=1.0)
        self.scheduler = StepLR(self.optimizer, step_size=1, gamma=0.7)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images `[B, 1, 28, 28]` to logits `[B, 10]`."""
        logits: Tensor = self.layers(images)
        return logits


def train_epoch(network: BeginnerNetwork, root: Path) -> float:
    """Train on the 60,000 training images once and return the time in seconds."""
    loader = DataLoader(_dataset(root, train=True), BATCH_SIZE, shuffle=True)
    network.train()
    started = time.perf_counter()
    for images, targets in loader:
        network.optimizer.zero_grad()
        images, targets = images.to(network.device), targets.to(network.device)
        F.cross_entropy(network(images), targets).backward()
        network.optimizer.step()
    network.scheduler.step()
    synchronize()
    return time.perf_counter() - started


@torch.inference_mode()
def accuracy(network: BeginnerNetwork, root: Path) -> float:
    """Compute the accuracy on the 10,000 test images."""
    dataset = _dataset(root, train=False)
    network.eval()
    correct = 0
    for images, targets in DataLoader(dataset, TEST_BATCH_SIZE):
        predictions = network(images.to(network.device)).argmax(dim=1)
        correct += int((predictions == targets.to(network.device)).sum())
    return correct / len(dataset)


def _dataset(root: Path, *, train: bool) -> MNIST:
    normalise = transforms.Normalize((0.1307,), (0.3081,))
    transform = transforms.Compose([transforms.ToTensor(), normalise])
    return MNIST(root, train=train, transform=transform)
