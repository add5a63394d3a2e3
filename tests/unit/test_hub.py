"""Models of the hub: fetched once from a server on this machine that speaks its protocol, then read from the cache."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants, errors, file_download
from huggingface_hub.utils import close_session
from safetensors.numpy import save_file

from sonant.checkpoints import hub, open_checkpoint
from sonant.checkpoints.decoding import write_decoding
from sonant.checkpoints.huggingface import save_checkpoint
from sonant.decode.beam import BeamDecoder
from sonant.errors import CheckpointError
from sonant.model.config import EncoderConfig
from sonant.recognizer import choose_decoder
from sonant.types import Vocabulary
from unit.test_beam import ARPA

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = EncoderConfig(hidden_size=4, num_attention_heads=1, num_conv_pos_embedding_groups=1, vocab_size=3)
WEIGHTS = {"lm_head.weight": np.arange(12, dtype=np.float32).reshape(3, 4)}


class Hub(ThreadingHTTPServer):
    """The part of the hub's protocol that a download needs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.requests: list[str] = []
        self.refusal = ""
        """What the hub says to everything."""


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def list(self, folder: Path, name: str) -> None:
        entries = [
            {"type": "file", "path": f"{name}/{path.name}", "size": path.stat().st_size, "oid": "0"}
            for path in folder.iterdir()
        ]
        data = json.dumps(entries).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        tree = self.path.split("?")[0].partition("/tree/")[2]
        _, _, file = (tree or self.path.partition("/resolve/")[2] or self.path[1:]).partition("/")
        path = self.server.folder / file
        if tree and path.is_dir() and not self.server.refusal:
            self.list(path, file)
            return
        refusal = self.server.refusal or ("" if path.exists() else "EntryNotFound")
        data = b"" if refusal else path.read_bytes()
        if refusal:
            self.send_response({"GatedRepo": 403, "ServerError": 501}.get(refusal, 404))
            self.send_header("X-Error-Code", refusal)
        else:
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one model, which any name leads to."""
    vocabulary = Vocabulary(("<pad>", "|", "a"), blank=0, separator=1)
    save_checkpoint(tmp_path / "model", CONFIG, WEIGHTS, vocabulary, normalize=False)
    with Hub(tmp_path / "model") as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "agents.json"), raising=False)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        close_session()
        yield server
        server.shutdown()
        close_session()


def test_a_model_is_downloaded_once(server: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoint = open_checkpoint("owner/model")
    assert checkpoint.name == "owner/model"
    assert checkpoint.vocabulary is not None
    assert checkpoint.vocabulary.tokens == ("<pad>", "|", "a")
    assert checkpoint.normalize is False
    np.testing.assert_array_equal(checkpoint.tensors["lm_head.weight"], WEIGHTS["lm_head.weight"])
    gets = [request.split("/") for request in server.requests if request.startswith("GET") and "/resolve/" in request]
    assert gets[0][-2:] == ["main", "config.json"]
    assert all(get[-2] == COMMIT for get in gets[1:])  # never two states of a model side by side
    assert not any("pytorch_model" in get[-1] for get in gets)
    server.requests.clear()
    assert open_checkpoint("owner/model").vocabulary == checkpoint.vocabulary
    assert server.requests == []
    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_when_asked_for(
    server: Hub, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TQDM_POSITION", "-1")  # as if stderr were a terminal
    open_checkpoint("owner/model", progress=True)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "model.safetensors" in shown.err
    assert "config.json" not in shown.err


def test_a_cached_model_needs_no_network(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    open_checkpoint("owner/model")
    server.refusal = "ServerError"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert open_checkpoint("owner/model").config.vocab_size == 3
    assert open_checkpoint("owner/model", revision=COMMIT).config.vocab_size == 3


def test_a_cached_model_may_lack_what_it_does_not_need(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs leave models in the cache without noting which files they do not have."""
    open_checkpoint("owner/model")
    for note in Path(constants.HF_HUB_CACHE).glob("models--owner--model/.no_exist/*/*"):
        note.unlink()
    asked = []

    def ask(url: str) -> None:
        asked.append(url)
        raise ConnectionError("no route")

    monkeypatch.setattr(file_download, "get_hf_file_metadata", ask)
    assert open_checkpoint("owner/model").config.vocab_size == 3
    assert len(asked) == 1  # each question in vain may take seconds


def test_a_language_is_fetched_when_it_is_asked_for(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    config = json.loads((server.folder / "config.json").read_text())
    (server.folder / "config.json").write_text(json.dumps(config | {"adapter_attn_dim": 2}))
    languages = {"eng": {"<pad>": 0, "|": 1, "a": 2}, "fra": {"<pad>": 0, "|": 1, "a": 2, "é": 3}}
    (server.folder / "vocab.json").write_text(json.dumps(languages))
    (server.folder / "tokenizer_config.json").write_text('{"target_lang": "eng"}')
    save_file({"lm_head.weight": np.full((4, 4), 7, np.float32)}, server.folder / "adapter.fra.safetensors")
    checkpoint = open_checkpoint("owner/model")
    assert (checkpoint.language, checkpoint.languages) == ("eng", ("eng", "fra"))
    assert not any("adapter" in request for request in server.requests)
    french = checkpoint.in_language("fra")
    assert french.require_vocabulary().tokens == ("<pad>", "|", "a", "é")
    assert french.tensors["lm_head.weight"].shape == (4, 4)
    assert french.config.vocab_size == 4
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    server.requests.clear()
    assert open_checkpoint("owner/model", language="fra").require_vocabulary() == french.vocabulary
    assert server.requests == []


def test_a_language_that_is_not_in_the_cache_needs_the_network(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    test_a_language_is_fetched_when_it_is_asked_for(server, monkeypatch)
    for path in Path(constants.HF_HUB_CACHE).glob("models--owner--model/snapshots/*/adapter.*"):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"adapter\.fra\.safetensors is not in the cache .* cannot be reached"):
        open_checkpoint("owner/model", language="fra")


def add_language_model(folder: Path) -> None:
    """As Wav2Vec2ProcessorWithLM has it."""
    (folder / "language_model").mkdir()
    (folder / "language_model" / "attrs.json").write_text('{"alpha": 0.25}')
    (folder / "language_model" / "unigrams.txt").write_text("a\n")
    (folder / "language_model" / "2gram.arpa").write_text(ARPA.format("a", "aa", "aaa"))
    (folder / "alphabet.json").write_text('{"labels": ["", " ", "a"], "is_bpe": false}')


def test_a_language_model_comes_when_it_is_asked_for(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    add_language_model(server.folder)
    (server.folder / "language_model" / "notes.md").write_text("not needed")
    checkpoint = open_checkpoint("owner/model")
    assert not any("language_model" in request for request in server.requests)
    decoder = choose_decoder(checkpoint)
    assert isinstance(decoder, BeamDecoder)
    assert (decoder.settings.lm_weight, decoder.words) == (0.25, ["a"])
    gets = [request for request in server.requests if request.startswith("GET") and "language_model" in request]
    assert sum("/tree/" in request for request in gets) == 1
    assert all(COMMIT in request for request in gets)
    assert not any("notes" in request for request in gets)
    server.requests.clear()
    assert isinstance(choose_decoder(open_checkpoint("owner/model")), BeamDecoder)
    assert choose_decoder(checkpoint, lm=False).name == "greedy"
    assert server.requests == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert isinstance(choose_decoder(open_checkpoint("owner/model")), BeamDecoder)


def test_a_model_without_one_is_asked_once(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_decoder(open_checkpoint("owner/model")).name == "greedy"
    server.requests.clear()
    assert choose_decoder(open_checkpoint("owner/model")).name == "greedy"
    assert server.requests == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for note in Path(constants.HF_HUB_CACHE).glob("models--owner--model/.no_exist/*/*/*"):
        note.unlink()
    assert choose_decoder(open_checkpoint("owner/model")).name == "greedy"  # nothing is known of one


def test_a_tuned_model_of_the_hub_brings_its_files(server: Hub) -> None:
    arpa, lexicon = server.folder.parent / "lm.arpa", server.folder.parent / "words.txt"
    arpa.write_text(ARPA.format("a", "aa", "aaa"))
    lexicon.write_text("aa\n")
    write_decoding(server.folder, {"lm": arpa, "lexicon": lexicon}, {"lm_weight": 0.5}, {})
    decoder = choose_decoder(open_checkpoint("owner/model"))
    assert isinstance(decoder, BeamDecoder)
    assert decoder.words == ["aa"]


def test_half_a_language_model_needs_the_network(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    add_language_model(server.folder)
    checkpoint = open_checkpoint("owner/model")
    assert checkpoint.decoding()
    [path] = Path(constants.HF_HUB_CACHE).glob("models--owner--model/snapshots/*/language_model/*.arpa")
    path.unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="language_model") as caught:
        checkpoint.decoding()
    assert "\n" not in str(caught.value)


def test_weights_in_several_files_or_of_pytorch_are_fetched(server: Hub) -> None:
    (server.folder / "model.safetensors").unlink()
    save_file(WEIGHTS, server.folder / "model-00001-of-00001.safetensors")
    (server.folder / "model.safetensors.index.json").write_text(
        '{"weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}'
    )
    assert list(open_checkpoint("owner/model").tensors) == ["lm_head.weight"]
    (server.folder / "model-00001-of-00001.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00001-of-00001\.safetensors, but has none"):
        open_checkpoint("other/model")
    (server.folder / "model.safetensors.index.json").unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors or pytorch_model.bin, but has none"):
        open_checkpoint("third/model")
    (server.folder / "pytorch_model.bin").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin must be of torch.save"):
        open_checkpoint("fourth/model")


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        (
            "RepoNotFound",
            "owner/model must be a model of Hugging Face's hub or a folder, but is neither; check its spelling",
        ),
        (
            "GatedRepo",
            r"The model owner/model must be asked for, .*huggingface.co/owner/model, then log in with `hf auth login`",
        ),
        ("RevisionNotFound", "The model owner/model must have a revision v9, but has none"),
        ("EntryNotFound", r"The model owner/model must have a config.json, but has none"),
        ("ServerError", r"config.json of the model owner/model could not be downloaded into .*cache \(.*\); try again"),
    ],
)
def test_a_refusal_of_the_hub_is_one_sentence(server: Hub, refusal: str, sentence: str) -> None:
    server.refusal = refusal
    with pytest.raises(CheckpointError, match=sentence) as caught:
        open_checkpoint("owner/model", revision="v9")
    assert "\n" not in str(caught.value)
    assert len(server.requests) <= 3


def test_without_network_one_sentence_names_what_helps(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = r"model owner/model must be downloaded .* cache .*cache and the hub cannot be reached .* built-in model"
    server.shutdown()
    server.server_close()
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint("owner/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint("owner/model")


def test_a_network_that_fails_halfway_is_no_missing_file(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    open_checkpoint("owner/model")
    next(Path(constants.HF_HUB_CACHE).glob("models--owner--model/snapshots/*/vocab.json")).unlink()

    def download(*args: object, **options: object) -> str:
        raise errors.LocalEntryNotFoundError("the connection broke")

    monkeypatch.setattr(file_download, "hf_hub_download", download)
    sentence = r"vocab\.json of the model owner/model could not be downloaded into .*cache \(the connection broke\)"
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint("owner/model")


@pytest.mark.parametrize(
    ("source", "is_name"),
    [
        ("facebook/wav2vec2-base-960h", True),
        ("a/b.c_d-e", True),
        ("model", False),
        ("./a", False),
        ("a/b/c", False),
        ("/a", False),
        ("../b", False),
        ("a/..", False),
        ("C:\\a", False),
        ("ä/b", False),
        ("", False),
    ],
)
def test_names_are_told_from_paths(source: str, is_name: bool) -> None:
    assert hub.is_name(source) is is_name


def test_a_name_that_cannot_be_one_is_refused(server: Hub) -> None:
    with pytest.raises(CheckpointError, match="check its spelling"):
        open_checkpoint("a--b/c..d")
    assert server.requests == []
