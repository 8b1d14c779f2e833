// Draws the timeline: the ruler with what concerns the whole frame, and a row for each object.

import { store } from "../state.js";
import { RowPictures } from "./states.js";

const TICK_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000];
const LEAST_TICK_PX = 64;

const rowPictures = new RowPictures();

/** The page's colours, read when they change: a canvas knows no CSS variables. */
export function readColours() {
  const style = getComputedStyle(document.documentElement);
  const probe = document.createElement("span");
  document.body.append(probe);
  const colours = {};
  for (const name of [
    "surface",
    "raised",
    "line",
    "edge",
    "text",
    "quiet",
    "accent",
    "chosen",
    "good",
    "warn",
    "bad",
    "track",
  ]) {
    probe.style.color = `var(--${name})`;
    colours[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  colours.font = `${0.7857 * parseFloat(style.fontSize)}px ${style.getPropertyValue("--mono")}`;
  return colours;
}

/**
 * @param {CanvasRenderingContext2D} context in CSS pixels
 * @param {{scale: import("./scale.js").Scale, width: number, rowHeight: number, colours: Object, dragged: Object|null}} view
 */
export function paintTimeline(context, view) {
  const { objects, chosen } = store.state;
  const { width, rowHeight, colours } = view;
  context.fillStyle = colours.surface;
  context.fillRect(0, 0, width, rowHeight * (objects.length + 1));
  paintRuler(context, view);
  objects.forEach((object, at) => {
    const top = rowHeight * (at + 1);
    if (object.id === chosen) {
      context.fillStyle = colours.chosen;
      context.fillRect(0, top, width, rowHeight);
    }
    paintRow(context, view, object, top);
  });
  paintMarks(context, view, rowHeight * (objects.length + 1));
  paintPlayhead(context, view, rowHeight * (objects.length + 1));
}

function span(view, first, last, leastPx = 2) {
  const left = view.scale.placeOf(first);
  return [left, Math.max(view.scale.placeOf(last + 1) - left, leastPx)];
}

function paintRuler(context, view) {
  const { width, rowHeight, colours, scale } = view;
  const { reviewed, doubts, flags, video } = store.state;
  context.fillStyle = colours.raised;
  context.fillRect(0, 0, width, rowHeight);
  context.fillStyle = colours.good;
  for (const [first, last] of reviewed) context.fillRect(...insert(span(view, first, last), rowHeight - 3, 3));
  context.fillStyle = colours.warn;
  for (const { frames } of doubts) context.fillRect(...insert(span(view, ...frames), rowHeight - 7, 3));
  const step =
    TICK_STEPS.find((frames) => frames * scale.pxPerFrame >= LEAST_TICK_PX) ?? TICK_STEPS[TICK_STEPS.length - 1];
  context.font = colours.font;
  context.textBaseline = "middle";
  for (
    let frame = Math.ceil(scale.first / step) * step;
    frame < Math.min(scale.first + scale.seen, video?.frames ?? 0);
    frame += step
  ) {
    const x = scale.placeOf(frame);
    context.fillStyle = colours.edge;
    context.fillRect(x, 0, 1, 5);
    context.fillStyle = colours.quiet;
    context.fillText(frame, x + 4, rowHeight * 0.42);
  }
  for (const { frame } of flags) paintFlag(context, scale.placeOf(frame), colours);
}

function insert([left, width], top, height) {
  return [left, top, width, height];
}

function paintFlag(context, x, colours) {
  context.fillStyle = colours.bad;
  context.fillRect(x, 1, 1.5, 13);
  context.beginPath();
  context.moveTo(x + 1, 1);
  context.lineTo(x + 9, 4);
  context.lineTo(x + 1, 8);
  context.fill();
}

/** A band for the state, a line for the certainty, a pale hill for the area, diamonds for a person's input. */
function paintRow(context, view, object, top) {
  const { width, rowHeight, colours } = view;
  const row = store.state.rows.get(object.id);
  const inner = { top: top + 3, height: rowHeight - 6 };
  context.fillStyle = colours.track;
  context.fillRect(0, inner.top, width, inner.height);
  context.globalAlpha = object.visible ? 1 : 0.4;
  if (row) context.drawImage(rowPictures.get(object, row, view, inner.height), 0, inner.top, width, inner.height);
  for (const { object: id, first, last } of store.state.absent) {
    if (id === object.id) paintSetAbsent(context, span(view, first, last), inner, colours);
  }
  for (const { frames, objects } of store.state.doubts) {
    if (!objects.includes(object.id)) continue;
    context.fillStyle = colours.warn;
    context.fillRect(...insert(span(view, ...frames, 3), top + rowHeight - 4, 3));
  }
  for (const prompt of store.state.prompts)
    if (prompt.object === object.id) paintPrompt(context, view, prompt, top + rowHeight / 2);
  context.globalAlpha = 1;
}

/** Where a person said that the object is out of sight: an empty track with a line in it. */
function paintSetAbsent(context, [left, width], { top, height }, colours) {
  context.fillStyle = colours.track;
  context.fillRect(left, top, width, height);
  context.fillStyle = colours.bad;
  context.fillRect(left, top + height / 2 - 1, width, 2);
}

function paintPrompt(context, view, { frame, drawn }, y) {
  const x = view.scale.placeOf(frame + 0.5);
  const reach = 5;
  context.beginPath();
  if (drawn) {
    context.rect(x - reach + 1, y - reach + 1, 2 * reach - 2, 2 * reach - 2);
  } else {
    context.moveTo(x, y - reach);
    context.lineTo(x + reach, y);
    context.lineTo(x, y + reach);
    context.lineTo(x - reach, y);
    context.closePath();
  }
  context.fillStyle = view.colours.text;
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = view.colours.surface;
  context.stroke();
}

function paintMarks(context, view, height) {
  const { first, last } = store.state.marks;
  context.fillStyle = view.colours.accent;
  if (first !== null && last !== null) {
    context.globalAlpha = 0.14;
    context.fillRect(...insert(span(view, Math.min(first, last), Math.max(first, last)), 0, height));
    context.globalAlpha = 1;
  }
  if (first !== null) bracket(context, view.scale.placeOf(first), 1, height);
  if (last !== null) bracket(context, view.scale.placeOf(last + 1), -1, height);
  if (view.dragged) {
    const { start, end, row } = view.dragged;
    context.globalAlpha = 0.55;
    context.fillStyle = view.colours.bad;
    context.fillRect(
      ...insert(
        span(view, Math.min(start, end), Math.max(start, end)),
        view.rowHeight * (row + 1) + 3,
        view.rowHeight - 6,
      ),
    );
    context.globalAlpha = 1;
  }
}

function bracket(context, x, direction, height) {
  context.fillRect(x - (direction > 0 ? 0 : 2), 0, 2, height);
  context.fillRect(direction > 0 ? x : x - 6, 0, 6, 2);
}

function paintPlayhead(context, view, height) {
  const [left, width] = span(view, store.state.frame, store.state.frame, 1);
  const middle = left + width / 2;
  context.fillStyle = view.colours.text;
  context.globalAlpha = 0.22;
  if (width > 3) context.fillRect(left, 0, width, height);
  context.globalAlpha = 1;
  context.fillRect(middle - 0.75, 0, 1.5, height);
  context.beginPath();
  context.moveTo(middle - 5, 0);
  context.lineTo(middle + 5, 0);
  context.lineTo(middle, 7);
  context.fill();
}
