// Prompts on the picture: points with a plus or a minus, boxes. Those of the chosen object stand out.

import { promptOn, store } from "./state.js";

const ON = "#1fa35b";
const OFF = "#d3372f";
const RADIUS_PX = 6.5;

/** @param {CanvasRenderingContext2D} context set to pixels of the video @param {number} unit how many of those a px of this file is */
export function drawPrompts(context, unit) {
  const { objects, chosen, shown, look } = store.state;
  if (look === "off") return;
  for (const object of objects) {
    const prompt = object.visible ? promptOn(object.id, shown) : null;
    if (!prompt) continue;
    context.globalAlpha = object.id === chosen ? 1 : 0.5;
    if (prompt.box) drawBox(context, prompt.box, object.colour, unit);
    prompt.points?.forEach(([x, y], at) => drawPoint(context, x, y, prompt.labels[at] === 1, unit));
    context.globalAlpha = 1;
  }
}

function drawBox(context, [x0, y0, x1, y1], colour, unit) {
  for (const [style, width, dash] of [
    ["#000000", 3.2, []],
    [colour, 1.8, [7, 4]],
  ]) {
    context.strokeStyle = style;
    context.lineWidth = width * unit;
    context.setLineDash(dash.map((length) => length * unit));
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  context.setLineDash([]);
}

function drawPoint(context, x, y, isOn, unit) {
  const radius = RADIUS_PX * unit;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = isOn ? ON : OFF;
  context.fill();
  context.lineWidth = 1.6 * unit;
  context.strokeStyle = "#ffffff";
  context.stroke();
  context.beginPath();
  context.moveTo(x - radius * 0.5, y);
  context.lineTo(x + radius * 0.5, y);
  if (isOn) {
    context.moveTo(x, y - radius * 0.5);
    context.lineTo(x, y + radius * 0.5);
  }
  context.stroke();
}
