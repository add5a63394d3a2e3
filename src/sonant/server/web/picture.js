// Emissions as a picture: a row a letter, a column a frame, the surer the stronger.

const ROW = 18;
const LEFT = 34;
const BOTTOM = 22;
const SEEN = 38; // of 255: a letter that is never surer has no row

export function draw(canvas, emissions, words) {
  const { tokens, blank, frames, frame_seconds: step, data } = emissions;
  const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
  const at = (frame, token) => bytes[frame * tokens.length + token];
  const rows = [...tokens.keys()].filter((token) => token !== blank && some(frames, (frame) => at(frame, token) > SEEN));
  const scale = Math.max(2, Math.min(6, Math.floor(12000 / frames)));
  const ratio = Math.min(devicePixelRatio || 1, frames * scale > 6000 ? 1 : 2);
  const [width, height] = [LEFT + frames * scale + 8, 26 + rows.length * ROW + BOTTOM];
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  pen.fillStyle = colour("--paper");
  pen.fillRect(0, 0, width, height);
  rows.forEach((token, row) => {
    const y = 26 + row * ROW;
    pen.fillStyle = colour("--quiet");
    pen.fillText(tokens[token] === "|" ? "␣" : tokens[token], 12, y + ROW / 2);
    pen.fillStyle = colour("--accent");
    for (let frame = 0; frame < frames; frame++) {
      const value = at(frame, token);
      if (value < 8) continue;
      pen.globalAlpha = value / 255;
      pen.fillRect(LEFT + frame * scale, y + 2, scale, ROW - 4);
    }
    pen.globalAlpha = 1;
  });
  pen.fillStyle = colour("--quiet");
  pen.strokeStyle = colour("--line");
  for (let second = 0; second <= frames * step; second++) {
    const x = LEFT + (second / step) * scale;
    pen.fillText(`${second} s`, x, height - BOTTOM / 2);
    pen.strokeRect(x - 0.5, 26, 0, rows.length * ROW);
  }
  pen.fillStyle = colour("--ink");
  for (const word of words) {
    if (word.start < frames * step) pen.fillText(word.text, LEFT + (word.start / step) * scale, 12);
  }
  const letters = rows.map((token) => tokens[token]).join(", ");
  canvas.setAttribute("aria-label", `Probabilities of ${letters} over ${(frames * step).toFixed(1)} seconds`);
}

function some(count, test) {
  for (let i = 0; i < count; i++) if (test(i)) return true;
  return false;
}

export class Levels {
  constructor(canvas) {
    this.canvas = canvas;
    this.clear();
  }

  clear() {
    this.peaks = [];
    this.show();
  }

  add(peak) {
    this.peaks.push(peak);
    if (this.peaks.length > 120) this.peaks.shift();
    this.show();
  }

  show() {
    const { canvas, peaks } = this;
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const { width, height } = canvas;
    pen.clearRect(0, 0, width, height);
    for (let i = 0; i < 120; i++) {
      const peak = peaks[peaks.length - 120 + i] ?? 0;
      const decibels = Math.max(0, 1 + Math.log10(Math.max(peak, 1e-3)) / 3);
      const tall = Math.max(2, decibels * height);
      pen.fillStyle = style.getPropertyValue(peak > 0.98 ? "--alarm" : peak ? "--accent" : "--line");
      pen.fillRect((i * width) / 120, (height - tall) / 2, width / 120 - 2, tall);
    }
  }
}
