// Where the picture lies on the canvas: zoom and pan. Pixels of the video have their origin at the top-left corner of the
// picture; a pixel's centre is at .5. Pixels of the canvas are the device's own.

const LEAST_ZOOM_SHARE = 0.5;
/** How many device pixels a pixel of the video may grow to. */
const MOST_ZOOM = 64;
const MARGIN_PX = 16;
/** How much of the picture stays in sight when it is panned, in device pixels. */
const KEPT_PX = 48;

export class Viewport {
  scale = 1;
  left = 0;
  top = 0;
  isFitted = true;
  #canvas = { width: 1, height: 1 };
  #video = { width: 1, height: 1 };

  get fitScale() {
    const { width, height } = this.#canvas;
    return Math.max(
      Math.min((width - 2 * MARGIN_PX) / this.#video.width, (height - 2 * MARGIN_PX) / this.#video.height),
      0.01,
    );
  }

  setVideo(width, height) {
    this.#video = { width, height };
    this.fit();
  }

  setCanvas(width, height) {
    const before = this.#canvas;
    this.#canvas = { width, height };
    if (this.isFitted) return this.fit();
    this.left += (width - before.width) / 2;
    this.top += (height - before.height) / 2;
    this.#keepInSight();
  }

  fit() {
    this.scale = this.fitScale;
    this.left = (this.#canvas.width - this.#video.width * this.scale) / 2;
    this.top = (this.#canvas.height - this.#video.height * this.scale) / 2;
    this.isFitted = true;
  }

  /** Zoom so that the point (x, y) of the canvas stays where it is; by default its centre. */
  zoomTo(scale, x = this.#canvas.width / 2, y = this.#canvas.height / 2) {
    const least = this.fitScale * LEAST_ZOOM_SHARE;
    const next = Math.min(Math.max(scale, Math.min(least, 1)), MOST_ZOOM);
    this.left = x - ((x - this.left) * next) / this.scale;
    this.top = y - ((y - this.top) * next) / this.scale;
    this.scale = next;
    this.isFitted = false;
    this.#keepInSight();
  }

  zoomBy(factor, x, y) {
    this.zoomTo(this.scale * factor, x, y);
  }

  panBy(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.isFitted = false;
    this.#keepInSight();
  }

  /** Pan just so far that the point (x, y) of the video is in sight. */
  show(x, y) {
    const at = this.toCanvas(x, y);
    const dx = Math.max(KEPT_PX - at.x, 0) + Math.min(this.#canvas.width - KEPT_PX - at.x, 0);
    const dy = Math.max(KEPT_PX - at.y, 0) + Math.min(this.#canvas.height - KEPT_PX - at.y, 0);
    if (!this.isFitted && (dx || dy)) this.panBy(dx, dy);
  }

  toVideo(x, y) {
    return { x: (x - this.left) / this.scale, y: (y - this.top) / this.scale };
  }

  toCanvas(x, y) {
    return { x: x * this.scale + this.left, y: y * this.scale + this.top };
  }

  contains({ x, y }) {
    return x >= 0 && y >= 0 && x < this.#video.width && y < this.#video.height;
  }

  /** The nearest point of the picture. */
  clamp({ x, y }) {
    return { x: Math.min(Math.max(x, 0), this.#video.width), y: Math.min(Math.max(y, 0), this.#video.height) };
  }

  #keepInSight() {
    const width = this.#video.width * this.scale;
    const height = this.#video.height * this.scale;
    this.left = Math.min(Math.max(this.left, KEPT_PX - width), this.#canvas.width - KEPT_PX);
    this.top = Math.min(Math.max(this.top, KEPT_PX - height), this.#canvas.height - KEPT_PX);
  }
}
