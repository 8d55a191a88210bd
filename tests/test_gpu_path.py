"""Everything that runs on a GPU, on pretended tensors of one: no CPU tensor gets in between."""

from types import SimpleNamespace

import pytest
import torch
from hydra.utils import instantiate
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_leaves

from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.data.scenes.scene_dataset import SceneLayouts
from mnist_vision.models.cnn import CNN
from tests.conftest import composed, synthetic_digits
from tests.models.test_classifier import MODELS

AUGMENTATIONS = ["light", "affine", "strong", "rotation"]
GPU = torch.device("cuda")
CANVAS_SIZE = 32
aten = torch.ops.aten


class PretendedGpu(FakeTensorMode):
    """A GPU whose tensors have shapes and no values; tensors on the CPU stay real.

    As on a GPU, an operation on tensors of both fails. Two tensors of the GPU are always equal.

    Attributes:
        number: Every number that is read from the GPU.
        sent: The sizes in bytes of the tensors that were sent from the CPU to the GPU.
    """

    def __init__(self):
        super().__init__(allow_non_fake_inputs=True, shape_env=ShapeEnv())
        self.number = CANVAS_SIZE
        self.sent = []

    def dispatch(self, func, types, args=(), kwargs=None):
        arguments = tree_leaves((args, kwargs))
        is_sent = any(isinstance(each, torch.device) and each.type == "cuda" for each in arguments)
        if not is_sent and not any(isinstance(each, FakeTensor) for each in arguments):
            return func(*args, **(kwargs or {}))
        if func is aten._local_scalar_dense.default:
            return self.number
        if func is aten.equal.default:
            return True
        if func is aten._to_copy.default and is_sent and not isinstance(args[0], FakeTensor):
            self.sent.append(args[0].nbytes)
        return super().dispatch(func, types, args, kwargs or {})


@pytest.fixture
def gpu():
    """Puts tensors that are moved to "cuda" onto a pretended one."""
    with PretendedGpu() as pretended:
        yield pretended


def on_gpu(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device=GPU)


def batch_of(data):
    """A batch of a loader, as Lightning brings it to the GPU."""
    if data == "mnist":
        return on_gpu(6, 1, 28, 28, dtype=torch.uint8), on_gpu(6, dtype=torch.int64)
    layouts = SceneLayouts(
        on_gpu(6, 3, dtype=torch.int64),
        on_gpu(6, 3),
        on_gpu(6, 3, 2),
        on_gpu(6, dtype=torch.int64),
    )
    return on_gpu(6, 3, 1, 28, 28, dtype=torch.uint8), layouts


def devices(tensors):
    return {tensor.device.type for tensor in tree_leaves(tensors)}


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize("data", ["mnist", "mnist_scenes"])
def test_batches_are_made_on_the_gpu(gpu, data, augmentation):
    settings = composed(f"data={data}", f"data/augmentation={augmentation}").data
    datamodule = instantiate(settings, _convert_="all")
    batch, find_targets = batch_of(data), MODELS["faster_rcnn"]().find_targets
    made = datamodule.prepare_training_batch(batch, find_targets), datamodule.prepare_batch(batch)
    assert devices(made) == {"cuda"}
    assert not gpu.sent


@pytest.mark.parametrize(
    ("name", "data"), [*((name, "mnist") for name in MODELS), ("faster_rcnn", "mnist_scenes")]
)
def test_networks_run_on_the_gpu(gpu, name, data):
    model = MODELS[name]().to(GPU)
    settings = composed(f"data={data}", "data/augmentation=light").data
    datamodule = instantiate(settings, _convert_="all")
    made = datamodule.prepare_training_batch(batch_of(data), model.find_targets)
    assert devices(model.train().losses(*made)) == {"cuda"}
    images, _ = datamodule.prepare_batch(batch_of(data))
    model.eval()
    gpu.number = 1  # detection in each image
    assert devices(model(images)) == {"cuda"}
    assert devices(model.outputs(images)) == {"cuda"}
    found = model.detect(images)
    assert found is None or devices(found) == {"cuda"}
    assert devices(model.evidence(images, *model.regions(images))) == {"cuda"}


class CarelessCNN(CNN):
    """Makes a tensor on the CPU in its forward pass."""

    def forward(self, images):
        return super().forward(images * torch.linspace(0, 1, 28))


class ForgetfulCNN(CNN):
    """Keeps a tensor that does not move with it."""

    def __init__(self):
        super().__init__(widths=[2])
        self.scale = torch.ones(10)

    def forward(self, images):
        return super().forward(images) * self.scale


@pytest.mark.parametrize("careless", [CarelessCNN, ForgetfulCNN])
def test_a_tensor_on_the_cpu_is_found(gpu, careless):
    model = careless().to(GPU)
    with pytest.raises(RuntimeError, match="devices, cuda:0 and cpu"):
        model.losses(on_gpu(6, 1, 28, 28), on_gpu(6, dtype=torch.int64))


class Trainer:
    """Stands for a trainer on a device."""

    distributed_sampler_kwargs = None

    def __init__(self, device):
        self.strategy = SimpleNamespace(root_device=device)


def datamodule_on(root_device, **arguments):
    module = MNISTDataModule("nowhere", val_size=100, augmentation=None, **arguments)
    module.trainer = Trainer(root_device)
    module.setup("fit")
    return module


def test_images_that_live_on_the_gpu_are_sent_once(digits, gpu):
    module = datamodule_on(GPU)
    assert sum(gpu.sent) == sum(each.nbytes for each in synthetic_digits(600))
    gpu.sent.clear()
    loaders = [module.train_dataloader(), *module.val_dataloader()]
    batches = [batch for loader in loaders for batch in loader]
    assert devices(batches) == {"cuda"}
    num_indices = 500 + 100 + 500
    assert sum(gpu.sent) == 8 * num_indices


def test_test_images_are_sent_batch_by_batch(digits, gpu):
    module = datamodule_on(GPU)
    module.setup("test")
    assert devices(list(module.test_dataloader())) == {"cpu"}


@pytest.mark.parametrize("place", [{"device": "cpu"}, {}])
def test_images_stay_in_main_memory_if_asked_for_or_without_a_gpu(digits, gpu, place):
    module = datamodule_on(GPU if place else torch.device("cpu"), **place)
    assert devices([next(iter(module.train_dataloader()))]) == {"cpu"}
    assert not gpu.sent
