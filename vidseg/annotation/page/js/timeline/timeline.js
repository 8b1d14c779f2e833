// The timeline below the picture: dragging on it moves the playhead, or sets an object absent.

import { setAbsent } from "../actions.js";
import { byId, element, oncePerFrame, replace } from "../dom.js";
import { goTo, pause } from "../playback.js";
import { kindOn, nameOf, store } from "../state.js";
import { paintTimeline, readColours } from "./painter.js";
import { Scale } from "./scale.js";

const ROW_REM = 1.7143;
const ZOOM_PER_PX = 1.002;

const canvas = byId("timeline-canvas");
const scale = new Scale();
let colours = null;
let rowHeight = 24;
let dragged = null;
let isScrubbing = false;

export function startTimeline() {
  const redraw = oncePerFrame(draw);
  store.on(["objects", "chosen", "video"], drawNames);
  store.on(["video"], ({ video }) => scale.setCount(video?.frames ?? 1));
  store.on(["frame"], ({ frame }) => scale.show(frame));
  const drawn = [
    "frame",
    "video",
    "objects",
    "chosen",
    "rows",
    "prompts",
    "absent",
    "reviewed",
    "flags",
    "doubts",
    "marks",
  ];
  store.on(drawn, redraw);
  new ResizeObserver(redraw).observe(byId("timeline-body"));
  const recolour = () => {
    colours = null;
    redraw();
  };
  document.addEventListener("theme", recolour);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  canvas.addEventListener("pointerdown", onDown);
  canvas.addEventListener("pointermove", (event) => onMove(event, redraw));
  canvas.addEventListener("pointerup", () => onUp(redraw));
  canvas.addEventListener("pointercancel", giveUpDrag);
  canvas.addEventListener("wheel", (event) => onWheel(event, redraw), { passive: false });
}

function draw() {
  const { objects, video, frame } = store.state;
  colours ??= readColours();
  rowHeight = Math.round(ROW_REM * parseFloat(getComputedStyle(document.documentElement).fontSize));
  const width = Math.max(canvas.parentElement.clientWidth - byId("timeline-names").offsetWidth, 1);
  const height = rowHeight * (objects.length + 1);
  canvas.width = Math.round(width * devicePixelRatio);
  canvas.height = Math.round(height * devicePixelRatio);
  canvas.style.height = `${height}px`;
  scale.setWidth(width);
  const context = canvas.getContext("2d");
  context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  paintTimeline(context, { scale, width, rowHeight, colours, dragged });
  canvas.setAttribute("aria-valuemax", video ? video.frames - 1 : 0);
  canvas.setAttribute("aria-valuenow", frame);
  canvas.setAttribute("aria-valuetext", `Frame ${frame}`);
}

function drawNames({ objects, chosen }) {
  replace(byId("timeline-names"), ...objects.map((object) => nameRow(object, object.id === chosen)));
}

function nameRow(object, isChosen) {
  const swatch = element("span", { class: "timeline-swatch" });
  swatch.style.background = object.colour;
  return element(
    "button",
    {
      type: "button",
      class: isChosen ? "timeline-name is-chosen" : "timeline-name",
      "aria-pressed": String(isChosen),
      data: { key: `row-${object.id}` },
      on: { click: () => store.set({ chosen: object.id }) },
    },
    swatch,
    element("span", {}, nameOf(object)),
  );
}

function rowAt(event) {
  return Math.floor(event.offsetY / rowHeight) - 1;
}

function onDown(event) {
  const { objects, marksAbsent, video } = store.state;
  if (event.button !== 0 || !video) return;
  canvas.setPointerCapture(event.pointerId);
  const row = rowAt(event);
  const object = objects[row];
  if (object) store.set({ chosen: object.id });
  if (object && !object.locked && (marksAbsent || event.shiftKey)) {
    const frame = scale.frameAt(event.offsetX);
    dragged = { row, object: object.id, start: frame, end: frame };
    return;
  }
  isScrubbing = true;
  pause();
  goTo(scale.frameAt(event.offsetX));
}

function onMove(event, redraw) {
  if (dragged) {
    dragged.end = scale.frameAt(event.offsetX);
    redraw();
  } else if (isScrubbing) {
    goTo(scale.frameAt(event.offsetX));
  }
}

/** Let a drag change nothing. @returns {boolean} whether there was one */
export function giveUpDrag() {
  const was = dragged !== null;
  isScrubbing = false;
  dragged = null;
  if (was) draw();
  return was;
}

function onUp(redraw) {
  isScrubbing = false;
  if (!dragged) return;
  const { object, start, end } = dragged;
  dragged = null;
  redraw();
  // Where the drag begins on frames that are set absent already, it takes that back.
  setAbsent(object, Math.min(start, end), Math.max(start, end), kindOn(object, start) !== "X");
}

function onWheel(event, redraw) {
  const isSideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
  event.preventDefault();
  if (isSideways) scale.panBy((event.deltaX || event.deltaY) / scale.pxPerFrame);
  else scale.zoomBy(ZOOM_PER_PX ** -event.deltaY, event.offsetX);
  redraw();
}
