// Captions over other windows: a window of their own where the browser has such, else a video of them.

export class Float {
  constructor(onClose) {
    this.onClose = onClose;
    this.window = this.video = null;
  }

  get open() {
    return Boolean(this.window || this.video);
  }

  async start() {
    if ("documentPictureInPicture" in window) {
      this.window = await documentPictureInPicture.requestWindow({ width: 720, height: 160 });
      const { document: page } = this.window;
      page.documentElement.dataset.theme = document.documentElement.dataset.theme ?? "";
      const style = page.createElement("link");
      style.rel = "stylesheet";
      style.href = "/web/app.css";
      page.head.append(style);
      page.title = "sonant";
      page.body.className = "floating";
      this.node = page.createElement("div");
      page.body.append(this.node);
      this.window.addEventListener("pagehide", () => this.closed());
      return;
    }
    this.canvas = Object.assign(document.createElement("canvas"), { width: 1280, height: 240 });
    this.write("", "");
    const video = document.createElement("video");
    if (!video.requestPictureInPicture) throw new Error("This browser cannot show captions over other windows.");
    video.muted = true;
    video.srcObject = this.canvas.captureStream(10);
    await video.play();
    await video.requestPictureInPicture();
    video.addEventListener("leavepictureinpicture", () => this.closed());
    this.video = video;
  }

  stop() {
    if (this.window) this.window.close();
    else if (this.video) document.exitPictureInPicture().catch(() => this.closed());
  }

  closed() {
    this.video?.srcObject.getTracks().forEach((track) => track.stop());
    this.window = this.video = this.node = this.canvas = null;
    this.onClose();
  }

  show({ final, tail }) {
    if (this.node) fill(this.node, final, tail);
    else if (this.canvas) this.write(final, tail);
  }

  write(final, tail) {
    const { canvas } = this;
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#101214";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.font = "64px system-ui, sans-serif";
    const words = [...final.split(" ").map((word) => [word, "#fff"]), ...tail.split(" ").map((word) => [word, "#9aa3ad"])];
    const lines = [[]];
    let x = 0;
    for (const [word, colour] of words.filter(([word]) => word)) {
      const wide = pen.measureText(`${word} `).width;
      if (x + wide > canvas.width - 80 && x) {
        lines.push([]);
        x = 0;
      }
      lines.at(-1).push([word, colour, x]);
      x += wide;
    }
    lines.slice(-2).forEach((line, row) => {
      for (const [word, colour, left] of line) {
        pen.fillStyle = colour;
        pen.fillText(word, 40 + left, 96 + row * 84);
      }
    });
  }
}

export function fill(node, final, tail) {
  const light = node.ownerDocument.createElement("span");
  light.className = "tail";
  light.textContent = tail;
  node.replaceChildren(final && tail ? `${final} ` : final, light);
  node.scrollTop = node.scrollHeight;
}
