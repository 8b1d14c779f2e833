// Masks as the page holds them: run lengths down the columns, as they came. They are made into pictures when they are shown.

/**
 * @typedef {Object} Mask
 * @property {Uint32Array} runs lengths down the columns of the whole frame, background first (COCO's order)
 * @property {number} frameHeight
 * @property {number} left first column of the box around the mask
 * @property {number} top
 * @property {number} width of that box; 0 for an empty mask
 * @property {number} height
 * @property {number} score 0 to 1
 * @property {string} kind as in the timeline
 * @property {number} area pixels
 */

/**
 * Read a binary message of the server.
 *
 * @param {ArrayBuffer} message
 * @returns {{header: Object, masks: Map<number, Mask>}} masks by object id
 */
export function readMasks(message) {
  const length = new DataView(message).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(message, 4, length)));
  const runs = new Uint32Array(message, 4 + length);
  const masks = new Map();
  for (const { id, at, runs: count, score, kind, box, area } of header.objects) {
    const [left, top, width, height] = box;
    masks.set(id, {
      runs: runs.subarray(at, at + count),
      frameHeight: header.size[0],
      left,
      top,
      width,
      height,
      score,
      kind,
      area,
    });
  }
  return { header, masks };
}

/** Whether a point of the video lies in a mask. @param {Mask} mask */
export function covers(mask, x, y) {
  if (x < mask.left || y < mask.top || x >= mask.left + mask.width || y >= mask.top + mask.height) return false;
  let left = Math.floor(x) * mask.frameHeight + Math.floor(y);
  for (let run = 0; run < mask.runs.length; run++) {
    left -= mask.runs[run];
    if (left < 0) return run % 2 === 1;
  }
  return false;
}

/**
 * The mask within its box, row by row, 1 on the object, with a margin of zeros of some pixels around it.
 *
 * @param {Mask} mask
 * @returns {Uint8Array} of (height + 2 margins) rows of (width + 2 margins)
 */
function bitsOf({ runs, frameHeight, left, top, width, height }, margin) {
  const stride = width + 2 * margin;
  const bits = new Uint8Array(stride * (height + 2 * margin));
  let place = 0;
  for (let run = 0; run < runs.length; run++) {
    const end = place + runs[run];
    while (run % 2 && place < end) {
      const x = Math.floor(place / frameHeight);
      const y = place - x * frameHeight;
      const length = Math.min(end - place, frameHeight - y);
      let at = (y - top + margin) * stride + x - left + margin;
      for (const stop = at + length * stride; at < stop; at += stride) bits[at] = 1;
      place += length;
    }
    place = end;
  }
  return bits;
}

/**
 * A picture of a mask in its colour: filled so that the video shows through, with a full outline inside its edge.
 *
 * @param {Mask} mask not an empty one
 * @param {string} colour `#rrggbb`
 * @param {{fill: number, edgePx: number}} look opacity of the inside, 0 to 1; width of the outline in pixels of the video
 * @returns {OffscreenCanvas} of the size of the mask's box
 */
function painted(mask, colour, { fill, edgePx }) {
  const { width, height } = mask;
  const bits = bitsOf(mask, edgePx);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const data = context.createImageData(width, height);
  const pixels = new Uint32Array(data.data.buffer);
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const opaque = ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  const inside = ((Math.round(fill * 255) << 24) | (b << 16) | (g << 8) | r) >>> 0;
  const stride = width + 2 * edgePx;
  const down = edgePx * stride;
  for (let y = 0; y < height; y++) {
    for (let x = 0, at = (y + edgePx) * stride + edgePx; x < width; x++, at++) {
      if (!bits[at]) continue;
      const isInside = bits[at - edgePx] && bits[at + edgePx] && bits[at - down] && bits[at + down];
      pixels[y * width + x] = isInside ? inside : opaque;
    }
  }
  context.putImageData(data, 0, 0);
  return canvas;
}

const MOST_PAINTED = 64;

/** The last pictures of masks: they are drawn at every move of the pointer and change seldom. */
export class PaintedMasks {
  #cache = new Map();

  get(mask, colour, look) {
    const key = `${colour} ${look.fill} ${look.edgePx}`;
    let kept = this.#cache.get(mask);
    this.#cache.delete(mask);
    if (kept?.key !== key) kept = { key, canvas: painted(mask, colour, look) };
    this.#cache.set(mask, kept);
    if (this.#cache.size > MOST_PAINTED) this.#cache.delete(this.#cache.keys().next().value);
    return kept.canvas;
  }
}
