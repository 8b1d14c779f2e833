// From frames to places on the timeline, with zoom. Places are in CSS pixels; frame N lies from placeOf(N) to placeOf(N + 1).

/** Zoomed in as far as it goes, this many frames are seen. */
const LEAST_FRAMES = 20;

export class Scale {
  first = 0;
  seen = 1;
  #count = 1;
  #width = 1;

  setCount(count) {
    this.#count = Math.max(count, 1);
    this.first = 0;
    this.seen = this.#count;
  }

  setWidth(width) {
    this.#width = Math.max(width, 1);
  }

  get pxPerFrame() {
    return this.#width / this.seen;
  }

  placeOf(frame) {
    return (frame - this.first) * this.pxPerFrame;
  }

  frameAt(x) {
    return Math.min(Math.max(Math.floor(this.first + x / this.pxPerFrame), 0), this.#count - 1);
  }

  /** Zoom so that the frame at place x stays there. */
  zoomBy(factor, x) {
    const at = this.first + x / this.pxPerFrame;
    const seen = Math.min(Math.max(this.seen / factor, Math.min(LEAST_FRAMES, this.#count)), this.#count);
    this.first = at - (x / this.#width) * seen;
    this.seen = seen;
    this.#keep();
  }

  panBy(frames) {
    this.first += frames;
    this.#keep();
  }

  /** Pan just so far that a frame is seen. */
  show(frame) {
    if (frame < this.first) this.first = frame - this.seen * 0.1;
    else if (frame >= this.first + this.seen) this.first = frame - this.seen * 0.9;
    this.#keep();
  }

  #keep() {
    this.first = Math.min(Math.max(this.first, 0), this.#count - this.seen);
  }
}
