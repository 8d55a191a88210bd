"""What VGG16 and AlexNet share, on a small network in their place, and on themselves."""

import re
from typing import ClassVar

import pytest
import torch
import torchvision
from hydra.utils import instantiate
from lightning import Callback, Trainer
from torch import nn

from mnist_vision.common.errors import FieldError
from mnist_vision.data.augmentation import Augmentation
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.models.alexnet import AlexNet
from mnist_vision.models.pretrained.feature_cache import FeatureCache
from mnist_vision.models.pretrained.fine_tuning import PretrainedClassifier, collapse
from mnist_vision.models.vgg16 import VGG16
from mnist_vision.training.callbacks.last_checkpoint import LastCheckpoint
from mnist_vision.training.schedules import constant
from tests.conftest import composed, synthetic_digits


class SmallNetwork(nn.Module):
    """Two blocks, a pooling to 3x3, and a head, with batch norm and dropout to be frozen."""

    def __init__(self, dropout):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(4),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.Dropout(0.2),
            nn.ReLU(),
            nn.MaxPool2d(4),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((3, 3))
        self.classifier = nn.Sequential(
            nn.Linear(6 * 9, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 1000)
        )


class Small(PretrainedClassifier):
    known_weights = torchvision.models.VGG16_Weights
    block_ends: ClassVar = (4, 8)
    min_image_size = 16

    @staticmethod
    def make_network(dropout):
        return SmallNetwork(dropout)


def small(**kwargs):
    torch.manual_seed(0)
    return make(Small, **{"backbone_lr_ratio": 0.1, "dropout": 0.0} | kwargs)


def make(architecture, **kwargs):
    """The network with all blocks trained, its last feature map 1x1."""
    sizes = {Small: 28, VGG16: 32, AlexNet: 64}
    all_blocks = len(architecture.block_ends)
    usual = {"image_size": sizes[architecture], "num_trainable_blocks": all_blocks}
    return architecture(**usual | {"weights": None} | kwargs)


BLOCKS = [3 * 4 * 9 + 4 + 8, 4 * 6 * 9 + 6]  # weights, by hand
HEAD = 6 * 16 + 16 + 16 * 10 + 10  # at 28 px the last feature map is 1x1


def num_trainable(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("num_blocks", "expected"),
    [(0, HEAD), (1, HEAD + BLOCKS[1]), (2, HEAD + sum(BLOCKS))],
)
def test_the_last_blocks_train_and_no_other(num_blocks, expected):
    model = small(num_trainable_blocks=num_blocks)
    assert num_trainable(model) == expected
    given = [p for group in model.parameter_groups() for p in group["params"]]
    assert sum(p.numel() for p in given) == expected


CONVOLUTIONS = {  # weights and biases of each block, by hand
    VGG16: [
        3 * 64 * 9 + 64 + 64 * 64 * 9 + 64,
        64 * 128 * 9 + 128 + 128 * 128 * 9 + 128,
        128 * 256 * 9 + 256 + 2 * (256 * 256 * 9 + 256),
        256 * 512 * 9 + 512 + 2 * (512 * 512 * 9 + 512),
        3 * (512 * 512 * 9 + 512),
    ],
    AlexNet: [
        3 * 64 * 121 + 64,
        64 * 192 * 25 + 192,
        192 * 384 * 9 + 384,
        384 * 256 * 9 + 256,
        256 * 256 * 9 + 256,
    ],
}
HEADS = {VGG16: 512 * 4096, AlexNet: 256 * 4096}


@pytest.mark.parametrize("architecture", [VGG16, AlexNet])
@pytest.mark.parametrize("num_blocks", [0, 1, 3, 5])
def test_number_of_trained_weights(architecture, num_blocks, monkeypatch):
    monkeypatch.setattr(
        "mnist_vision.models.pretrained.fine_tuning._initialise", lambda network: None
    )
    model = make(architecture, num_trainable_blocks=num_blocks)
    head = HEADS[architecture] + 4096 + 4096 * 4096 + 4096 + 4096 * 10 + 10
    convolutions = sum(CONVOLUTIONS[architecture][5 - num_blocks :]) if num_blocks else 0
    assert num_trainable(model) == head + convolutions


def test_frozen_blocks_get_no_gradient_and_take_part_as_in_evaluation(fit):
    model = small(num_trainable_blocks=1)
    modes = []

    class Record(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            modes.append([{layer.training for layer in block} for block in model.blocks])

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            first, second = model.blocks
            assert all(p.grad is None for p in first.parameters())
            assert all(p.grad.any() for p in second.parameters())

    fit(model, max_epochs=2, callbacks=[Record()])
    assert modes == [[{False}, {True}]] * 20


@pytest.mark.parametrize("architecture", [Small, VGG16, AlexNet])
def test_blocks_are_all_of_the_convolutions(architecture):
    model = make(architecture)
    blocks = [layer for block in model.blocks for layer in block]
    assert blocks == list(model.features)


@pytest.mark.parametrize(
    ("architecture", "original", "image_size"),
    [
        (VGG16, torchvision.models.vgg16, 32),
        (VGG16, torchvision.models.vgg16, 64),
        (AlexNet, torchvision.models.alexnet, 63),
        (AlexNet, torchvision.models.alexnet, 127),
        (AlexNet, torchvision.models.alexnet, 224),
        (AlexNet, torchvision.models.alexnet, 288),
    ],
)
def test_logits_equal_those_of_torchvisions_network(architecture, original, image_size, tmp_path):
    torch.manual_seed(0)
    theirs = original().eval()
    torch.save(theirs.state_dict(), tmp_path / "whole.pth")
    weights = str(tmp_path / "whole.pth")
    model = make(
        architecture, weights=weights, image_size=image_size, standardize_images=False
    ).eval()
    model.load_pretrained()
    # The last layer is made anew: both get the same.
    model.classifier[-1] = nn.Linear(4096, 10)
    theirs.classifier[-1] = model.classifier[-1]
    images = torch.rand(2, 1, 28, 28)
    colours = nn.functional.interpolate(images, image_size, mode="bilinear").repeat(1, 3, 1, 1)
    colours -= torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    colours /= torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.inference_mode():
        torch.testing.assert_close(model(images), theirs(colours), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("side", "pool_side"), [(1, 7), (2, 7), (3, 6), (5, 7), (6, 7)])
def test_collapse_is_exact(side, pool_side):
    maps, weight = torch.rand(3, 4, side, side), torch.rand(5, 4 * pool_side**2)
    pooled = nn.functional.adaptive_avg_pool2d(maps, pool_side).flatten(1)
    torch.testing.assert_close(
        maps.flatten(1) @ collapse(weight, side, pool_side).T, pooled @ weight.T
    )


@pytest.mark.parametrize("architecture", [VGG16, AlexNet])
def test_the_smallest_image_size_is_the_smallest_that_works(architecture):
    smallest = architecture.min_image_size
    assert make(architecture, image_size=smallest)(torch.rand(1, 1, 28, 28)).shape == (1, 10)
    with torch.device("meta"), pytest.raises(RuntimeError, match="too small"):
        architecture.make_network(0.5).features(torch.empty(1, 3, smallest - 1, smallest - 1))


@pytest.mark.parametrize("architecture", [VGG16, AlexNet])
def test_convolutions_alone_are_loaded_and_the_head_is_made_anew(architecture, tmp_path):
    model = make(architecture, weights=str(tmp_path / "features.pth"))
    features = {
        k: torch.rand_like(v) for k, v in model.features.state_dict(prefix="features.").items()
    }
    torch.save(features, tmp_path / "features.pth")
    head = model.classifier[-1].weight.clone()
    model.load_pretrained()
    for name, tensor in features.items():
        assert torch.equal(model.state_dict()[name], tensor)
    assert torch.equal(model.classifier[-1].weight, head)
    is_caffe = architecture is VGG16
    torch.testing.assert_close(model.std.flatten()[0].item(), 1 / 255 if is_caffe else 0.229)


def test_a_checkpoint_keeps_normalisation_and_needs_no_weights_file(tmp_path):
    torch.save(SmallNetwork(0.0).state_dict(), tmp_path / "whole.pth")
    model = small(weights=str(tmp_path / "whole.pth")).eval()
    model.load_pretrained()
    (tmp_path / "whole.pth").unlink()
    again = Small(**model.hparams).eval()
    again.load_state_dict(model.state_dict())
    images = torch.rand(2, 1, 28, 28)
    assert again.mean.flatten()[0] == pytest.approx(0.485)
    assert torch.equal(again(images), model(images))
    with pytest.raises(FieldError, match="neither a file nor one of"):
        again.load_pretrained()


def test_random_weights_take_mnists_normalisation_and_the_seed():
    one, other = small(), small()
    one.load_pretrained()
    assert torch.equal(one.features[0].weight, other.features[0].weight)
    assert one.mean.flatten().tolist() == pytest.approx([0.1307] * 3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weights", 3),
        ("image_size", 15),
        ("image_size", 28.0),
        ("num_trainable_blocks", -1),
        ("num_trainable_blocks", 3),
        ("epochs_per_block", -1),
        ("backbone_lr_ratio", 0),
        ("dropout", 1),
        ("label_smoothing", -0.1),
        ("label_smoothing", 1),
    ],
)
def test_arguments_outside_their_range_are_refused(field, value):
    with pytest.raises(FieldError, match=field):
        small(**{field: value})


def test_smoothed_targets_give_each_digit_a_share():
    images, targets = synthetic_digits(6)
    images = images.float() / 255
    model = small(label_smoothing=0.2).eval()
    log_probabilities = model(images).log_softmax(1)
    of_target = log_probabilities.gather(1, targets[:, None]).squeeze(1)
    expected = -(0.8 * of_target + 0.2 * log_probabilities.mean(1)).mean()
    (loss,) = model.losses(images, targets).values()
    torch.testing.assert_close(loss, expected)


@pytest.fixture
def fit(digits, tmp_path):
    """Trains for some epochs on 500 synthetic digits."""

    def run(model, max_epochs=1, callbacks=(), folder=None, ckpt_path=None, augmentation=None):
        torch.manual_seed(0)
        model.set_recipe(lambda groups: torch.optim.SGD(groups, lr=0.01), constant)
        trainer = Trainer(
            max_epochs=max_epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=folder is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=[*callbacks, *([LastCheckpoint(folder)] if folder else [])],
        )
        datamodule = MNISTDataModule(
            str(tmp_path), batch_size=50, val_size=100, augmentation=augmentation
        )
        trainer.fit(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)
        return trainer

    return run


def test_the_backbone_learns_at_a_multiple_of_the_heads_rate(fit):
    (optimizer,) = fit(small(backbone_lr_ratio=0.2)).optimizers
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == pytest.approx(
        {"head": 0.01, "backbone": 0.002}
    )


def test_blocks_begin_to_train_one_by_one_from_the_last(fit):
    model = small(epochs_per_block=2)
    assert num_trainable(model) == HEAD + sum(BLOCKS)
    trained = []

    def weights():
        return [[p.detach().clone() for p in block.parameters()] for block in model.blocks]

    class Record(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            self.before = weights()

        def on_train_epoch_end(self, trainer, pl_module):
            pairs = zip(self.before, weights(), strict=True)
            trained.append([not all(map(torch.equal, old, new)) for old, new in pairs])

    fit(model, max_epochs=6, callbacks=[Record()])
    head_alone, last, both = [False, False], [False, True], [True, True]
    assert trained == [head_alone, head_alone, last, last, both, both]


def test_a_second_training_starts_as_the_first_did(fit):
    model = small(epochs_per_block=2)
    for _ in range(2):
        (optimizer,) = fit(model, max_epochs=1).optimizers
        assert [group["name"] for group in optimizer.param_groups] == ["head", "backbone"]
        trained = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
        assert trained == HEAD + sum(BLOCKS)


def test_blocks_whose_turn_never_comes_are_told(fit, caplog):
    fit(small(epochs_per_block=2), max_epochs=4)
    assert "epochs_per_block=2: only 1 of 2 blocks will train in 4 epochs" in caplog.text
    caplog.clear()
    fit(small(epochs_per_block=2), max_epochs=5)
    assert "epochs_per_block" not in caplog.text


def test_waiting_blocks_and_several_processes_are_refused(fit, monkeypatch):
    monkeypatch.setattr(Trainer, "world_size", 2)
    with pytest.raises(FieldError, match="epochs_per_block=1: must be 0 where several processes"):
        fit(small(epochs_per_block=1))


@pytest.mark.parametrize(
    ("augmentation", "num_computed"),
    [
        (None, 600),  # 500 to train on and 100 to validate on, in three epochs
        (Augmentation(), 3 * (500 + 100 + 500)),  # and 500 to measure training accuracy on
    ],
)
def test_features_of_frozen_blocks_are_computed_once_without_augmentation(
    fit, monkeypatch, augmentation, num_computed
):
    count = 0
    compute = Small._compute_features

    def counting(self, images):
        nonlocal count
        count += len(images)
        return compute(self, images)

    monkeypatch.setattr(Small, "_compute_features", counting)
    fit(small(num_trainable_blocks=0), max_epochs=3, augmentation=augmentation)
    assert count == num_computed


def test_reusing_features_changes_nothing(fit, monkeypatch):
    caching = small(num_trainable_blocks=1, epochs_per_block=2)
    fit(caching, max_epochs=3)
    monkeypatch.setattr(FeatureCache, "features", lambda self, images, compute: compute(images))
    computing = small(num_trainable_blocks=1, epochs_per_block=2)
    fit(computing, max_epochs=3)
    for name, tensor in computing.state_dict().items():
        torch.testing.assert_close(caching.state_dict()[name], tensor, msg=name)


@pytest.mark.parametrize("callbacks", ["default", "ema"])
@pytest.mark.parametrize(
    ("num_blocks", "epochs_per_block", "num_epochs_before"), [(0, 0, 1), (2, 1, 1), (2, 1, 2)]
)
def test_an_interrupted_training_ends_with_the_same_weights(
    fit, tmp_path, num_blocks, epochs_per_block, num_epochs_before, callbacks
):
    averaging = composed(f"callbacks={callbacks}").callbacks.get("averaging")

    def train(name, max_epochs, ckpt_path=None):
        model = small(
            num_trainable_blocks=num_blocks, epochs_per_block=epochs_per_block, dropout=0.3
        )
        added = [instantiate(averaging)] if averaging else []
        fit(model, max_epochs, added, str(tmp_path / name), ckpt_path)
        return model

    whole = train("whole", 4)
    train("begun", num_epochs_before)
    resumed = train("resumed", 4, str(tmp_path / "begun" / "last.ckpt"))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


def test_averaging_leaves_frozen_weights_as_they_were(fit):
    model = small(num_trainable_blocks=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit(model, max_epochs=4, callbacks=[instantiate(composed("callbacks=ema").callbacks.averaging)])
    kept = {
        name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])
    }
    # The first block, its batch norm, and what the input is normalised with.
    assert kept == {name for name in before if re.match(r"mean|std|features\.[01]\.", name)}


def test_an_aborted_training_leaves_no_features_for_other_weights(fit):
    class Abort(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            raise ZeroDivisionError

    model = small(num_trainable_blocks=0)
    with pytest.raises(ZeroDivisionError):
        fit(model, callbacks=[Abort()])
    images, _ = synthetic_digits(100)
    other = make(Small, num_trainable_blocks=0)
    model.load_state_dict(other.state_dict())
    torch.testing.assert_close(model.eval()(images / 255), other.eval()(images / 255))


def test_no_features_are_kept_after_training_or_without_it(fit):
    model = small(num_trainable_blocks=0)
    assert model._cache is None
    fit(model)
    assert model._cache is None
