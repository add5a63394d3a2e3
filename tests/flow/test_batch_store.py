"""`sonant batch` from and to an object store, which a server on this machine stands in for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flow.bucket import opened_store
from flow.conftest import EXAMPLE, SAID

pytest.importorskip("moto")
pytest.importorskip("s3fs")
pytestmark = pytest.mark.slow

FILL = """
import sys, s3fs
files = s3fs.S3FileSystem()
files.mkdir("speech")
for source, name in zip(sys.argv[1::2], sys.argv[2::2]):
    files.put_file(source, f"speech/{name}")
"""
LIST = """
import json, s3fs
files = s3fs.S3FileSystem()
print(json.dumps({path: files.cat_file(path).decode() for path in files.find("speech/out")}))
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An S3 at an address that every process of this test knows."""
    monkeypatch.setenv("SONANT_CACHE", str(tmp_path / "cache"))
    with opened_store():
        yield


def python(code: str, *words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def batch(*words: object) -> tuple[int, str]:
    command = [sys.executable, "-W", "ignore", "-m", "sonant", "batch", *map(str, words), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def written() -> dict[str, str]:
    return json.loads(python(LIST))


@pytest.mark.usefixtures("store")
def test_a_job_reads_and_writes_a_bucket(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("not audio")
    manifest = tmp_path / "list.jsonl"
    lines: list[dict[str, Any]] = [{"audio_filepath": "in/a.ogg"}, {"audio_filepath": "in/none.ogg"}]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    here = {"in/a.ogg": EXAMPLE, "in/deep/b.ogg": EXAMPLE, "in/bad.wav": tmp_path / "bad.wav", "list.jsonl": manifest}
    python(FILL, *(word for name, path in here.items() for word in (path, name)))
    options = ["s3://speech/in", "s3://speech/list.jsonl", "--output", "s3://speech/out", "--each", "vtt"]
    code, err = batch(*options)
    assert code == 1, err
    assert "2 done" in err
    assert "s3://speech/in/bad.wav is not audio" in err
    assert "s3://speech/in/none.ogg does not exist" in err
    files = written()
    [part] = [text for path, text in files.items() if "/part-" in path]
    records = [json.loads(line) for line in part.splitlines()]
    assert [record["source"] for record in records] == ["s3://speech/in/a.ogg", "s3://speech/in/deep/b.ogg"]
    assert {record["text"] for record in records} == {SAID}
    assert len(files["speech/out/failures.jsonl"].splitlines()) == 2
    assert "speech/out/files/deep/b.ogg.vtt" in files
    assert not any("/open-" in path or path.endswith(".sonant") for path in files)
    code, err = batch(*options)
    assert "0 done" in err
    assert "2 kept from before" in err
    assert written() == files


@pytest.mark.usefixtures("store")
def test_a_bucket_that_cannot_be_written_is_one_sentence() -> None:
    code, err = batch(EXAMPLE, "--output", "s3://nobody/out")
    assert code == 2
    assert "s3://nobody/out/.sonant could not be written" in err
    assert len(err.splitlines()) == 1
