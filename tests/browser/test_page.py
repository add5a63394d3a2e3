"""The page in a real browser: headless Chromium, whose microphone plays a recording."""

from __future__ import annotations

import base64
import json
import re
import shutil
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow.serving import Server, pcm16, serving
from sonant import audio

EXAMPLE = Path(__file__).parents[1] / "models" / "digits.ogg"
SAID = "SEVEN THREE NINE ONE FIVE EIGHT"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not on this machine, so the page was not tried in it"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    sound = tmp_path_factory.mktemp("microphone") / "mic.wav"
    samples = np.concatenate([np.zeros(24_000, np.float32), audio.read(EXAMPLE, 48_000)])
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        file.writeframes(pcm16(samples))
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--no-sandbox"]
    flags += [f"--use-file-for-fake-audio-capture={sound}%noloop", "--autoplay-policy=no-user-gesture-required"]
    flags += ["--auto-select-tab-capture-source-by-title=Speaker"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """The page, opened; it must have nothing to complain of."""
    context = browser.new_context(
        permissions=["microphone", "clipboard-read", "clipboard-write"], viewport={"width": 1100, "height": 800}
    )
    complaints: list[str] = []
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(server.url + "/")
    page.locator("#model option").wait_for(state="attached")
    yield page
    context.close()
    refused = "Failed to load resource: the server responded with a status of 400"  # which one test brings about
    assert [complaint for complaint in complaints if not complaint.startswith(refused)] == []


def saved(page: Any, form: str) -> str:
    with page.expect_download() as download:
        page.click(f"[data-form={form}]")
    return Path(download.value.path()).read_text()


def test_what_is_said_is_shown_while_it_is_said_copied_and_saved(page: Any) -> None:
    page.keyboard.press("r")
    page.locator("#record[aria-pressed=true]").wait_for()
    page.locator("#transcript .tail", has_text=re.compile("[A-Z]{3}")).wait_for()
    page.locator(".word", has_text="SEVEN").wait_for()
    assert "SEVEN" in page.inner_text("#transcript")
    page.locator("#spoken", has_text=SAID).wait_for(state="attached")  # the pause ends the segment
    page.keyboard.press("r")
    page.locator("#state", has_text="Done").wait_for()
    assert page.inner_text("#transcript").strip() == SAID
    page.keyboard.press("c")
    page.locator("#state", has_text="copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == SAID
    tree = json.loads(saved(page, "json"))
    assert tree["text"] == SAID
    assert all(word["start"] < word["end"] for segment in tree["segments"] for word in segment["words"])
    assert saved(page, "srt").startswith("1\n00:00:0")
    assert saved(page, "vtt").startswith("WEBVTT")
    assert saved(page, "txt") == SAID + "\n"


def test_a_file_is_heard_and_pictured_by_keyboard(page: Any) -> None:
    page.on("filechooser", lambda chooser: chooser.set_files(EXAMPLE))
    page.wait_for_timeout(500)  # until the browser gives choosers to us
    page.keyboard.press("f")
    page.locator("#state", has_text="Done").wait_for()
    assert page.inner_text("#transcript").strip() == SAID
    page.click("summary")
    picture = page.locator("#picture[aria-label^=Probabilities]")
    picture.wait_for()
    assert picture.bounding_box()["width"] > 500
    page.keyboard.press("b")
    page.locator("#captions[aria-hidden=false]", has_text=SAID).wait_for()
    page.keyboard.press("Escape")
    page.locator("#captions[aria-hidden=true]").wait_for(state="attached")


def test_an_overlay_shows_what_is_said_elsewhere(page: Any, server: Server) -> None:
    overlay = page.context.new_page()
    overlay.goto(server.url + "/overlay?hold=60")
    page.check("#relay")
    page.click("#record")
    overlay.locator("#captions", has_text="SEVEN THREE").wait_for()
    page.click("#record")
    page.locator("#state", has_text="Done").wait_for()


def test_a_tab_is_heard(page: Any, server: Server) -> None:
    speaker = page.context.new_page()
    speaker.goto(server.url + "/healthz")
    sound = base64.b64encode(EXAMPLE.read_bytes()).decode()
    speaker.evaluate(
        """async (sound) => {
          document.title = "Speaker";
          const context = new AudioContext();
          const bytes = Uint8Array.from(atob(sound), (letter) => letter.charCodeAt(0));
          const source = context.createBufferSource();
          source.buffer = await context.decodeAudioData(bytes.buffer);
          source.connect(context.destination);
          window.play = () => source.start();
        }""",
        sound,
    )
    page.bring_to_front()
    page.keyboard.press("t")
    page.locator("#state", has_text="Hearing what is shared").wait_for()
    speaker.evaluate("window.play()")
    page.locator(".word", has_text="EIGHT").wait_for()
    page.keyboard.press("r")
    page.locator("#state", has_text="Done").wait_for()
    assert page.inner_text("#transcript").strip() == SAID


def test_captions_float_over_other_windows(page: Any) -> None:
    page.set_input_files("#file", EXAMPLE)
    page.locator("#state", has_text="Done").wait_for()
    page.click("#float")
    page.locator("#float[aria-pressed=true]").wait_for()
    assert page.evaluate("documentPictureInPicture.window.document.body.textContent") == SAID
    page.click("#float")
    page.locator("#float[aria-pressed=false]").wait_for()


def test_what_is_in_doubt_is_shaded_in_both_lights(page: Any) -> None:
    transcript = {"words": [{"text": f"W{i}", "start": i, "end": i + 0.5, "confidence": c}
                            for i, c in enumerate((1.0, 0.9, 0.7, 0.2))]}  # fmt: skip
    answer = {"text": "", "space": " ", "duration": 4, "warnings": [], "segments": [transcript]}
    page.route("**/v1/transcripts?*", lambda route: route.fulfill(json=answer))
    seen = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.set_input_files("#file", EXAMPLE)
        page.locator("#state", has_text="Done").wait_for()
        shades = page.eval_on_selector_all(
            ".word", "nodes => nodes.map((node) => getComputedStyle(node).backgroundColor)"
        )
        assert len(set(shades)) == 4
        seen.add((*shades, page.evaluate("getComputedStyle(document.body).backgroundColor")))
    assert len(seen) == 2


def test_it_can_be_installed_and_opens_without_its_server(page: Any, server: Server) -> None:
    page.evaluate("navigator.serviceWorker.ready")
    tools = page.context.new_cdp_session(page)
    errors = tools.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [error["errorId"] for error in errors] == ["in-incognito"]  # as every page of a test is
    assert tools.send("Page.getAppManifest")["errors"] == []
    page.reload()
    page.locator("#model option").wait_for(state="attached")
    page.context.set_offline(True)
    other = page.context.new_page()
    other.goto(server.url + "/")
    assert other.inner_text("#state").startswith("Ready")
    assert other.evaluate("getComputedStyle(document.querySelector('#record')).borderRadius") != "0px"
    page.context.set_offline(False)


def test_a_page_that_is_no_sound_is_refused_in_a_sentence(page: Any, tmp_path: Path) -> None:
    wrong = tmp_path / "notes.txt"
    wrong.write_text("no sound")
    page.set_input_files("#file", wrong)
    page.locator("#alert.shown", has_text="not audio or video").wait_for()
    assert page.inner_text("#state") == "There are no words of notes.txt."


def test_a_token_is_asked_for_until_it_is_right(browser: Any) -> None:
    with serving("--token", "right") as server:
        page = browser.new_page()
        page.goto(server.url)
        for given, said in (("wrong", "wants a token"), ("right", "was not the token")):
            page.locator("#token-label", has_text=said).wait_for()
            page.fill("#token", given)
            page.keyboard.press("Enter")
        page.locator("#model option").wait_for(state="attached")
        page.close()


def test_every_control_has_a_name_and_can_be_reached(page: Any) -> None:
    nameless = page.evaluate(
        """[...document.querySelectorAll("button, select, input, a, audio, canvas, [tabindex]")].filter((node) =>
        !(node.ariaLabel || node.textContent.trim() || node.labels?.length || node.getAttribute("aria-hidden")))
        .map((node) => node.outerHTML)"""
    )
    assert nameless == []
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id"))
    assert {"record", "tab", "open", "transcript", "copy", "big", "float", "show-times"} <= seen


@pytest.mark.parametrize("width", [360, 390, 768, 1440])
def test_nothing_is_wider_than_the_screen(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for path in ("/", "/docs"):
        page.goto(page.url.partition("/docs")[0].rstrip("/") + path)
        page.locator("h1").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_is_begun_anew_does_not_wait_for_the_rest_of_what_was_before(page: Any) -> None:
    """The server is slow to say that all was heard, and the reader records again meanwhile."""
    held: list[Any] = []

    def pass_on(route: Any) -> None:
        server = route.connect_to_server()
        first = not held
        held.append(route)

        def answer(message: Any) -> None:
            if not (first and '"done"' in message):
                route.send(message)

        server.on_message(answer)

    page.route_web_socket(re.compile("/v1/stream"), pass_on)
    page.keyboard.press("r")
    page.locator(".word", has_text="SEVEN").wait_for()
    page.keyboard.press("r")
    page.locator("#state", has_text="Hearing the rest").wait_for()
    page.keyboard.press("r")
    page.locator("#record[aria-pressed=true]").wait_for()
    page.locator("#spoken", has_text=SAID).wait_for(state="attached")
    page.keyboard.press("r")
    page.locator("#state", has_text="Done").wait_for()
    assert page.inner_text("#transcript").strip() == SAID
    assert len(held) == 2
