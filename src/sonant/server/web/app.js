// The page: sources on one side, the text on the other.

import { Capture, openMicrophone, openScreen, wav } from "./capture.js";
import { Float, fill } from "./float.js";
import { Levels, draw } from "./picture.js";
import { Live, ask, onToken, token, upload } from "./server.js";
import { Text, clock } from "./text.js";

const $ = (id) => document.getElementById(id);
const KEPT_SECONDS = 1800; // of a recording, for hearing it again

const state = { capture: null, live: null, chunks: [], rate: 16000, seconds: 0, name: "recording", sound: null, busy: false };
const text = new Text($("transcript"), $("spoken"), (word) => playFrom(word.start));
const levels = new Levels($("levels"));
const float = new Float(() => pressed("float", false));

const say = (sentence) => ($("state").textContent = sentence);
const pressed = (id, on) => $(id).setAttribute("aria-pressed", on);
const query = () => {
  const channel = $("relay").checked ? { channel: "main" } : {};
  return { model: $("model").value, ...channel };
};

let alarm;
function complain(error) {
  const node = $("alert");
  node.textContent = error.message ?? String(error);
  node.classList.add("shown");
  clearTimeout(alarm);
  alarm = setTimeout(() => node.classList.remove("shown"), 9000);
}

const guarded = (work) => async (...given) => {
  try {
    await work(...given);
  } catch (error) {
    if (!["NotAllowedError", "AbortError"].includes(error.name)) complain(error);
    else if (error.name === "NotAllowedError") complain(new Error("The browser was not allowed to do that."));
  }
};

// --- live ---

const record = guarded(async () => (state.capture ? stop() : start(openMicrophone, "recording", "Recording. Press R to stop.")));
const hearTab = guarded(async () => (state.capture ? stop() : start(openScreen, "captions", "Hearing what is shared. Press R to stop.")));

async function start(open, name, sentence) {
  if (state.busy) return;
  state.busy = true;
  try {
    const stream = await open();
    abandon();
    clear();
    state.name = name;
    state.capture = await Capture.open(stream, hear, guarded(stop));
    state.rate = state.capture.rate;
    state.live = new Live(query(), state.rate, show);
    for (const chunk of state.chunks) state.live.send(chunk);
    const { live } = state;
    live.done.catch(guarded(async (error) => {
      if (state.live === live) await stop();
      throw error;
    }));
    pressed("record", true);
    $("record-label").textContent = "Stop";
    document.body.classList.add("live");
    say(sentence);
  } finally {
    state.busy = false;
  }
}

function hear(pcm, peak) {
  levels.add(peak);
  if (state.seconds < KEPT_SECONDS) state.chunks.push(pcm);
  state.seconds += pcm.length / (state.capture?.rate ?? state.rate);
  $("clock").textContent = clock(state.seconds);
  state.live?.send(pcm);
}

async function stop() {
  const { capture, live } = state;
  if (!capture) return;
  state.capture = null;
  pressed("record", false);
  $("record-label").textContent = "Record";
  document.body.classList.remove("live");
  say("Hearing the rest…");
  await capture.close();
  await live?.finish().catch(() => {});
  if (state.live !== live) return; // something else has begun since
  state.live = null;
  text.partial([]);
  text.end();
  keep(wav(state.chunks, state.rate));
  $("look").classList.remove("hidden");
  say(text.empty ? "Nothing was said, or it was not understood." : `Done: ${clock(state.seconds)} heard.`);
  caption();
}

// What is begun anew does not wait for the rest of what was before, nor take its words.
function abandon() {
  state.live?.abandon();
  state.live = null;
}

function show(event) {
  if (event.type === "ready") text.space = event.space;
  else if (event.type === "partial") text.partial(event.words);
  else if (event.type === "final") text.final(event.words, event.segment_end);
  else if (event.type === "lag") {
    say(event.seconds > 1.9 ? `The server is ${Math.round(event.seconds)} s behind.` : "The server has caught up.");
  }
  caption();
}

function caption() {
  const recent = text.recent;
  fill($("caption-text"), recent.final, recent.tail);
  float.show(recent);
}

// --- files ---

const hearFile = guarded(async (file) => {
  if (!file || state.busy) return;
  if (state.capture) await stop();
  state.busy = true;
  try {
    abandon();
    clear();
    state.name = file.name.replace(/\.[^.]*$/, "") || "file";
    await transcribe(file, file.name);
    keep(file);
    $("look").classList.add("hidden");
  } finally {
    state.busy = false;
  }
});

async function transcribe(blob, name) {
  document.body.classList.add("working");
  const parameters = new URLSearchParams({ model: $("model").value, emissions: true });
  say(`Sending ${name}…`);
  let tree;
  try {
    tree = await upload(`/v1/transcripts?${parameters}`, blob, (share) => {
      say(share < 1 ? `Sending ${name}: ${Math.round(100 * share)} %` : `Hearing ${name}…`);
    });
  } catch (error) {
    say(`There are no words of ${name}.`);
    throw error;
  } finally {
    document.body.classList.remove("working");
  }
  text.clear();
  text.space = tree.space;
  for (const segment of tree.segments) text.final(segment.words, true);
  state.seconds = tree.duration;
  $("clock").textContent = clock(tree.duration);
  say(tree.warnings[0] ?? (text.empty ? "No words were found." : `Done: ${clock(tree.duration)} heard.`));
  state.picture = tree.emissions && [tree.emissions, tree.segments.flatMap((segment) => segment.words)];
  picture();
  caption();
}

function picture() {
  if (!state.picture || !$("picture-box").open) return;
  $("picture-note").textContent = "How likely each letter was at each moment; blanks are left out.";
  draw($("picture"), ...state.picture);
}

function keep(blob) {
  state.sound = blob;
  const player = $("player");
  if (player.src) URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(blob);
  player.classList.remove("hidden");
}

function playFrom(seconds) {
  if (!state.sound) return;
  $("player").currentTime = seconds;
  $("player").play();
}

// --- the text ---

function clear() {
  text.clear();
  levels.clear();
  Object.assign(state, { chunks: [], seconds: 0, sound: null, picture: null });
  $("clock").textContent = "0:00";
  $("player").classList.add("hidden");
  $("player").pause();
  $("look").classList.add("hidden");
  $("picture").width = $("picture").height = 0;
  caption();
}

const copy = guarded(async () => {
  await navigator.clipboard.writeText(text.text);
  say("The text is copied.");
});

const save = guarded(async (form) => {
  if (text.empty) return complain("There is no text to save yet.");
  const about = { duration: state.seconds, model: $("model").value };
  const body = JSON.stringify(text.tree(about));
  const response = await ask(`/v1/subtitles?format=${form}`, { method: "POST", body });
  download(new Blob([await response.text()], { type: "text/plain;charset=utf-8" }), `${state.name}.${form}`);
  say(`Saved as ${state.name}.${form}.`);
});

function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function big(on = !document.body.classList.contains("big")) {
  document.body.classList.toggle("big", on);
  pressed("big", on);
  $("captions").setAttribute("aria-hidden", !on);
  if (on) {
    document.documentElement.requestFullscreen?.().catch(() => {});
    $("captions-close").focus();
  } else {
    if (document.fullscreenElement) document.exitFullscreen();
    $("big").focus();
  }
  caption();
}

const toggleFloat = guarded(async () => {
  if (float.open) return float.stop();
  await float.start();
  pressed("float", true);
  caption();
});

// --- settings ---

const THEMES = { auto: "Auto", light: "Light", dark: "Dark" };

function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").textContent = THEMES[name];
  $("theme").setAttribute("aria-label", `Colours: ${THEMES[name]}`);
  localStorage.setItem("sonant-theme", name);
  levels.show();
  picture();
}

function remember(id, turn) {
  const box = $(id);
  const kept = localStorage.getItem(`sonant-${id}`);
  if (kept !== null) box.checked = kept === "true";
  const change = () => {
    localStorage.setItem(`sonant-${id}`, box.checked);
    turn(box.checked);
  };
  box.addEventListener("change", change);
  change();
}

const loadModels = guarded(async () => {
  const { data } = await (await ask("/v1/models")).json();
  $("model").replaceChildren(...data.map(({ id, language }) => new Option(language && !id.includes("@") ? `${id} (${language})` : id, id)));
  $("model").disabled = data.length < 2;
});

const phone = guarded(async () => {
  const { urls, qr } = await (await ask("/v1/share")).json();
  $("qr").replaceChildren();
  if (qr) {
    const drawing = new DOMParser().parseFromString(qr, "image/svg+xml").documentElement;
    drawing.setAttribute("role", "img");
    drawing.setAttribute("aria-label", `QR code of ${urls[0]}`);
    $("qr").append(document.importNode(drawing, true));
  }
  const here = !urls.length || /\/\/(localhost|127\.|\[::1)/.test(urls[0]);
  $("phone-note").textContent = here
    ? "This server listens to this machine alone. Start it with --host 0.0.0.0 --https to reach it from a phone."
    : `Point the camera here, or type ${urls[0]}`;
  $("phone-dialog").showModal();
});

function askForToken() {
  const dialog = $("token-dialog");
  if (!dialog.open) {
    if (token.get()) $("token-label").textContent = "That was not the token that this server wants.";
    $("token").value = "";
    dialog.returnValue = "";
    dialog.showModal();
  }
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "ok" && $("token").value;
      if (given) token.set(given);
      done(Boolean(given));
    }, { once: true });
  });
}

// --- wires ---

const KEYS = { r: record, t: hearTab, f: () => $("file").click(), c: copy, b: () => big(), p: toggleFloat, "?": () => $("keys-dialog").showModal() };

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.classList.contains("big")) return big(false);
  const typing = event.target.closest?.("input:not([type=checkbox]), select, textarea, dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = KEYS[event.key.toLowerCase()];
  if (act) {
    event.preventDefault();
    act();
  }
});

const CLICKS = {
  record, tab: hearTab, copy, clear: () => state.capture || clear(), float: toggleFloat, phone,
  open: () => $("file").click(),
  big: () => big(),
  "captions-close": () => big(false),
  keys: KEYS["?"],
  theme: () => theme({ auto: "dark", dark: "light", light: "auto" }[localStorage.getItem("sonant-theme") ?? "auto"]),
  look: guarded(async () => transcribe(state.sound, "the recording")),
  "save-wav": () => (state.chunks.length ? download(wav(state.chunks, state.rate), `${state.name}.wav`) : complain("There is no recording to save.")),
};
for (const [id, act] of Object.entries(CLICKS)) $(id).addEventListener("click", act);
for (const button of document.querySelectorAll(".save")) button.addEventListener("click", () => save(button.dataset.form));

$("file").addEventListener("change", () => {
  hearFile($("file").files[0]);
  $("file").value = "";
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dragging"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  hearFile(event.dataTransfer.files[0]);
});
addEventListener("beforeunload", (event) => state.capture && event.preventDefault());
document.addEventListener("fullscreenchange", () => document.fullscreenElement || !document.body.classList.contains("big") || big(false));
$("player").addEventListener("timeupdate", () => text.mark($("player").currentTime));
$("picture-box").addEventListener("toggle", picture);

remember("show-times", (on) => document.body.classList.toggle("times", on));
remember("show-doubt", (on) => document.body.classList.toggle("doubt", on));
remember("relay", () => {});
theme(localStorage.getItem("sonant-theme") ?? "auto");
onToken(askForToken);
loadModels();
if ("serviceWorker" in navigator) navigator.serviceWorker.register("/sw.js").catch(() => {});
