// What the tables of commands share.

import { moveCrosshair } from "../stage.js";
import { chosenObject, store } from "../state.js";

export const s = store.state;
export const hasVideo = () => Boolean(s.video);
export const hasChosen = () => Boolean(chosenObject());
export const isFree = () => hasChosen() && !chosenObject().locked;

export const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Put a heading to commands. */
export function group(title, commands) {
  return commands.map((command) => ({ group: title, ...command }));
}

/** An arrow key moves the crosshair, if it is on, by (dx, dy) CSS pixels; otherwise it does `step`. */
export function crosshairOr(step, dx, dy) {
  return (event) => (s.isCrosshairOn ? moveCrosshair(dx, dy) : step(event));
}
