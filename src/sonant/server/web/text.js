// The text on the page: final words are only ever added, tentative ones stand after them until they are final.

const clock = (seconds) => {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, i) => (i ? String(part).padStart(2, "0") : part)).join(":");
};
export { clock };

export class Text {
  constructor(place, spoken, onWord) {
    this.place = place;
    this.spoken = spoken;
    this.hint = place.firstElementChild;
    this.onWord = onWord;
    this.clear();
  }

  clear() {
    this.segments = []; // of arrays of words; the last is open
    this.tail = [];
    this.space = " ";
    this.open = null;
    this.unsaid = "";
    this.place.replaceChildren(this.hint);
    this.spoken.replaceChildren();
    this.tailNode = document.createElement("span");
    this.tailNode.className = "tail";
  }

  get empty() {
    return !this.segments.length;
  }

  get text() {
    return this.segments.map((words) => words.map((word) => word.text).join(this.space)).join("\n");
  }

  // The last words, for captions.
  get recent() {
    const last = this.segments.at(-1) ?? [];
    const final = last.slice(-40).map((word) => word.text).join(this.space);
    return { final, tail: this.tail.map((word) => word.text).join(this.space) };
  }

  partial(words) {
    this.tail = words;
    this.follow(() => {
      this.tailNode.textContent = words.map((word) => word.text).join(this.space);
      if (words.length) this.paragraph().append(this.tailNode);
      else this.tailNode.remove();
    });
  }

  final(words, segmentEnds) {
    this.tail = [];
    this.follow(() => {
      this.tailNode.remove();
      this.tailNode.textContent = "";
      for (const word of words) this.add(word);
    });
    this.unsaid += words.map((word) => this.space + word.text).join("");
    if (segmentEnds) this.end();
  }

  end() {
    if (this.unsaid.trim()) {
      const line = document.createElement("p");
      line.textContent = this.unsaid.trim();
      this.spoken.append(line);
      while (this.spoken.childElementCount > 20) this.spoken.firstElementChild.remove();
    }
    this.unsaid = "";
    this.open = null;
  }

  add(word) {
    const paragraph = this.paragraph(word.start);
    if (!this.segments.length || paragraph !== this.filling) {
      this.segments.push([]);
      this.filling = paragraph;
    }
    this.segments.at(-1).push(word);
    const node = document.createElement("span");
    node.className = "word";
    node.textContent = word.text;
    node.dataset.start = word.start.toFixed(2);
    node.dataset.doubt = word.confidence >= 0.95 ? 0 : word.confidence >= 0.8 ? 1 : word.confidence >= 0.6 ? 2 : 3;
    node.title = `${word.start.toFixed(2)}–${word.end.toFixed(2)} s, ${Math.round(100 * word.confidence)} % sure`;
    node.addEventListener("click", () => this.onWord(word));
    paragraph.append(node, this.space);
  }

  paragraph(start = 0) {
    if (!this.open) {
      this.hint.remove();
      this.open = document.createElement("p");
      const time = document.createElement("time");
      time.textContent = clock(start);
      this.open.append(time);
      this.place.append(this.open);
      this.timed = false;
    }
    if (!this.timed && start) {
      this.open.firstElementChild.textContent = clock(start);
      this.timed = true;
    }
    return this.open;
  }

  // Keep the end in sight, unless the reader has scrolled up.
  follow(change) {
    const { place } = this;
    const atEnd = place.scrollHeight - place.scrollTop - place.clientHeight < 40;
    change();
    if (atEnd) place.scrollTop = place.scrollHeight;
  }

  mark(seconds) {
    for (const node of this.place.querySelectorAll(".now")) node.classList.remove("now");
    const nodes = [...this.place.querySelectorAll(".word")];
    nodes.filter((node) => Number(node.dataset.start) <= seconds + 0.02).at(-1)?.classList.add("now");
  }

  // As the server writes transcripts.
  tree(about) {
    return {
      text: this.text.replaceAll("\n", this.space),
      language: null,
      source: null,
      model: "",
      settings: {},
      warnings: [],
      ...about,
      space: this.space,
      segments: this.segments.map((words) => ({
        words: words.map(({ text, start, end, confidence, letters }) => ({ text, start, end, confidence, letters: letters ?? [] })),
      })),
    };
  }
}
