// A round glass beside the pointer that shows the pixels below it larger.

import { store } from "./state.js";

const TIMES = 4;
/** A pixel of the video has at least this many device pixels in the loupe. */
const LEAST_SCALE = 4;
const AWAY_PX = 28;

/**
 * @param {HTMLCanvasElement} glass
 * @param {HTMLCanvasElement} canvas the stage
 * @param {import("./viewport.js").Viewport} viewport
 * @param {(context: CanvasRenderingContext2D, scale: number, left: number, top: number) => void} paint draws the scene
 */
export function drawLoupe(glass, canvas, viewport, paint) {
  const { isLoupeOn, pointer } = store.state;
  glass.hidden = !isLoupeOn || !pointer;
  if (glass.hidden) return;
  const size = Math.round(glass.offsetWidth * devicePixelRatio);
  if (glass.width !== size) glass.width = glass.height = size;
  const context = glass.getContext("2d");
  const scale = Math.max(viewport.scale * TIMES, LEAST_SCALE);
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, size, size);
  paint(context, scale, size / 2 - pointer.x * scale, size / 2 - pointer.y * scale);
  cross(context, size);
  place(glass, canvas, viewport.toCanvas(pointer.x, pointer.y));
}

function cross(context, size) {
  context.setTransform(1, 0, 0, 1, 0, 0);
  for (const [colour, width] of [
    ["#000000", 3],
    ["#ffffff", 1],
  ]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(size / 2 - 10, size / 2);
    context.lineTo(size / 2 + 10, size / 2);
    context.moveTo(size / 2, size / 2 - 10);
    context.lineTo(size / 2, size / 2 + 10);
    context.stroke();
  }
}

/** To the right of the pointer and above it, or on the other side where there is no room. */
function place(glass, canvas, at) {
  const x = at.x / devicePixelRatio;
  const y = at.y / devicePixelRatio;
  const size = glass.offsetWidth;
  const left = x + AWAY_PX + size <= canvas.clientWidth ? x + AWAY_PX : x - AWAY_PX - size;
  const top = y - AWAY_PX - size >= 0 ? y - AWAY_PX - size : y + AWAY_PX;
  glass.style.left = `${Math.max(left, 0)}px`;
  glass.style.top = `${Math.min(Math.max(top, 0), canvas.clientHeight - size)}px`;
}
