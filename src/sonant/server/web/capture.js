// Microphones, tabs and screens as 16-bit samples.

const PLAIN = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

export async function openMicrophone() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("The browser gives this page no microphone: open it at localhost or over HTTPS.");
  }
  // Gain helps quiet microphones; the other two spoil speech for a recogniser.
  return navigator.mediaDevices.getUserMedia({ audio: { ...PLAIN, channelCount: 1 } });
}

export async function openScreen() {
  if (!navigator.mediaDevices?.getDisplayMedia) throw new Error("This browser cannot share tabs or screens.");
  const stream = await navigator.mediaDevices.getDisplayMedia({
    video: { frameRate: 1 },
    audio: { ...PLAIN, suppressLocalAudioPlayback: false },
    systemAudio: "include",
  });
  if (!stream.getAudioTracks().length) {
    for (const track of stream.getTracks()) track.stop();
    throw new Error("No sound was shared: choose a tab, and tick its sound.");
  }
  return stream;
}

export class Capture {
  // `heard(Int16Array, peak)` for each tenth of a second, `ended()` where the source itself ends.
  static async open(stream, heard, ended) {
    const capture = new Capture();
    capture.stream = stream;
    capture.context = new AudioContext();
    await capture.context.audioWorklet.addModule("/web/worklet.js");
    await capture.context.resume();
    capture.rate = capture.context.sampleRate;
    capture.source = capture.context.createMediaStreamSource(new MediaStream(stream.getAudioTracks()));
    capture.node = new AudioWorkletNode(capture.context, "tap");
    capture.drained = new Promise((done) => {
      capture.node.port.onmessage = ({ data }) => (data.ended ? done() : heard(data.pcm, data.peak));
    });
    capture.source.connect(capture.node).connect(capture.context.destination); // unconnected, it might not run
    for (const track of stream.getTracks()) track.addEventListener("ended", ended);
    return capture;
  }

  async close() {
    this.node.port.postMessage("end");
    await Promise.race([this.drained, new Promise((done) => setTimeout(done, 300))]);
    for (const track of this.stream.getTracks()) track.stop();
    this.source.disconnect();
    await this.context.close();
  }
}

export function wav(chunks, rate) {
  const count = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const head = new DataView(new ArrayBuffer(44));
  const text = (at, value) => [...value].forEach((char, i) => head.setUint8(at + i, char.charCodeAt(0)));
  text(0, "RIFF");
  head.setUint32(4, 36 + 2 * count, true);
  text(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, 1, true);
  head.setUint32(24, rate, true);
  head.setUint32(28, 2 * rate, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  text(36, "data");
  head.setUint32(40, 2 * count, true);
  return new Blob([head, ...chunks], { type: "audio/wav" });
}
