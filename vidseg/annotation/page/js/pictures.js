// Frames of the video as pictures, by number. What the playhead needs comes first, what lies ahead of it is fetched when nothing
// is urgent, and what lies far from it is given up. Browsers' own players are not exact to the frame, so none is used.

const MOST_BYTES = 256 * 2 ** 20;
const LEAST_KEPT = 12;
const MOST_KEPT = 96;
const MOST_AT_ONCE = 4;
/** A picture that does not come in this time is stood in for by the nearest one that the server has ready. */
const STAND_IN_MS = 40;
/** How many pictures behind the playhead stay, as a share of those ahead. */
const BEHIND_SHARE = 0.25;

export class Pictures {
  #cache = new Map();
  #running = new Map();
  #playhead = 0;
  #direction = 1;
  #count = 0;
  #most = LEAST_KEPT;
  #standInTimer = 0;
  #video = 0;

  /**
   * @param {(frame: number, signal: AbortSignal) => Promise<ImageBitmap>} fetchPicture
   * @param {(frame: number) => Promise<{frame: number, picture: ImageBitmap} | null>} fetchNear
   * @param {(frame: number) => void} onArrival called after a picture came
   * @param {(frame: number, error: Error) => void} onFailure called where one cannot be had
   */
  constructor(fetchPicture, fetchNear, onArrival, onFailure) {
    this.fetchPicture = fetchPicture;
    this.fetchNear = fetchNear;
    this.onArrival = onArrival;
    this.onFailure = onFailure;
    /** The frame on the screen, whose picture stays. */
    this.shown = 0;
  }

  /** Begin with another video. */
  reset(count, width, height) {
    for (const abort of this.#running.values()) abort.abort();
    for (const picture of this.#cache.values()) picture?.close?.();
    this.#cache.clear();
    this.#running.clear();
    this.#video++;
    this.#count = count;
    this.#playhead = 0;
    this.#most = Math.min(Math.max(Math.floor(MOST_BYTES / (4 * width * height || 1)), LEAST_KEPT), MOST_KEPT);
  }

  /** The picture of a frame, if it is here. */
  get(frame) {
    return this.#cache.get(frame) ?? null;
  }

  has(frame) {
    return this.#cache.has(frame);
  }

  /** Say where the playhead is: its picture is fetched at once, then those ahead in the direction it moves. */
  moveTo(frame) {
    if (frame !== this.#playhead) this.#direction = frame < this.#playhead ? -1 : 1;
    this.#playhead = frame;
    // What failed ahead of the playhead is asked for again when somebody comes to it, so that the failure is told.
    if (this.#cache.get(frame) === null) this.#cache.delete(frame);
    this.#fill();
    this.#standInLater();
  }

  #standInLater() {
    if (!this.#standInTimer && !this.#cache.has(this.#playhead))
      this.#standInTimer = setTimeout(() => this.#standIn(), STAND_IN_MS);
  }

  /** Fetch what is ready near the playhead, and again while it moves on. */
  async #standIn() {
    const wanted = this.#playhead;
    const video = this.#video;
    try {
      if (this.#cache.has(wanted)) return;
      const found = await this.fetchNear(wanted);
      if (!found || video !== this.#video || this.#cache.has(found.frame)) return found?.picture.close();
      this.#cache.set(found.frame, found.picture);
      this.onArrival(found.frame);
    } catch {
      // It is a help: where there is none, the frame's own picture comes all the same.
    } finally {
      this.#standInTimer = 0;
      if (this.#playhead !== wanted) this.#standInLater();
    }
  }

  #wanted() {
    const ahead = Math.ceil(this.#most * (1 - BEHIND_SHARE));
    const wanted = [this.#playhead];
    for (let step = 1; step < ahead; step++) wanted.push(this.#playhead + this.#direction * step);
    for (let step = 1; step <= this.#most - ahead; step++) wanted.push(this.#playhead - this.#direction * step);
    return wanted.filter((frame) => frame >= 0 && frame < this.#count);
  }

  #fill() {
    const wanted = this.#wanted();
    const kept = new Set(wanted);
    for (const [frame, abort] of this.#running) if (!kept.has(frame)) abort.abort();
    // A picture that is neither urgent nor begun waits while the urgent one is on its way: it would share the line with it.
    const isUrgent = !this.#cache.has(this.#playhead);
    for (const frame of isUrgent ? wanted.slice(0, 1) : wanted) {
      if (this.#running.size >= MOST_AT_ONCE + (isUrgent ? 1 : 0)) break;
      if (!this.#cache.has(frame) && !this.#running.has(frame)) this.#fetch(frame);
    }
    if (this.#cache.size > this.#most) this.#forget(kept);
  }

  #forget(kept) {
    for (const [frame, picture] of this.#cache) {
      if (kept.has(frame) || frame === this.shown) continue;
      picture?.close?.();
      this.#cache.delete(frame);
    }
  }

  async #fetch(frame) {
    const abort = new AbortController();
    this.#running.set(frame, abort);
    try {
      const picture = await this.fetchPicture(frame, abort.signal);
      if (abort.signal.aborted) return picture.close?.();
      this.#cache.set(frame, picture);
      this.onArrival(frame);
    } catch (error) {
      if (abort.signal.aborted) return;
      // Remember that there is none, or it would be asked for again at once.
      this.#cache.set(frame, null);
      this.onFailure(frame, error);
    } finally {
      if (this.#running.get(frame) === abort) this.#running.delete(frame);
      this.#fill();
    }
  }
}
