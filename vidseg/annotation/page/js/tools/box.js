// Drag a box around the object.

import * as actions from "../actions.js";
import { redraw } from "../redraw.js";

/** Boxes smaller than this, in pixels of the video, are slips of the hand. */
const LEAST_PX = 3;

let start = null;
let end = null;

export const box = {
  id: "box",
  cursor: "crosshair",
  startsOutside: true,
  hint: "Drag a box around the object, as tight as you can.",

  down(pointer) {
    start = end = { x: pointer.x, y: pointer.y };
  },

  move(pointer) {
    if (!start) return;
    end = { x: pointer.x, y: pointer.y };
    redraw();
  },

  up() {
    const [x0, y0, x1, y1] = corners();
    this.cancel();
    if (x1 - x0 >= LEAST_PX && y1 - y0 >= LEAST_PX) actions.setBox([x0, y0, x1, y1]);
  },

  cancel() {
    start = end = null;
    redraw();
  },

  isBusy: () => start !== null,

  draw(context, scale, colour) {
    if (!start) return;
    const [x0, y0, x1, y1] = corners();
    context.lineWidth = 2 / scale;
    context.strokeStyle = colour;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  },
};

function corners() {
  return [Math.min(start.x, end.x), Math.min(start.y, end.y), Math.max(start.x, end.x), Math.max(start.y, end.y)];
}
