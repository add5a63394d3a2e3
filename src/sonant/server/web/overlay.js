// Captions alone, for OBS: /overlay?channel=main&lines=2&size=48&hold=6&at=top

import { socket } from "./server.js";

const asked = new URLSearchParams(location.search);
const place = document.getElementById("captions");
const hold = 1000 * Number(asked.get("hold") ?? 6);
place.style.setProperty("--lines", Number(asked.get("lines") ?? 2));
place.style.setProperty("--size", `${Number(asked.get("size") ?? 48)}px`);
if (asked.get("at") === "top") document.body.className = "top";

let words = [];
let timer;

function show(tail) {
  const line = document.createElement("div");
  const light = Object.assign(document.createElement("span"), { className: "tail", textContent: tail });
  const final = words.join(" ");
  line.append(final && tail ? `${final} ` : final, light);
  place.replaceChildren(...(final || tail ? [line] : []));
  clearTimeout(timer);
  timer = setTimeout(() => {
    words = [];
    place.replaceChildren();
  }, hold);
}

function connect(tries = 0) {
  const channel = encodeURIComponent(asked.get("channel") ?? "main");
  const reader = socket(`/v1/captions?channel=${channel}`);
  reader.onopen = () => (tries = 0);
  reader.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (event.type === "final") words = [...words, ...event.words.map((word) => word.text)].slice(-60);
    if (event.type === "final" || event.type === "partial") {
      show(event.type === "partial" ? event.words.map((word) => word.text).join(" ") : "");
    }
  };
  reader.onclose = () => setTimeout(() => connect(tries + 1), Math.min(500 * 2 ** tries, 10_000));
}

connect();
