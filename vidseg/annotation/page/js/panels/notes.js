// What lies over the picture in words: the tool's hint, brush size, states of the frame, and messages where there is no picture.

import { byId, element, icon, replace } from "../dom.js";
import { doubtsOn, flagOn, isReviewed, kindOn, REASONS, store } from "../state.js";
import { TOOLS } from "../tools/tools.js";
import { sized } from "../stage.js";

export function startNotes() {
  store.on(["tool", "isCrosshairOn", "chosen", "objects", "marksAbsent"], drawHint);
  store.on(["tool", "brushPx"], drawBrush);
  store.on(["shown", "frame", "reviewed", "flags", "doubts", "rows", "absent", "chosen", "missing"], drawBadges);
  store.on(["video", "connection", "missing"], drawMessage);
  store.on(["connection"], drawCover);
}

function drawHint({ tool, isCrosshairOn, chosen, objects, marksAbsent }) {
  const text = marksAbsent
    ? "Drag along an object's row below, over the frames where it is out of sight. Esc ends this."
    : isCrosshairOn
      ? "Arrow keys move the crosshair, Enter presses, Shift+Enter presses the right button, Esc leaves."
      : objects.length > 0 && chosen === null && tool === "click"
        ? "Click the new object."
        : TOOLS[tool].hint;
  byId("hint").textContent = text;
}

function drawBrush({ tool, brushPx }) {
  const shown = byId("brush-size");
  shown.hidden = !TOOLS[tool].sized;
  const range = shown.querySelector("input");
  if (Number(range.value) !== brushPx) range.value = brushPx;
  shown.querySelector("output").textContent = `${brushPx} px`;
}

/** The slider of the brush's width; made once, so that it is not replaced under a hand that drags it. */
export function makeBrushSize() {
  const range = element("input", {
    type: "range",
    min: 1,
    max: 200,
    value: 24,
    id: "brush-range",
    on: { input: () => store.set({ brushPx: sized(range.valueAsNumber) }) },
  });
  byId("stage").append(
    element(
      "div",
      { class: "brush-size", id: "brush-size", hidden: true },
      element("label", { for: "brush-range" }, "Width"),
      range,
      element("output", { class: "number" }),
    ),
  );
}

function drawBadges({ shown, frame, chosen }) {
  const flag = flagOn(shown);
  const kind = chosen === null ? "." : kindOn(chosen, shown);
  replace(
    byId("stage-note"),
    shown !== frame && badge(`Frame ${shown}, loading ${frame}…`),
    isReviewed(shown) && badge("Checked", "check", "badge-good"),
    flag && badge(flag.note ? `Flag: ${short(flag.note)}` : "Flagged", "flag-full", "badge-warn"),
    ...doubtsOn(shown).map(({ reason }) => badge(REASONS[reason] ?? reason, "warning", "badge-warn")),
    (kind === "a" || kind === "X") &&
      badge(kind === "a" ? "The tracker says: out of sight" : "Set out of sight by you", "absent"),
  );
}

function badge(text, name, kind = "") {
  return element("span", { class: `badge ${kind}` }, name && icon(name), text);
}

function short(text) {
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

function drawMessage({ video, connection, missing }) {
  const message = byId("stage-message");
  const isWaiting = !video && (connection === "connecting" || connection === "open");
  message.hidden = !isWaiting && !(missing && video);
  if (isWaiting) replace(message, icon("film"), element("p", {}, "The video is being opened…"));
  else if (missing) {
    replace(
      message,
      icon("warning"),
      element("strong", {}, `Frame ${missing.frame} cannot be shown.`),
      element("p", { class: "quiet" }, missing.message),
      element("p", { class: "quiet" }, "Other frames may be fine: go on with the arrow keys."),
    );
  }
}

const COVERS = {
  lost: [
    "The server is not reached",
    "Everything up to your last step is saved. The page goes on by itself as soon as the server is there again. If the command was stopped, start it again and open the address that it prints.",
  ],
  refused: ["This page is out of date", "The server was started again. Open the address that the command printed."],
};

function drawCover({ connection }) {
  const cover = byId("cover");
  cover.hidden = !(connection in COVERS);
  if (cover.hidden) return;
  const [title, text] = COVERS[connection];
  replace(
    cover,
    element("div", { class: "cover-card" }, element("h2", {}, icon("warning"), title), element("p", {}, text)),
  );
}
