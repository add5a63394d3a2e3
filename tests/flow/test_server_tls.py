"""The server over TLS: its own certificate, one that it is given, and the address that a phone reads."""

from __future__ import annotations

import json
import os
import re
import ssl
import stat
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow.conftest import SAID
from flow.serving import pcm16, serving
from flow.test_command import run
from sonant import audio

websockets = pytest.importorskip("websockets.sync.client")
x509 = pytest.importorskip("cryptography.x509")
pytest.importorskip("segno")

from sonant.server import certificate as certificates  # noqa: E402  # needs what is looked for above


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path))
    return tmp_path


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


def fetched(url: str, context: ssl.SSLContext, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, body), context=context, timeout=120) as answer:
        return answer.read()


def test_who_trusts_the_certificate_made_here_has_the_page_and_captions(cache: Path, example: Path) -> None:
    with serving("--https") as server:
        assert server.url.startswith("https://")
        context = trusting(cache / "tls" / "certificate.pem")
        for name in ("localhost", "127.0.0.1"):
            assert b"<title>sonant</title>" in fetched(f"https://{name}:{server.port}/", context)
        assert json.loads(fetched(f"{server.url}/", context, example.read_bytes())) == {"text": SAID}
        uri = server.url.replace("https", "wss") + "/v1/stream"
        with websockets.connect(uri, ssl=context, open_timeout=60) as client:
            client.send(pcm16(audio.read(example)))
            client.send('{"type": "finish"}')
            messages: list[dict[str, Any]] = [json.loads(client.recv(timeout=120))]
            while messages[-1]["type"] != "done":
                messages.append(json.loads(client.recv(timeout=120)))
        said = [message["text"] for message in messages if message["type"] == "final" and message["text"]]
        assert " ".join(said) == SAID
        with pytest.raises(urllib.error.URLError, match="certificate verify failed"):
            fetched(f"{server.url}/", ssl.create_default_context())
        assert not [line for line in server.errors if "Traceback" in line]


def test_a_certificate_of_one_s_own_is_shown(tmp_path: Path, cache: Path) -> None:
    made, secret = certificates.own_certificate()
    own, key = tmp_path / "server.pem", tmp_path / "server.key"
    made.rename(own)
    secret.rename(key)
    with serving("--cert", str(own), "--key", str(key)) as server:
        shown = ssl.get_server_certificate(("127.0.0.1", server.port))
        assert ssl.PEM_cert_to_DER_cert(shown) == ssl.PEM_cert_to_DER_cert(own.read_text())
        assert b"<title>sonant</title>" in fetched(f"{server.url}/", trusting(own))
    assert not made.exists()


def test_a_certificate_is_kept_until_it_no_longer_fits(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, key = certificates.own_certificate()
    first = path.read_bytes()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 or os.name == "nt"
    assert certificates.own_certificate() == (path, key)
    assert path.read_bytes() == first
    monkeypatch.setattr(certificates, "lan_address", lambda: "192.0.2.7")  # another network
    certificates.own_certificate()
    second = path.read_bytes()
    names = x509.load_pem_x509_certificate(second).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert "192.0.2.7" in map(str, names.value.get_values_for_type(x509.IPAddress))
    monkeypatch.setattr(certificates, "RENEWED", 366)  # as if its end were near
    certificates.own_certificate()
    third = path.read_bytes()
    path.write_bytes(b"no certificate")
    certificates.own_certificate()
    assert len({first, second, third, path.read_bytes()}) == 4


def test_a_certificate_whose_key_is_spoiled_is_made_anew(cache: Path) -> None:
    path, key = certificates.own_certificate()
    key.write_bytes(b"no key")
    assert certificates.own_certificate() == (path, key)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, key)


@pytest.mark.parametrize(
    ("cert", "key", "word"),
    [("no.pem", "no.key", "no.pem must be a file"), ("x.pem", None, "go together"), ("x.pem", "x.pem", "x.pem")],
)
def test_a_certificate_that_is_none_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    cert: str,
    key: str | None,
    word: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "x.pem").write_text("no certificate")
    chosen = ["--cert", str(tmp_path / cert), *(["--key", str(tmp_path / key)] if key else [])]
    code = run(monkeypatch, "serve", "--port", "0", *chosen)
    said = capsys.readouterr().err
    assert (code, word in said, "Traceback" in said) == (2, True, False), said


def test_the_code_for_a_phone_holds_the_address_and_the_token(cache: Path) -> None:
    zxingcpp = pytest.importorskip("zxingcpp")
    with serving("--https", "--token", "a+b/c=") as server:
        request = urllib.request.Request(f"{server.url}/v1/share", headers={"authorization": "Bearer a+b/c="})
        context = trusting(cache / "tls" / "certificate.pem")
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            shared = json.load(answer)
    assert shared["urls"] == [server.url]
    [read] = zxingcpp.read_barcodes(rendered(shared["qr"]))
    assert read.text == f"{server.url}/#token=a%2Bb%2Fc%3D"


def rendered(svg: str) -> np.ndarray:
    """The picture of a QR code's SVG, whose path is of level strokes, one unit wide."""
    side = int(re.findall(r'viewBox="0 0 (\d+) \d+"', svg)[0])
    [path] = re.findall(r'stroke="#000"[^>]* d="([^"]+)"|d="(M[^"]+h[^"]+)"[^>]*stroke="#000"', svg)
    picture = np.full((side, side), 255, np.uint8)
    x = y = 0.0
    for letter, numbers in re.findall(r"([Mmhv])([-\d. ]+)", "".join(path)):
        values = [float(number) for number in re.findall(r"-?[\d.]+", numbers)]
        if letter == "h":
            picture[int(y), int(x) : int(x + values[0])] = 0
            x += values[0]
        else:
            x, y = (values[0], values[1]) if letter == "M" else (x + values[0], y + values[1])
    return picture.repeat(8, 0).repeat(8, 1)
