// What the page asks of its server.

const KEY = "sonant-token";

export const token = {
  get: () => localStorage.getItem(KEY),
  set: (value) => localStorage.setItem(KEY, value),
};

const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  token.set(given);
  history.replaceState(null, "", location.pathname + location.search);
}

let askToken = async () => false;
export const onToken = (ask) => (askToken = ask);

const headers = () => (token.get() ? { authorization: `Bearer ${token.get()}` } : {});

export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...options.headers, ...headers() } });
  } catch {
    throw new Error("The server cannot be reached.");
  }
  if (response.status === 401 && (await askToken())) return ask(path, options);
  if (!response.ok) throw new Error(await sentence(response));
  return response;
}

async function sentence(response) {
  const again = response.headers.get("retry-after");
  const tree = await response.json().catch(() => null);
  return (tree?.error?.message ?? `The server answered ${response.status}.`) + (again ? ` (Try again in ${again} s.)` : "");
}

export function upload(path, file, progress) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = async () => {
      if (request.status === 401 && (await askToken())) upload(path, file, progress).then(done, fail);
      else if (request.status === 200) done(request.response);
      else fail(new Error(request.response?.error?.message ?? `The server answered ${request.status}.`));
    };
    request.onerror = () => fail(new Error("The file could not be sent: it may be larger than the server takes."));
    request.send(file);
  });
}

export function socket(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const secret = token.get();
  // websockets carry no headers of ours, but names of protocols
  const bytes = secret ? String.fromCharCode(...new TextEncoder().encode(secret)) : "";
  const coded = btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return new WebSocket(url, secret ? ["sonant", `sonant-token.${coded}`] : ["sonant"]);
}

// Live audio: samples in, events out; goes on with a new connection where one breaks.
export class Live {
  constructor(query, rate, onEvent) {
    this.path = `/v1/stream?${new URLSearchParams({ ...query, sample_rate: rate })}`;
    this.rate = rate;
    this.onEvent = onEvent;
    this.sent = 0;
    this.waiting = [];
    this.finished = false;
    this.tries = 0;
    this.done = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    this.done.catch(() => {});
    this.connect();
  }

  connect() {
    const offset = this.sent / this.rate;
    let ready = false;
    this.socket = socket(this.path);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.type === "ready") {
        ready = true;
        this.tries = 0;
        this.ready = true;
        for (const chunk of this.waiting.splice(0)) this.send(chunk);
        if (this.finished) this.socket.send('{"type":"finish"}');
      }
      if (event.type === "error") return this.reject(new Error(event.message));
      if (event.type === "done") return this.resolve();
      this.onEvent(shifted(event, offset));
    };
    this.socket.onclose = async ({ code }) => {
      this.ready = false;
      if (code === 1012) return this.resolve(); // it stops, and has said its last words
      if (!ready && this.tries === 0 && (await tokenMissing())) this.tries++;
      else if (++this.tries > 5) return this.reject(new Error("The connection to the server was lost."));
      setTimeout(() => this.connect(), Math.min(200 * 2 ** this.tries, 5000));
    };
    this.done.finally(() => (this.socket.onclose = null)).catch(() => {});
  }

  send(chunk) {
    if (!this.ready) this.waiting.push(chunk);
    else {
      this.socket.send(chunk);
      this.sent += chunk.length;
    }
  }

  abandon() {
    this.connect = this.onEvent = () => {};
    this.resolve();
    this.socket.close();
  }

  async finish() {
    this.finished = true;
    if (this.ready) this.socket.send('{"type":"finish"}');
    await this.done;
    this.socket.close();
  }
}

async function tokenMissing() {
  const response = await fetch("/v1/models", { headers: headers() }).catch(() => null);
  return response?.status === 401 && askToken();
}

function shifted(event, by) {
  if (!by || event.start === undefined) return event;
  const move = (word) => ({ ...word, start: word.start + by, end: word.end + by });
  return { ...move(event), words: event.words?.map(move) };
}
