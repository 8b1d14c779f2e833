// Facts of the chosen object on this frame; checking and flagging it.

import { commandButton, refreshButtons } from "../buttons.js";
import { byId, element, icon, replace } from "../dom.js";
import {
  chosenObject,
  doubtsOn,
  flagOn,
  isReviewed,
  kindOn,
  KINDS,
  markedSpan,
  masksOn,
  nameOf,
  promptOn,
  REASONS,
  store,
} from "../state.js";

export function startFrame() {
  store.on(
    [
      "shown",
      "chosen",
      "objects",
      "masks",
      "rows",
      "prompts",
      "reviewed",
      "flags",
      "doubts",
      "absent",
      "marks",
      "video",
    ],
    draw,
  );
}

function draw({ shown, video }) {
  if (!video) return replace(byId("frame-facts"));
  const flag = flagOn(shown);
  const span = markedSpan();
  const isDone = isReviewed(shown);
  replace(
    byId("frame-facts"),
    facts(shown),
    ...doubtsOn(shown).map(doubtNote),
    flag && element("p", { class: "note" }, icon("flag-full"), element("span", {}, flag.note || "Flagged")),
    element(
      "div",
      { class: "frame-actions" },
      commandButton("reviewed", {
        text: span ? `Check ${span.first}–${span.last}` : isDone ? "Checked" : "Mark as checked",
        small: true,
        class: isDone && !span ? "is-done" : "",
      }),
      commandButton("flag", { text: flag ? "Edit flag" : "Flag…", small: true }),
    ),
  );
  refreshButtons();
}

function facts(frame) {
  const object = chosenObject();
  if (!object) return element("p", { class: "quiet" }, "Choose an object to see how sure the tracker is of it here.");
  const mask = masksOn(frame)?.get(object.id);
  const score = mask?.score ?? (store.state.rows.get(object.id)?.scores[frame] ?? 0) / 100;
  const prompt = promptOn(object.id, frame);
  const isKnown = kindOn(object.id, frame) !== ".";
  return element(
    "dl",
    { class: "facts" },
    fact(nameOf(object), KINDS[kindOn(object.id, frame)]),
    isKnown && fact("Certainty", element("span", { class: "number" }, `${Math.round(100 * score)} %`)),
    isKnown && fact("Area", element("span", { class: "number" }, `${(mask?.area ?? 0).toLocaleString("en")} px`)),
    fact("Your input", prompt ? shownPrompt(prompt) : "none"),
  );
}

function fact(name, value) {
  return element("div", { class: "fact" }, element("dt", {}, name), element("dd", {}, value));
}

function shownPrompt({ box, points = [], drawn }) {
  const count = points.length;
  return [box && "box", count && `${count} ${count === 1 ? "click" : "clicks"}`, drawn && "drawing"]
    .filter(Boolean)
    .join(", ");
}

function doubtNote({ frames: [first, last], objects, reason }) {
  const names = store.state.objects
    .filter(({ id }) => objects.includes(id))
    .map(nameOf)
    .join(", ");
  const where = first === last ? `frame ${first}` : `frames ${first}–${last}`;
  return element(
    "p",
    { class: "note" },
    icon("warning"),
    element("span", {}, `${REASONS[reason] ?? reason}${names ? `: ${names}` : ""} (${where})`),
  );
}
