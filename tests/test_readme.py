"""Every command of the README runs, and so does the architecture it adds: in small."""

import importlib.metadata
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_vision.evaluation import robustness
from mnist_vision.evaluation.corruptions.suite import corrupt
from mnist_vision.models.pretrained.fine_tuning import PretrainedClassifier
from tests.conftest import ROOT, put_in_place_of_mnist
from tests.inference.pens import SEVEN, THREE, drawn

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
LINES = [
    line.partition(" #")[0].strip()
    for language, block in BLOCKS
    if language == "bash"
    for line in block.splitlines()
]
TRAIN = "python -m mnist_vision.train "
# On 120 synthetic digits. Of a sweep one value each; the sweep itself is tested elsewhere.
SMALL = (
    "trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=1",
    "trainer.log_every_n_steps=1", "data.val_size=20", "data.batch_size=20", "logger=csv",
    "~callbacks.learning_rate",
)  # fmt: skip
SMALL_SCENES = ("data.num_train_scenes=20", "data.num_val_scenes=10", "data.num_test_scenes=10")
EXPERIMENTS = re.findall(r"`(experiment=\S+|model=cnn)` \|", README)


@pytest.fixture
def few_digits(monkeypatch):
    put_in_place_of_mnist(monkeypatch, 120, 40)
    # Without a cache, which would lie beside the real digits.
    monkeypatch.setattr(
        robustness, "load_corrupted", lambda each, images, cache: corrupt(each, images)
    )


@pytest.fixture
def no_download(monkeypatch):
    """ImageNet's weights stay where they are: no test needs a network."""
    monkeypatch.setattr(PretrainedClassifier, "load_pretrained", lambda self: None)


def commands(start):
    return [line for line in LINES if line.startswith(start)]


def made_small(arguments):
    """What to add to the arguments of a command so that it takes seconds."""
    added = list(SMALL)
    if "debug=overfit" in arguments:  # it has its own number of batches
        added.remove("trainer.limit_train_batches=1")
    if "scenes" in " ".join(arguments):
        added += SMALL_SCENES
    if any(a.startswith("seed=") for a in arguments):
        added.append("seed=0")
    if any(a.startswith("optimizer.lr=") and "," in a for a in arguments):
        added.append("optimizer.lr=1e-3")
    if any(a.startswith("search=optuna") for a in arguments):
        added.append("hydra.sweeper.n_trials=1")
    return added


def test_every_command_is_of_a_kind_that_is_tested_here():
    names = ("train", "evaluate", "predict", "export", "serve", "compare")
    kinds = (*(f"python -m mnist_vision.{name}" for name in names), "make ", "pip ", "curl ")
    assert [line for line in LINES if line and not line.startswith(kinds)] == []
    assert len(commands(TRAIN)) > 15
    assert len(EXPERIMENTS) > 5


# These start other processes: tested, with the real data, in test_sweeps and test_training.
ELSEWHERE = ("hydra/launcher=", "trainer=ddp", "ckpt_path=", "sweep.resume=", "-m model=cnn,vgg16")


@pytest.mark.parametrize(
    "line", [line for line in commands(TRAIN) if not any(e in line for e in ELSEWHERE)]
)
def test_training(few_digits, no_download, run_task, line):
    arguments = line.removeprefix(TRAIN).split()
    code, output = run_task(*arguments, *made_small(arguments))
    assert code == 0, output.err
    assert "test accuracy" in output.out


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_of_the_results(few_digits, no_download, run_task, experiment):
    code, output = run_task(experiment, *made_small([experiment]))
    assert code == 0, output.err
    assert "test accuracy" in output.out


def test_a_sweep_over_architectures(few_digits, no_download, run_task):
    (line,) = [line for line in commands(TRAIN) if "-m model=cnn,vgg16" in line]
    arguments = line.removeprefix(TRAIN).split()
    code, output = run_task(*arguments, *made_small(arguments))
    assert code == 0, output.err
    assert "4 of 4 jobs are complete" in output.out


def test_a_sweep_that_is_extended_and_a_run_that_is_continued_tested_and_compared(
    few_digits, run_task, run_here, tmp_path
):
    first, extended = [line for line in commands(TRAIN) if "outputs/rates" in line]
    for line in (first, extended):
        arguments = line.removeprefix(TRAIN).split()
        code, output = run_task(*arguments, *SMALL)
        assert code == 0, output.err
    assert output.out.count("epoch 1/1") == 2  # those of the new seed

    assert run_task("model=cnn", *SMALL)[0] == 0
    (run,) = tmp_path.glob("outputs/cnn/*")
    (resume,) = [line for line in commands(TRAIN) if "ckpt_path=" in line]
    argument = resume.removeprefix(TRAIN).replace("outputs/cnn/...", str(run))
    code, output = run_task(argument, "trainer.max_epochs=2")
    assert code == 0, output.err
    assert "epoch 2/2" in output.out

    rates = tmp_path / "outputs" / "rates"
    first_job, second_job, *_ = sorted(path.parent for path in rates.glob("*/results.json"))
    places = {"outputs/cnn/...": run, "outputs/multirun/...": rates}
    places |= {"[A/": f"[{first_job}/", ",B/": f",{second_job}/"}
    for line in commands("python -m mnist_vision.evaluate "):
        for written, meant in places.items():
            line = line.replace(written, str(meant))
        arguments = shlex.split(line)[3:]
        code, output = run_here("evaluate", *arguments, "trainer.accelerator=cpu")
        assert code == 0, output.err
        assert "test accuracy" in output.out

    (tmp_path / "outputs" / "multirun").mkdir(exist_ok=True)
    shutil.move(tmp_path / "outputs" / "rates", tmp_path / "outputs" / "multirun")
    for line in commands("python -m mnist_vision.compare"):
        if "outputs/dropout" not in line:
            code, output = run_here("compare", *line.split()[3:])
            assert code == 0, output.err
    assert (tmp_path / "outputs" / "report" / "report.html").is_file()


def test_a_recipe_that_is_chosen_without_the_test(few_digits, run_task, run_here, tmp_path):
    search, chosen = [line for line in commands(TRAIN) if "outputs/dropout" in line]
    code, output = run_task(*search.removeprefix(TRAIN).split(), *SMALL)
    assert code == 0, output.err
    (compare,) = [
        line for line in commands("python -m mnist_vision.compare") if "outputs/dropout" in line
    ]
    code, output = run_here("compare", *compare.split()[3:])
    assert code == 0, output.err
    assert "not tested, by validation accuracy" in output.out
    code, output = run_task(*chosen.removeprefix(TRAIN).split(), *SMALL)
    assert code == 0, output.err
    assert "epoch 1/1" not in output.out
    folder = tmp_path / "outputs" / "dropout"
    assert (
        len(list(folder.glob("*/results.json"))) == len(list(folder.glob("*/training.json"))) == 3
    )


@pytest.fixture
def used(few_digits, run_task, tmp_path):
    """A run, and pictures by the names of the README; puts the run into a line."""
    assert run_task("model=cnn", *SMALL)[0] == 0
    (run,) = tmp_path.glob("outputs/cnn/*")
    (tmp_path / "scans").mkdir()
    for name in ("photo.jpg", "a.png", "sum.png", "digit.png", "scans/1.jpg", "scans/2.jpg"):
        drawn((THREE, (20, 20, 80, 120)), (SEVEN, (120, 20, 180, 120))).save(tmp_path / name)
    return lambda text: text.replace("outputs/cnn/...", str(run))


def test_what_was_trained_is_exported_and_reads_pictures(used, run_here, tmp_path, monkeypatch):
    lines = commands("python -m mnist_vision.export ") + commands("python -m mnist_vision.predict ")
    assert len(lines) == 6
    for line in lines:
        command, _, picture = used(line).partition(" < ")
        _, _, module, *arguments = shlex.split(command)
        with open(tmp_path / (picture or "photo.jpg")) as standard_input:
            monkeypatch.setattr(sys, "stdin", standard_input)
            code, output = run_here(module.removeprefix("mnist_vision."), *arguments)
        assert code == 0, output.err


def test_the_library_call(used, tmp_path, monkeypatch, capsys):
    (block,) = [block for language, block in BLOCKS if "import load_predictor" in block]
    monkeypatch.chdir(tmp_path)
    exec(used(block), {})
    first, several = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d 0\.\d+ \(.*\)", first)
    assert re.fullmatch(r"\[\d, \d\]", several)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_asks_the_server(used, tmp_path):
    (line,) = commands("python -m mnist_vision.serve")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    _, *arguments = shlex.split(used(line).replace("8001", port))
    server = subprocess.Popen([sys.executable, *arguments], cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        while b"draw at" not in server.stdout.readline():
            assert server.poll() is None
        for line in commands("curl "):
            command = [*shlex.split(line.replace("8001", port)), "--silent", "--fail"]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
            answer = json.loads(done.stdout)
            if "predict" in line:
                keys = ("name", "digit", "confidence", "probabilities", "milliseconds", "digits")
                assert set(answer["models"][0]) == set(keys)
                assert set(answer) == {"width", "height", "models"}
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("line", commands("make "))
def test_make(line):
    """Without running it: the commands behind it are run by the other tests."""
    name = line.split()[1]
    done = subprocess.run(
        ["make", "--dry-run", name], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ".venv/bin/" in done.stdout


def test_make_lab_trains_what_there_is_and_reports_the_rest(
    few_digits, run_task, run_here, tmp_path, monkeypatch
):
    """What `make lab` runs; VGG16 has no weights."""
    recipe = (ROOT / "Makefile").read_text()
    assert "mnist_vision.train search=lab hydra.sweep.dir=outputs/lab sweep.resume=true" in recipe
    arguments = ("search=lab", "hydra.sweep.dir=outputs/lab", "sweep.resume=true")
    monkeypatch.setenv("VGG16_WEIGHTS", "missing.pth")
    code, output = run_task(*arguments, *SMALL)
    assert code == 1
    assert "3 of 4 jobs are complete" in output.out
    assert "model.weights=missing.pth: neither a file nor one of" in output.err
    code, output = run_here("compare", "outputs/lab", "--output", "outputs/lab")
    assert code == 0, output.err
    report = (tmp_path / "outputs" / "lab" / "report.md").read_text()
    assert "model.weights=missing.pth: neither a file nor one of" in report


def test_the_extras_it_names_are_there():
    named = ",".join(re.findall(r"pip install -e '\.\[([\w,]+)\]'", README))
    assert set(named.split(",")) >= {"optuna", "mlflow", "wandb", "onnx"}
    assert set(named.split(",")) <= set(
        importlib.metadata.metadata("mnist_vision").get_all("Provides-Extra")
    )


def test_the_architecture_it_adds_works(tmp_path, mnist_root):
    for folder in ("mnist_vision", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    added = []
    for _, block in BLOCKS:
        if block.startswith(("# mnist_vision/", "# conf/")):
            path, _, content = block.removeprefix("# ").partition("\n")
            assert not (ROOT / path).exists()
            (tmp_path / path).write_text(content)
            added.append(Path(path).suffix)
    assert sorted(added) == [".py", ".yaml"]
    done = subprocess.run(
        [sys.executable, "-m", "mnist_vision.train", "model=mlp", "debug=smoke", "logger=csv"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mlp: 203,530 weights")
