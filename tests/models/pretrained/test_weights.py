import io
import os
import pickle
import socket
import sys
import threading
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from torchvision.models import Weights, WeightsEnum
from torchvision.transforms._presets import ImageClassification

from mnist_vision.common.errors import FieldError
from mnist_vision.models.pretrained import weights as module
from mnist_vision.models.pretrained.weights import find_weights

SHAPES = {
    "features.0.weight": torch.Size([2, 3, 3, 3]),
    "features.0.bias": torch.Size([2]),
    "classifier.0.weight": torch.Size([4, 2]),
    "classifier.0.bias": torch.Size([4]),
    "classifier.2.weight": torch.Size([1000, 4]),
    "classifier.2.bias": torch.Size([1000]),
}
FEATURES = [name for name in SHAPES if name.startswith("features")]


def state_dict(names=SHAPES):
    return {name: torch.rand(SHAPES[name]) for name in names}


class Known(WeightsEnum):
    IMAGENET1K_V1 = Weights(
        "http://127.0.0.1:9/net-00000000.pth", partial(ImageClassification, crop_size=224), {}
    )
    IMAGENET1K_FEATURES = Weights(
        "http://127.0.0.1:9/features-00000000.pth",
        partial(ImageClassification, crop_size=224, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
        {},
    )


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def save(tmp_path):
    def write(held, **kwargs):
        path = tmp_path / "weights.pth"
        torch.save(held, path, **kwargs)
        return path

    return write


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_whole_network_is_taken_but_for_its_last_layer(save, is_zip):
    held = state_dict()
    found = find_weights(str(save(held, _use_new_zipfile_serialization=is_zip)), Known, SHAPES)
    assert list(found.tensors) == list(SHAPES)[:-2]
    assert all(torch.equal(tensor, held[name]) for name, tensor in found.tensors.items())
    torch.testing.assert_close(found.mean, torch.tensor([0.485, 0.456, 0.406]))
    torch.testing.assert_close(found.std, torch.tensor([0.229, 0.224, 0.225]))


def test_a_file_may_hold_other_formats_of_numbers(save):
    held = {name: tensor.half() for name, tensor in state_dict().items()}
    held["features.0.bias"] = torch.ones(2).to(torch.float8_e4m3fn)
    found = find_weights(str(save(held)), Known, SHAPES)
    assert {tensor.dtype for tensor in found.tensors.values()} == {torch.float32}
    assert torch.equal(found.tensors["features.0.bias"], torch.ones(2))


def test_the_last_layer_may_have_any_number_of_classes(save):
    held = state_dict() | {
        "classifier.2.weight": torch.rand(7, 4),
        "classifier.2.bias": torch.rand(7),
    }
    assert "classifier.2.weight" not in find_weights(str(save(held)), Known, SHAPES).tensors


def test_convolutions_alone_come_with_their_own_normalisation(save, caplog):
    caplog.set_level("INFO")
    found = find_weights(str(save(state_dict(FEATURES))), Known, SHAPES)
    assert list(found.tensors) == FEATURES
    torch.testing.assert_close(found.mean, torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(found.std, torch.tensor([0.4, 0.5, 0.6]))
    assert "weights.pth: input normalised as for IMAGENET1K_FEATURES" in caplog.text


def test_a_classifier_of_nan_is_no_classifier(save):
    held = state_dict()
    for name in held.keys() - FEATURES:
        held[name].fill_(torch.nan)
    assert list(find_weights(str(save(held)), Known, SHAPES).tensors) == FEATURES


def refusal(weights):
    with pytest.raises(FieldError) as refused:
        find_weights(str(weights), Known, SHAPES)
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith("weights=")
    return message


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("~nosuchuser/x.pth", "neither a file nor one of IMAGENET1K_V1"),
        ("x" * 5000, "cannot be read (File name too long), and is none of IMAGENET1K_V1"),
        ("/dev/null/x.pth", "cannot be read (Not a directory)"),
        ("/dev/zero", "cannot be read (Not a regular file)"),
        ("bad\0name", "cannot be read (Not a valid path)"),
        ("/", "cannot be read (Is a directory)"),
    ],
)
def test_paths_that_lead_nowhere_are_told(path, reason):
    message = refusal(path)
    assert reason in message
    assert "null trains from scratch" in message
    assert len(message) < 400


def test_a_file_that_may_not_be_read_has_the_reason_of_the_operating_system(save, monkeypatch):
    def fail(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "load_tensors", fail)
    assert "weights.pth: cannot be read (Permission denied)" in refusal(save(state_dict()))


def test_an_unknown_name_is_answered_with_the_known(tmp_path):
    message = refusal("IMAGENET1K_V9")
    assert "IMAGENET1K_V9" in message
    assert "IMAGENET1K_V1, IMAGENET1K_FEATURES" in message
    assert "null" in message


def test_weights_of_another_architecture_are_refused(save):
    held = state_dict()
    held["features.0.weight"] = torch.rand(2, 3, 11, 11)
    message = refusal(save(held))
    assert "features.0.weight has shape [2, 3, 11, 11], must have [2, 3, 3, 3]" in message
    del held["features.0.weight"]
    assert "lacks features.0.weight" in refusal(save(held))
    held = state_dict() | {"layer1.weight": torch.rand(2)}
    assert "holds layer1.weight" in refusal(save(held))


def test_weights_that_are_not_finite_are_refused(save):
    held = state_dict()
    held["features.0.bias"][1] = torch.inf
    assert "1 of 2 values of features.0.bias are NaN or infinite" in refusal(save(held))


@pytest.mark.parametrize(
    "held",
    [
        [1, 2],
        {},
        {"epoch": 3},
        {"state_dict": {}},
        torch.rand(3),
        {"features.0.weight": torch.empty(3, device="meta")},
        {"features.0.weight": torch.ones(3, dtype=torch.complex64)},
    ],
)
def test_what_is_not_a_state_dict_is_refused(save, held):
    assert "not a state dict" in refusal(save(held))


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_truncated_file_is_refused(save, share, is_zip):
    path = save(state_dict(), _use_new_zipfile_serialization=is_zip)
    os.truncate(path, int(path.stat().st_size * share))
    expected = "it is damaged or ends too early" if share else "it is empty"
    assert refusal(path).endswith(f"weights.pth: cannot be used: {expected}")


def test_a_flipped_bit_is_found(save):
    path = save(state_dict())
    content = bytearray(path.read_bytes())
    content[content.index(state_dict_bytes(path))] ^= 1
    path.write_bytes(content)
    assert "checksum" in refusal(path)


def state_dict_bytes(path):
    """The first bytes of a tensor in a file."""
    return torch.load(path)["features.0.weight"].numpy().tobytes()[:16]


class Payload:
    def __reduce__(self):
        return os.mkdir, ("payload-ran",)


@pytest.mark.parametrize("is_zip", [True, False])
def test_pickled_code_is_refused_and_does_not_run(save, tmp_path, monkeypatch, is_zip):
    monkeypatch.chdir(tmp_path)
    path = save({"features.0.weight": Payload()}, _use_new_zipfile_serialization=is_zip)
    expected = "it holds posix.mkdir, and only tensors and plain values are loaded"
    assert refusal(path).endswith(f"weights.pth: cannot be used: {expected}")
    path.write_bytes(pickle.dumps(Payload()))
    assert refusal(path).endswith("it is not a file of torch.save")
    assert not (tmp_path / "payload-ran").exists()


def test_weights_out_of_reach_are_told_with_the_ways_on(cache):
    message = refusal("IMAGENET1K_V1")  # nothing listens on port 9
    assert "http://127.0.0.1:9/net-00000000.pth" in message
    assert str(cache) in message
    assert "the path of a file" in message
    assert "null" in message


def test_a_cache_that_cannot_be_made_is_not_blamed_on_the_server(monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", "/dev/null/hub")
    message = refusal("IMAGENET1K_V1")
    assert "cannot make the folder /dev/null/hub/checkpoints (Not a directory)" in message
    assert "TORCH_HOME=DIR" in message


def test_a_server_that_does_not_answer_is_given_up_on(monkeypatch, serve):
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    assert "timed out" in refusal_of(serve(None), "IMAGENET1K_V1")


@pytest.mark.parametrize(
    "answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"]
)
def test_a_server_that_makes_no_sense_is_given_up_on(answer):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def reply():
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        threading.Thread(target=reply, daemon=True).start()
        source = Weights(
            f"http://127.0.0.1:{port}/net-00000000.pth", Known.IMAGENET1K_V1.transforms, {}
        )
        message = refusal_of(WeightsEnum("Served", {"IMAGENET1K_V1": source}), "IMAGENET1K_V1")
    assert "null" in message


def test_weights_are_fetched_once_and_checked(cache, serve):
    file = io.BytesIO()
    torch.save(state_dict(), file)
    known = serve(file.getvalue())
    for _ in range(2):
        found = find_weights("IMAGENET1K_V1", known, SHAPES)
        assert list(found.tensors) == list(SHAPES)[:-2]
    assert serve.num_requests == 1
    (cached,) = cache.iterdir()
    assert cached.read_bytes() == file.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_is_drawn_on_a_terminal_only(serve, caplog, capsys, monkeypatch, is_terminal):
    caplog.set_level("INFO")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    file = io.BytesIO()
    torch.save(state_dict(), file)
    find_weights("IMAGENET1K_V1", serve(file.getvalue()), SHAPES)
    assert "IMAGENET1K_V1: downloading http://127.0.0.1:" in caplog.text
    output = capsys.readouterr()
    assert output.out == ""
    assert ("100%" in output.err) == is_terminal
    assert is_terminal or output.err == ""


def test_a_damaged_file_in_the_cache_is_to_be_deleted(cache):
    cache.mkdir(parents=True)
    (cache / "net-00000000.pth").write_bytes(b"PK damaged")
    message = refusal("IMAGENET1K_V1")
    assert f"{cache}/net-00000000.pth: damaged, its sha256 does not begin with 00000000" in message
    assert "delete it to download it again" in message


def test_fetched_weights_that_are_not_what_they_should_be_are_not_kept(cache, serve):
    known = serve(b"something else", digest="0" * 8)
    assert "hash" in refusal_of(known, "IMAGENET1K_V1")
    assert not list(cache.iterdir())


def refusal_of(known, name):
    with pytest.raises(FieldError) as refused:
        find_weights(name, known, SHAPES)
    return str(refused.value)


@pytest.fixture
def serve():
    """Serves a file, or nothing at all, and gives the weights that point there."""
    stop = threading.Event()
    servers = []

    def start(content, digest=None):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                start.num_requests += 1
                if content is None:
                    stop.wait()
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        digest = digest or sha256(content or b"").hexdigest()[:8]
        url = f"http://127.0.0.1:{server.server_port}/net-{digest}.pth"
        preset = partial(ImageClassification, crop_size=224)
        return WeightsEnum("Served", {"IMAGENET1K_V1": Weights(url, preset, {})})

    start.num_requests = 0
    yield start
    stop.set()
    for server in servers:
        server.shutdown()
        server.server_close()
