// The canvas: the picture, masks, prompts and what a tool is drawing; pointers on it become pixels of the video.

import { byId, oncePerFrame } from "./dom.js";
import { drawLoupe } from "./loupe.js";
import { covers, PaintedMasks } from "./masks.js";
import { pictures } from "./playback.js";
import { dropPreview, wantPreview } from "./preview.js";
import { drawPrompts } from "./prompts.js";
import { onRedraw, redraw } from "./redraw.js";
import { chosenObject, masksOn, store } from "./state.js";
import { paintDrawing } from "./tools/drawing.js";
import { TOOLS } from "./tools/tools.js";
import { Viewport } from "./viewport.js";

const ZOOM_PER_PX = 1.0016;
const BRUSH_PER_NOTCH = 1.12;
/** From this zoom on pixels are shown as squares, as somebody who looks so closely wants to see them. */
const SQUARES_FROM = 3;
const PREVIEW_FILL = 0.3;
const BASE_FONT_PX = 14;

export const viewport = new Viewport();
const paintedMasks = new PaintedMasks();
const canvas = byId("picture");
const context = canvas.getContext("2d");
/** Device pixels of one px of lines and marks: larger on screens where the text is larger, too. */
let inkPx = 1;
/** Device pixels of a CSS pixel when the canvas was sized. On another screen there are more or fewer, and nothing tells of it. */
let density = 0;
let panned = null;
let held = null;

export function startStage() {
  new ResizeObserver(resize).observe(canvas);
  onRedraw(oncePerFrame(draw));
  canvas.addEventListener("pointerdown", onDown);
  canvas.addEventListener("pointermove", onMove);
  canvas.addEventListener("pointerup", onUp);
  canvas.addEventListener("pointercancel", giveUp);
  canvas.addEventListener("pointerleave", onLeave);
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", onWheel, { passive: false });
  store.on(["video"], ({ video }) => {
    if (video) viewport.setVideo(video.width, video.height);
    redraw();
  });
  const drawn = [
    "shown",
    "objects",
    "chosen",
    "masks",
    "prompts",
    "preview",
    "drawn",
    "tool",
    "look",
    "pointer",
    "brushPx",
    "isLoupeOn",
    "isCrosshairOn",
  ];
  store.on(drawn, redraw);
  // What a click would give to another object is no longer true.
  store.on(["chosen"], () => {
    dropPreview();
    wantPreview();
  });
  store.on(["tool"], ({ tool }) => {
    canvas.style.cursor = TOOLS[tool].cursor;
  });
}

/** Give up what is being drawn. Returns whether there was anything. */
export function giveUp() {
  const tool = TOOLS[store.state.tool];
  const isBusy = Boolean(tool.isBusy?.());
  if (isBusy) tool.cancel();
  held = panned = null;
  return isBusy;
}

/** Press, or let go, at the crosshair that the keyboard moves. */
export function pressAtCrosshair(button) {
  const { pointer, tool } = store.state;
  if (!pointer) return;
  const at = { ...pointer, button };
  if (TOOLS[tool].isBusy?.()) return TOOLS[tool].up(at);
  TOOLS[tool].down(at);
}

export function moveCrosshair(dx, dy) {
  const { pointer, tool, video } = store.state;
  const from = pointer ?? { x: video.width / 2, y: video.height / 2 };
  const unitsPerPx = devicePixelRatio / viewport.scale;
  const to = { ...viewport.clamp({ x: from.x + dx * unitsPerPx, y: from.y + dy * unitsPerPx }), unitsPerPx, button: 0 };
  viewport.show(to.x, to.y);
  store.set({ pointer: to });
  TOOLS[tool].move?.(to);
  wantPreview();
}

function resize() {
  density = devicePixelRatio;
  inkPx = (devicePixelRatio * parseFloat(getComputedStyle(document.documentElement).fontSize)) / BASE_FONT_PX;
  canvas.width = Math.max(Math.round(canvas.clientWidth * devicePixelRatio), 1);
  canvas.height = Math.max(Math.round(canvas.clientHeight * devicePixelRatio), 1);
  viewport.setCanvas(canvas.width, canvas.height);
  draw();
}

function pointerOf(event) {
  if (density !== devicePixelRatio) resize();
  const at = viewport.toVideo(event.offsetX * devicePixelRatio, event.offsetY * devicePixelRatio);
  return {
    ...viewport.clamp(at),
    isInside: viewport.contains(at),
    unitsPerPx: devicePixelRatio / viewport.scale,
    button: event.button,
  };
}

function onDown(event) {
  canvas.focus({ preventScroll: true });
  if (!store.state.video) return;
  canvas.setPointerCapture(event.pointerId);
  store.set({ isCrosshairOn: false });
  const tool = TOOLS[store.state.tool];
  const pointer = pointerOf(event);
  if (event.button === 1 || tool.pans || event.ctrlKey) {
    panned = { x: event.clientX, y: event.clientY };
    canvas.style.cursor = "grabbing";
  } else if (event.altKey) {
    chooseAt(pointer);
  } else if ((pointer.isInside || tool.startsOutside) && held === null) {
    held = event.button;
    tool.down(pointer);
  }
}

/** Choose the object whose mask is under the pointer; of several the one that is painted last. */
function chooseAt({ x, y }) {
  const { objects, shown } = store.state;
  const masks = masksOn(shown);
  const found = objects.filter(({ id, visible }) => visible && masks?.has(id) && covers(masks.get(id), x, y));
  if (found.length > 0) store.set({ chosen: found[found.length - 1].id });
}

function onMove(event) {
  if (!store.state.video) return;
  if (panned) {
    viewport.panBy((event.clientX - panned.x) * devicePixelRatio, (event.clientY - panned.y) * devicePixelRatio);
    panned = { x: event.clientX, y: event.clientY };
    return redraw();
  }
  const pointer = pointerOf(event);
  store.set({ pointer: pointer.isInside || held !== null ? pointer : null });
  if (held !== null) {
    // A fast hand moves farther than a frame of the screen: every place in between counts.
    for (const part of event.getCoalescedEvents?.() ?? [event]) TOOLS[store.state.tool].move?.(pointerOf(part));
  } else {
    wantPreview();
  }
}

function onUp(event) {
  if (panned) {
    panned = null;
    canvas.style.cursor = TOOLS[store.state.tool].cursor;
  } else if (held !== null && event.button === held) {
    const tool = TOOLS[store.state.tool];
    held = null;
    if (tool.isBusy?.()) tool.up(pointerOf(event));
  }
}

function onLeave() {
  if (held === null && !store.state.isCrosshairOn) store.set({ pointer: null, preview: null });
}

function onWheel(event) {
  event.preventDefault();
  if (!store.state.video) return;
  const { brushPx, tool } = store.state;
  if (event.altKey && TOOLS[tool].sized)
    return store.set({ brushPx: sized(brushPx * BRUSH_PER_NOTCH ** -Math.sign(event.deltaY)) });
  const unit = event.deltaMode === 1 ? 30 : 1;
  viewport.zoomBy(
    ZOOM_PER_PX ** (-event.deltaY * unit),
    event.offsetX * devicePixelRatio,
    event.offsetY * devicePixelRatio,
  );
  redraw();
}

/** A width of the brush within its bounds, in pixels of the video. */
export function sized(brushPx) {
  return Math.min(Math.max(Math.round(brushPx), 1), 400);
}

function draw() {
  if (density !== devicePixelRatio) return resize();
  const { video, shown } = store.state;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!video) return;
  paint(context, viewport.scale, viewport.left, viewport.top);
  drawTool();
  drawLoupe(byId("loupe"), canvas, viewport, (onto, scale, left, top) => paint(onto, scale, left, top));
  if (pictures.get(shown)) canvas.dataset.shown = shown;
}

/** Draw picture, masks and prompts so that pixel (0, 0) of the video comes to (left, top). */
function paint(onto, scale, left, top) {
  const { shown, video } = store.state;
  onto.setTransform(scale, 0, 0, scale, left, top);
  onto.imageSmoothingEnabled = scale < SQUARES_FROM;
  onto.imageSmoothingQuality = "high";
  const picture = pictures.get(shown);
  if (picture) onto.drawImage(picture, 0, 0, video.width, video.height);
  drawMasks(onto, scale);
  drawPrompts(onto, inkPx / scale);
}

function drawMasks(onto, scale) {
  const { objects, chosen, look, preview, shown } = store.state;
  const edgePx = Math.max(1, Math.round((1.6 * inkPx) / scale));
  const masks = masksOn(shown);
  // The chosen object lies on top of the others.
  const ordered = [...objects].sort((a, b) => (a.id === chosen) - (b.id === chosen));
  for (const object of ordered) {
    const mask = masks?.get(object.id);
    if (!object.visible || !mask?.width || look === "off") continue;
    const fill = look === "outline" ? 0 : object.id === chosen ? 0.5 : 0.38;
    onto.drawImage(paintedMasks.get(mask, object.colour, { fill, edgePx }), mask.left, mask.top);
  }
  if (preview?.mask.width && preview.frame === shown) {
    const colour = objects.find(({ id }) => id === preview.object)?.colour ?? "#ffffff";
    onto.drawImage(
      paintedMasks.get(preview.mask, colour, { fill: PREVIEW_FILL, edgePx }),
      preview.mask.left,
      preview.mask.top,
    );
  }
}

function drawTool() {
  const { tool, pointer, isCrosshairOn, brushPx, drawn, shown } = store.state;
  const { scale } = viewport;
  const colour = chosenObject()?.colour ?? "#ffffff";
  for (const { frame, drawing } of drawn) if (frame === shown) paintDrawing(context, drawing, colour, scale / inkPx);
  TOOLS[tool].draw?.(context, scale / inkPx, colour);
  if (!pointer) return;
  if (TOOLS[tool].sized) ring(pointer.x, pointer.y, brushPx / 2, scale);
  if (isCrosshairOn) crosshair(pointer.x, pointer.y, scale);
}

/** Dark and light lines side by side are seen on any picture. */
function twice(scale, stroke) {
  for (const [colour, width] of [
    ["#000000", 3],
    ["#ffffff", 1.2],
  ]) {
    context.strokeStyle = colour;
    context.lineWidth = (width * inkPx) / scale;
    stroke();
  }
}

function ring(x, y, radius, scale) {
  twice(scale, () => {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.stroke();
  });
}

function crosshair(x, y, scale) {
  const reach = (18 * inkPx) / scale;
  const gap = (4 * inkPx) / scale;
  twice(scale, () => {
    context.beginPath();
    for (const [dx, dy] of [
      [1, 0],
      [-1, 0],
      [0, 1],
      [0, -1],
    ]) {
      context.moveTo(x + dx * gap, y + dy * gap);
      context.lineTo(x + dx * reach, y + dy * reach);
    }
    context.stroke();
  });
}
