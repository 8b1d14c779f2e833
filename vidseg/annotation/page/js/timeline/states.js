// What an object is on each frame, drawn as a row: the costly part of the timeline, which is kept until it changes.

/** Opacity of the band where the tracker is sure, and where it is not. */
const SURE = 0.42;
const UNSURE = 0.25;

export class RowPictures {
  #kept = new Map();

  /**
   * @param {{id: number, colour: string}} object
   * @param {{kinds: string[], scores: Uint8Array, areas: Float32Array, version: number}} row as in the store
   * @param {{scale: import("./scale.js").Scale, width: number, colours: Object}} view
   * @param {number} height in CSS pixels
   * @returns {OffscreenCanvas} in device pixels
   */
  get(object, row, view, height) {
    const { scale, width, colours } = view;
    const key = [
      row.version,
      object.colour,
      scale.first,
      scale.seen,
      width,
      height,
      colours.text,
      devicePixelRatio,
    ].join(" ");
    const kept = this.#kept.get(object.id);
    if (kept?.key === key && kept.row === row) return kept.canvas;
    const canvas = new OffscreenCanvas(Math.ceil(width * devicePixelRatio), Math.ceil(height * devicePixelRatio));
    const context = canvas.getContext("2d");
    context.scale(devicePixelRatio, devicePixelRatio);
    paintStates(context, object, row, view, height);
    this.#kept.set(object.id, { key, row, canvas });
    return canvas;
  }
}

/** One column of pixels at a time: of the frames that share it the least sure one is shown, so that no doubt is lost. */
function paintStates(context, object, row, { scale, colours }, height) {
  const most = Math.max(largest(row.areas), 1);
  const certainty = new Path2D();
  let isDown = false;
  const end = Math.min(scale.first + scale.seen, row.kinds.length);
  const framesPerColumn = Math.max(1 / scale.pxPerFrame, 1);
  for (let from = Math.floor(scale.first); from < end; from += framesPerColumn) {
    const first = Math.floor(from);
    const last = Math.max(Math.ceil(from + framesPerColumn) - 1, first);
    // Whole pixels, or neighbours would overlap in stripes.
    const x = Math.round(scale.placeOf(first));
    const wide = Math.max(Math.round(scale.placeOf(last + 1)) - x, 1);
    const frame = leastSure(row, first, last);
    if (frame < 0) {
      isDown = false;
      continue;
    }
    const kind = row.kinds[frame];
    if (kind === "a" || kind === "X") {
      isDown = false;
      context.globalAlpha = 1;
      context.fillStyle = colours.edge;
      context.fillRect(x, height / 2 - 1, wide, 2);
      continue;
    }
    const hill = (height * row.areas[frame]) / most;
    context.fillStyle = object.colour;
    context.globalAlpha = kind === "u" ? UNSURE : SURE;
    context.fillRect(x, 0, wide, height);
    context.fillRect(x, height - hill, wide, hill);
    const y = height - 1 - ((height - 2) * row.scores[frame]) / 100;
    if (!isDown) certainty.moveTo(x, y);
    certainty.lineTo(x + wide / 2, y);
    isDown = true;
  }
  context.globalAlpha = 1;
  context.strokeStyle = colours.text;
  context.lineWidth = 1.25;
  context.stroke(certainty);
}

/** The frame with the lowest score of those where something is known; -1 if there is none. */
function leastSure({ kinds, scores }, first, last) {
  let found = -1;
  for (let frame = first; frame <= last && frame < kinds.length; frame++) {
    if (kinds[frame] !== "." && (found < 0 || scores[frame] < scores[found])) found = frame;
  }
  return found;
}

function largest(numbers) {
  let most = 0;
  for (const number of numbers) if (number > most) most = number;
  return most;
}
