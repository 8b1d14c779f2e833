// Brush, eraser and lasso: what is drawn becomes the mask of the chosen object on this frame, and a prompt for tracking.

import * as actions from "../actions.js";
import { redraw } from "../redraw.js";
import { store } from "../state.js";

/** Points nearer to the last one than this, in CSS pixels, add nothing to a path. */
const STEP_PX = 1.5;

/**
 * @typedef {Object} Drawing
 * @property {"stroke"|"area"} kind
 * @property {{x: number, y: number}[]} points in pixels of the video
 * @property {number} radius of a stroke, in pixels of the video
 * @property {boolean} isErasing takes away from the mask; otherwise adds to it
 */

/** Paint a drawing, while it is made and until the mask with it comes. @param {Drawing} drawing */
export function paintDrawing(context, { kind, points, radius, isErasing }, colour, scale) {
  const path = new Path2D();
  path.moveTo(points[0].x, points[0].y);
  // A line of no length is drawn as a dot only if it has a second point.
  for (const { x, y } of points.length > 1 ? points.slice(1) : points) path.lineTo(x, y);
  if (kind === "area") path.closePath();
  context.fillStyle = context.strokeStyle = isErasing ? "#ffffff" : colour;
  context.lineCap = context.lineJoin = "round";
  context.globalAlpha = kind === "area" ? 0.35 : 0.6;
  context.lineWidth = 2 * radius;
  if (kind === "area") context.fill(path);
  else context.stroke(path);
  context.globalAlpha = 1;
  context.lineWidth = 2 / scale;
  if (kind === "area") context.stroke(path);
}

/** A tool that collects the path of the pointer while it is held down. */
function pathTool({ id, hint, kind, erases, cursor, sized, startsOutside }) {
  let points = null;
  let isErasing = false;

  return {
    id,
    hint,
    cursor,
    sized,
    startsOutside,

    down(pointer) {
      points = [{ x: pointer.x, y: pointer.y }];
      isErasing = erases || pointer.button === 2;
      redraw();
    },

    move(pointer) {
      if (!points) return;
      const last = points[points.length - 1];
      if (Math.hypot(pointer.x - last.x, pointer.y - last.y) < STEP_PX * pointer.unitsPerPx) return;
      points.push({ x: pointer.x, y: pointer.y });
      redraw();
    },

    up() {
      const drawing = { kind, points, isErasing, radius: store.state.brushPx / 2 };
      this.cancel();
      if (kind === "stroke" || drawing.points.length > 2) actions.draw(drawing);
    },

    cancel() {
      points = null;
      redraw();
    },

    isBusy: () => points !== null,

    draw(context, scale, colour) {
      if (points) paintDrawing(context, { kind, points, isErasing, radius: store.state.brushPx / 2 }, colour, scale);
    },
  };
}

export const brush = pathTool({
  id: "brush",
  kind: "stroke",
  erases: false,
  sized: true,
  cursor: "none",
  hint: "Paint what belongs to the object. Right button: erase.",
});

export const eraser = pathTool({
  id: "eraser",
  kind: "stroke",
  erases: true,
  sized: true,
  cursor: "none",
  hint: "Wipe away what does not belong to the object.",
});

export const lasso = pathTool({
  id: "lasso",
  kind: "area",
  erases: false,
  cursor: "crosshair",
  startsOutside: true,
  hint: "Draw around a part to add it to the object. Right button: cut it out.",
});
