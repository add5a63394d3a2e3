// Gives what comes in as 16-bit samples, a tenth of a second at a time, with its peak. Gives out silence.
class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = Math.round(sampleRate / 10);
    this.begin();
    this.port.onmessage = () => {
      this.send(this.filled);
      this.port.postMessage({ ended: true });
    };
  }

  begin() {
    this.block = new Int16Array(this.size);
    this.filled = 0;
    this.peak = 0;
  }

  send(count) {
    const pcm = this.block.slice(0, count);
    this.port.postMessage({ pcm, peak: this.peak }, [pcm.buffer]);
    this.begin();
  }

  process([channels]) {
    if (!channels?.length) return true;
    for (let i = 0; i < channels[0].length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      const value = Math.max(-1, Math.min(1, sum / channels.length));
      this.peak = Math.max(this.peak, Math.abs(value));
      this.block[this.filled++] = Math.round(value * 32767);
      if (this.filled === this.size) this.send(this.size);
    }
    return true;
  }
}

registerProcessor("tap", Tap);
