"""The command that reads the digits of pictures."""

import csv
import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import termios
import time

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_vision.data.mnist import load_split
from mnist_vision.inference import file_prediction
from mnist_vision.inference.loading import load_network
from mnist_vision.training.run import run as run_training
from tests.conftest import limited_file_size, results_of, synthetic_digits
from tests.inference.conftest import trained  # noqa: F401

NUM_PICTURES = 12


@pytest.fixture(scope="session")
def runs(trained):  # noqa: F811
    """Directories of two trained networks."""
    return [trained(*settings)[1].parents[1] for settings in ((), ("seed=1",))]


@pytest.fixture
def folder(tmp_path):
    """The current folder of the command, with `scans/`, which holds pictures of digits."""
    (tmp_path / "scans" / "more").mkdir(parents=True)
    for index, image in enumerate(synthetic_digits(NUM_PICTURES, seed=9)[0]):
        place = "scans/more" if index > 9 else "scans"
        ink = np.where(image[0].numpy() == 255, 255, 0).astype(np.uint8)  # as MNIST's: no noise
        Image.fromarray(ink).save(tmp_path / place / f"{index:02}.png")
    return tmp_path


@pytest.fixture
def predict(run_here, runs, folder):
    """Runs `predict` in this process; gives exit code, output and error."""

    def run(*settings):
        checkpoint = runs[0] / "checkpoints" / "best.ckpt"
        code, output = run_here(
            "predict", f"ckpt_path={checkpoint}", "hydra.run.dir=out", *settings
        )
        return code, output.out, output.err

    return run


def rows_of(folder):
    with (folder / "out" / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def lines_of(folder):
    text = (folder / "out" / "predictions.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def probabilities_of(network, paths):
    """What a network says about 28x28 pictures, white on black."""
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    return network(pixels[:, None].astype(np.float32) / 255).probabilities


def given(rows):
    return np.array([[float(row[f"p{digit}"]) for digit in range(10)] for row in rows])


def check_rows(folder, names, probabilities):
    rows = rows_of(folder)
    assert [row["file"] for row in rows] == names
    assert given(rows) == pytest.approx(probabilities, abs=1e-6)
    assert [int(row["digit"]) for row in rows] == probabilities.argmax(axis=1).tolist()
    assert [float(row["confidence"]) for row in rows] == pytest.approx(
        probabilities.max(axis=1), abs=1e-6
    )


@pytest.fixture
def network(runs):
    return load_network(runs[0] / "checkpoints" / "best.ckpt")


@pytest.fixture
def refusal(run_here, folder):
    """Gives the line in which a call is refused; it writes nothing."""

    def run(*settings):
        before = set(folder.rglob("*"))
        code, output = run_here("predict", *settings)
        assert code == 1
        assert output.out == ""
        (line,) = output.err.splitlines()
        assert set(folder.rglob("*")) - before <= {folder / "outputs"}
        return line.removeprefix("error: ")

    return run


# What is read.


def test_a_file_is_read(predict, folder, network):
    code, out, err = predict("input=scans/03.png")
    assert (code, err) == (0, "")
    check_rows(folder, ["scans/03.png"], probabilities_of(network, [folder / "scans/03.png"]))
    (line,) = lines_of(folder)
    assert line["file"] == "scans/03.png"
    assert len(line["box"]) == 4
    assert out.splitlines()[0].startswith("cnn from ")
    assert "file          digit    confidence" in out
    assert f"scans/03.png  {line['digit']}" in out
    assert "digits             1 in 1 pictures" in out
    assert out.splitlines()[-1] == "predictions        out/predictions.csv"


def test_a_folder_is_read_at_any_depth(predict, folder, network):
    code, _, err = predict("input=scans")
    assert (code, err) == (0, "")
    names = [f"scans/{index:02}.png" for index in range(10)]
    names += ["scans/more/10.png", "scans/more/11.png"]
    check_rows(folder, names, probabilities_of(network, [folder / name for name in names]))
    assert {path.name for path in (folder / "out").iterdir()} == {
        "predictions.csv", "predictions.jsonl", "predict.log", ".hydra", ".lock",
    }  # fmt: skip


def test_a_pattern_and_several_inputs_are_read(predict, folder, network):
    assert predict("input=[scans/more/1*.png,scans/02.png,scans/more]")[0] == 0
    names = ["scans/02.png", "scans/more/10.png", "scans/more/11.png"]
    check_rows(folder, names, probabilities_of(network, [folder / name for name in names]))


def start(folder, *settings, **streams):
    return subprocess.Popen(
        [sys.executable, "-m", "mnist_vision.predict", "hydra.run.dir=out", *settings],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **streams,
    )  # fmt: skip


def test_standard_input_is_read(folder, runs, network):
    process = start(
        folder, "input=-", f"ckpt_path={runs[0]}/checkpoints/best.ckpt", stdin=subprocess.PIPE
    )
    _, err = process.communicate((folder / "scans/03.png").read_bytes())
    assert (process.returncode, err) == (0, b"")
    check_rows(folder, ["-"], probabilities_of(network, [folder / "scans/03.png"]))


@pytest.mark.parametrize("content", [b"", b"some text"])
def test_standard_input_that_is_no_picture_is_reported(predict, folder, monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    code, _, err = predict("input=-")
    assert code == 1
    assert err == "error: 1 of 1 pictures could not be read; see the lines above\n"
    assert lines_of(folder)[0]["file"] == "-"


def test_several_digits_are_read_from_left_to_right(predict, folder, network):
    canvas = Image.new("L", (200, 60), 255)
    for place in (20, 80, 140):
        canvas.paste(0, (place, 15, place + 12, 45))
    canvas.save(folder / "row.png")
    assert predict("input=row.png", "digits=many")[0] == 0
    lines = lines_of(folder)
    assert [line["file"] for line in lines] == ["row.png"] * 3
    for line, place in zip(lines, (20, 80, 140), strict=True):
        assert line["box"] == pytest.approx([place, 15, place + 12, 45], abs=2)
    assert predict("input=row.png", "overwrite=true")[0] == 0
    (line,) = lines_of(folder)
    assert line["box"] == pytest.approx([20, 15, 152, 45], abs=2)


def test_contact_sheets_are_drawn(predict, folder):
    assert predict("input=scans", "show=true")[0] == 0
    (path,) = (folder / "out").glob("*.png")
    assert path.name == "contact_sheet_001.png"
    with Image.open(path) as sheet:
        assert sheet.size == (5 * 248, 3 * 162)


def test_explanations_are_drawn(predict, folder):
    assert predict("input=scans", "explain=true")[0] == 0
    (path,) = (folder / "out").glob("*.png")
    assert path.name == "explanations_001.png"
    with Image.open(path) as sheet:
        assert sheet.size == (3 * 368, 4 * 162)
        pixels = np.asarray(sheet).astype(int)
    assert (pixels[..., 0] > pixels[..., 2] + 100).any()  # vermilion: Grad-CAM


def test_what_cannot_be_explained_is_refused(refusal, runs, folder, run_here, digits):
    path = runs[0] / "checkpoints" / "best.ckpt"
    line = refusal("input=scans", "explain=true", f"ckpt_path=[{path},{path}]")
    assert line == "explain=true: one network is explained at a time; give one file"
    shutil.copy(path, folder / "best.ckpt")
    assert run_here("export", "ckpt_path=best.ckpt", "output=net.onnx")[0] == 0
    line = refusal("input=scans", "explain=true", "ckpt_path=net.onnx")
    assert line == "explain=true: needs a checkpoint: an ONNX file has no gradients"


def test_of_several_networks_the_mean_of_the_probabilities_counts(run_here, runs, folder):
    paths = [run / "checkpoints" / "best.ckpt" for run in runs]
    code, output = run_here(
        "predict", "input=scans", f"ckpt_path=[{paths[0]},{paths[1]}]", "hydra.run.dir=out"
    )
    assert (code, output.err) == (0, "")
    assert output.out.splitlines()[0].startswith("cnn+cnn from ")
    files = sorted((folder / "scans").rglob("*.png"), key=str)
    each = [probabilities_of(load_network(path), files) for path in paths]
    assert np.abs(each[0] - each[1]).max() > 1e-3
    check_rows(folder, [str(path.relative_to(folder)) for path in files], np.mean(each, axis=0))


def test_an_onnx_file_reads_as_its_checkpoint(run_here, command, runs, folder, network, digits):
    shutil.copy(runs[0] / "checkpoints" / "best.ckpt", folder / "best.ckpt")
    code, output = run_here("export", "ckpt_path=best.ckpt", "output=net.onnx")
    assert code == 0, output.err
    done = command("predict", "input=scans/more", "ckpt_path=net.onnx", "hydra.run.dir=out")
    assert (done.returncode, done.stderr) == (0, "")
    files = [folder / "scans/more/10.png", folder / "scans/more/11.png"]
    names = [str(path.relative_to(folder)) for path in files]
    assert given(rows_of(folder)) == pytest.approx(probabilities_of(network, files), abs=1e-4)
    assert [row["file"] for row in rows_of(folder)] == names


def test_without_a_checkpoint_the_run_of_the_best_validation_is_taken(run_here, runs, folder):
    accuracies = {}
    for name, run in zip("ab", runs, strict=True):
        shutil.copytree(run, folder / "outputs" / name)
        accuracies[name] = results_of(run)["best"]["val_accuracy"]
    best = max("ab", key=lambda name: (accuracies[name], name == "a"))
    code, output = run_here("predict", "input=scans/03.png", "hydra.run.dir=out")
    assert (code, output.err) == (0, "")
    assert output.out.splitlines()[0] == f"cnn from outputs/{best}/checkpoints/best.ckpt"
    expected = load_network(runs["ab".index(best)] / "checkpoints" / "best.ckpt")
    check_rows(folder, ["scans/03.png"], probabilities_of(expected, [folder / "scans/03.png"]))


# Pictures that cannot be read.


def test_a_bad_file_is_reported_and_the_others_are_read(predict, folder):
    (folder / "scans" / "00.png").write_bytes(b"")
    (folder / "scans" / "05.png").write_bytes(b"text")
    (folder / "scans" / "link.png").symlink_to("nothing")
    code, out, err = predict("input=scans")
    assert code == 1
    assert err == "error: 3 of 13 pictures could not be read; see the lines above\n"
    problems = out.splitlines()[-3:]
    assert problems[0] == "scans/00.png: is empty"
    assert problems[1].startswith("scans/05.png: is no picture that can be read")
    assert problems[2] == "scans/link.png: cannot be read (No such file or directory)"
    assert len(rows_of(folder)) == NUM_PICTURES - 2
    errors = {line["file"]: line["error"] for line in lines_of(folder) if "error" in line}
    assert list(errors.values()) == problems
    assert list(errors) == ["scans/00.png", "scans/05.png", "scans/link.png"]


def test_only_bad_files_give_no_row(predict, folder):
    (folder / "bad.png").write_bytes(b"text")
    code, out, err = predict("input=bad.png")
    assert code == 1
    assert "digits             0 in 0 pictures" in out
    assert err == "error: 1 of 1 pictures could not be read; see the lines above\n"
    assert rows_of(folder) == []


@pytest.mark.parametrize("is_bad", [False, True])
def test_only_forty_lines_are_shown(predict, folder, is_bad):
    for index in range(50):
        if is_bad:
            (folder / "scans" / "more" / f"bad_{index}.png").write_bytes(b"")
        else:
            Image.new("L", (28, 28)).save(folder / "scans" / "more" / f"blank_{index}.png")
    code, out, _ = predict("input=scans/more")
    assert code == is_bad
    lines = out.splitlines()
    if is_bad:
        assert lines[-1] == "... 10 more in predictions.jsonl"
        assert sum(line.endswith(": is empty") for line in lines) == 40
    else:
        assert lines[-3] == "... 12 more in predictions.csv"
        assert sum(line.startswith("scans/") for line in lines) == 40
        assert "digits             2 in 52 pictures" in lines


def test_a_blank_picture_has_no_digit(predict, folder):
    Image.new("RGB", (300, 200), "white").save(folder / "blank.jpg")
    for mode in ("one", "many"):
        code, out, err = predict("input=blank.jpg", f"digits={mode}", "overwrite=true", "show=true")
        assert (code, err) == (0, "")
        assert "blank.jpg  no digit found" in out
        assert "digits             0 in 1 pictures" in out
        assert lines_of(folder) == [{"file": "blank.jpg", "digit": None}]
        (row,) = rows_of(folder)
        assert row.pop("file") == "blank.jpg"
        assert set(row.values()) == {""}


def test_damaged_pictures_print_nothing_else(command, runs, folder):
    # Pillow warns of some; only a real process shows it.
    content = io.BytesIO()
    Image.new("L", (28, 28)).save(content, "TIFF")
    damaged = content.getvalue()[:8] + b"\1\0\x0e\1\2\0\0\0\0\x7f\x08\0\0\0"
    (folder / "tag.tif").write_bytes(damaged)
    done = command("predict", "input=tag.tif", f"ckpt_path={runs[0]}/checkpoints/best.ckpt")
    assert done.returncode == 1
    assert done.stderr == "error: 1 of 1 pictures could not be read; see the lines above\n"
    assert done.stdout.splitlines()[-1].startswith("tag.tif: is no picture that can be read")


# Calls that are wrong.


def test_wrong_inputs_are_refused_before_anything_is_written(refusal, folder):
    (folder / "empty").mkdir()
    remedy = "give a picture, a folder of pictures, a pattern, or - for standard input"
    assert refusal() == "input is required; give it as input=VALUE"
    assert refusal("input=no.png") == f"input=no.png: no such file; {remedy}"
    assert refusal("input=no*") == f"input=no*: matches no file; {remedy}"
    assert refusal("input=[scans,no.png]").startswith("input=no.png: no such file")
    assert refusal("input=empty").startswith("input=empty: holds no picture")
    for value in ("[]", "5", "null", "''", "[scans,5]", "{a:1}"):
        assert refusal(f"input={value}").endswith("must be a path, or a list of paths: input=[A,B]")


def test_wrong_settings_are_refused(refusal):
    assert refusal("input=scans", "digits=three") == "digits=three: must be one of one, many"
    assert refusal("input=scans", "show=maybe") == "show=maybe: must be true or false"
    assert refusal("input=scans", "ckpt_path=[]").startswith("ckpt_path=[]: must be a path")
    assert refusal("input=scans", "ckpt_path=5").startswith("ckpt_path=5: must be a path")
    assert refusal("input=scans", "ckpt_path=no.ckpt").startswith("ckpt_path=no.ckpt: no such file")
    assert refusal("input=scans", "ckpt_path=scans").startswith("ckpt_path=scans: cannot be read")
    assert refusal("inptu=scans").startswith("unknown key inptu")


def test_no_network_at_all_is_refused(refusal):
    line = refusal("input=scans")
    assert line.startswith("outputs: no completed run in it; train one with")
    assert line.endswith("or name a checkpoint with ckpt_path=FILE")


def test_foreign_networks_are_refused(refusal, folder):
    torch.save({"model": torch.ones(3)}, folder / "other.ckpt")
    (folder / "other.onnx").write_bytes(b"text")
    assert "not a checkpoint of this program" in refusal("input=scans", "ckpt_path=other.ckpt")
    assert "not an ONNX file" in refusal("input=scans", "ckpt_path=other.onnx")


@pytest.mark.parametrize(
    "name", ["a b.png", "a=b.png", "a[1].png", "a,b.png", "a{b}.png", "(a).png"]
)
def test_names_that_hydra_cannot_parse_are_read_as_the_error_says(predict, refusal, folder, name):
    shutil.copy(folder / "scans" / "03.png", folder / name)
    if name != "a b.png":
        line = refusal(f"input={name}")
        assert f"type 'input=\"{name}\"'" in line
    assert predict(f'input="{name}"')[0] == 0
    assert rows_of(folder)[0]["file"] == name


# The output directory.


def test_a_directory_with_a_run_is_kept_unless_overwrite_is_true(predict, folder):
    assert predict("input=scans", "show=true")[0] == 0
    before = (folder / "out" / "predictions.csv").read_bytes()
    code, out, err = predict("input=scans/03.png")
    assert (code, out) == (1, "")
    assert err.startswith("error: hydra.run.dir=out: holds a run; choose another")
    assert (folder / "out" / "predictions.csv").read_bytes() == before
    assert predict("input=scans/03.png", "overwrite=true")[0] == 0
    assert [row["file"] for row in rows_of(folder)] == ["scans/03.png"]
    assert not list((folder / "out").glob("*.png"))


def test_a_stop_leaves_no_half_file(predict, folder, monkeypatch):
    read = file_prediction.read_picture

    def stop(source):
        if str(source).endswith("05.png"):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
        return read(source)

    monkeypatch.setattr(file_prediction, "read_picture", stop)
    code, _, err = predict("input=scans")
    assert (code, err) == (130, "error: stopped by SIGINT\n")
    assert {path.name for path in (folder / "out").iterdir()} == {".hydra", ".lock", "predict.log"}


def num_unread(pipe):
    """Number of bytes that the other end has not read yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_a_stop_ends_the_wait_for_standard_input(folder, runs):
    process = start(
        folder, "input=-", f"ckpt_path={runs[0]}/checkpoints/best.ckpt", stdin=subprocess.PIPE
    )
    process.stdin.write(b"some")
    process.stdin.flush()
    while num_unread(process.stdin) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
        _, err = process.communicate()
    assert err == b"error: stopped by SIGINT\n"
    assert not list((folder / "out").glob("predictions*"))


def test_a_full_disk_leaves_no_half_file(predict, folder):
    for number in range(30):
        shutil.copytree(folder / "scans" / "more", folder / "scans" / str(number))
    with limited_file_size(10_000):
        code, _, err = predict("input=scans")
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith("error: out/predictions.")
    assert "File too large; raise the limit on the size of files, ulimit -f" in line
    assert not list((folder / "out").glob("*predictions*"))
    assert not [each for each in (folder / "out").iterdir() if each.name.startswith(".pred")]


# The real thing.


def test_pictures_of_the_test_images_are_read_as_in_the_test(
    run_here, run_config, mnist_root, tmp_path
):
    """One short epoch on the real data, then 2,000 of the test images as PNG files."""
    run_training(
        run_config(
            "trainer.max_epochs=1", "trainer.limit_train_batches=250", "model.widths=[4,8]",
            "model.hidden=16", "data.batch_size=64", "data.augmentation=null", "data.val_size=1000",
        )
    )  # fmt: skip
    images, targets = load_split(mnist_root, "test")
    (tmp_path / "pictures").mkdir()
    for index, image in enumerate(images[:2000]):
        Image.fromarray(image[0].numpy()).save(tmp_path / "pictures" / f"{index:05}.png")
    code, output = run_here(
        "predict", "input=pictures", "ckpt_path=run/checkpoints/best.ckpt", "hydra.run.dir=out"
    )
    assert (code, output.err) == (0, "")
    tested = np.load(tmp_path / "run" / "test_predictions.npz")
    assert [int(row["digit"]) for row in rows_of(tmp_path)] == tested["preds"][:2000].tolist()
    accuracy = (tested["preds"][:2000] == targets[:2000].numpy()).mean()
    assert 0.5 < accuracy < 1
