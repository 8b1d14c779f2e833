// Left click: this is the object. Right click: this is not. A click on a point that is there takes it away.

import * as actions from "../actions.js";
import { chosenObject, promptOn, store } from "../state.js";

/** How near a click must be to a point to mean it, in CSS pixels. */
const NEAR_PX = 9;

export const click = {
  id: "click",
  cursor: "crosshair",
  previews: true,
  hint: "Left click: part of the object. Right click: not part of it. Click a point again to take it away.",

  down(pointer) {
    const point = nearest(pointer);
    if (point >= 0) actions.removePoint(point);
    else actions.addPoint(pointer.x, pointer.y, pointer.button !== 2);
  },
};

function nearest({ x, y, unitsPerPx }) {
  const object = chosenObject();
  const points = object ? (promptOn(object.id, store.state.shown)?.points ?? []) : [];
  return points.findIndex(([px, py]) => Math.hypot(px - x, py - y) <= NEAR_PX * unitsPerPx);
}
