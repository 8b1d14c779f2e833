// Tracking: for whom, in which direction; progress while it runs; carrying a correction on.

import { commandButton, refreshButtons } from "../buttons.js";
import { commandOf } from "../commands.js";
import { byId, element, replace } from "../dom.js";
import { chosenObject, markedSpan, nameOf, store } from "../state.js";

export function startTracking() {
  store.on(["job", "objects", "chosen", "trackAll", "marks", "prompts", "shown", "rows", "corrected"], draw);
}

function draw({ job }) {
  replace(byId("tracking"), ...(job ? running(job) : idle()));
  refreshButtons();
}

function running({ title, kind, frame, done, total, seconds_left: left }) {
  const bar = element("div");
  bar.style.width = `${total ? Math.min((100 * done) / total, 100) : 0}%`;
  return [
    element(
      "div",
      { class: "track-running" },
      element("strong", {}, title),
      element("div", { class: "progress", role: "progressbar", "aria-label": title, "aria-valuemin": 0, "aria-valuemax": total ?? 100, "aria-valuenow": done }, bar),
      element(
        "div",
        { class: "track-line quiet" },
        element("span", { class: "number" }, total ? `${done} of ${total} frames` : `${done} frames`),
        element("span", {}, left === null || left === undefined ? "" : `${shownSeconds(left)} left`),
      ),
      commandButton("stop", { text: kind === "track" ? `Stop at frame ${frame ?? ""}` : "Stop", class: "button-bad", tip: "Stop; what was done so far stays" }),
      kind === "track" && element("p", { class: "quiet" }, "You can go on working: look around, click, correct."),
    ),
  ];
}

export function shownSeconds(seconds) {
  if (seconds < 60) return `${Math.max(Math.ceil(seconds), 1)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function idle() {
  const { objects, prompts, trackAll } = store.state;
  const object = chosenObject();
  const { corrected } = store.state;
  const isCorrected = Boolean(object) && corrected?.object === object.id;
  const canCarryOn = isCorrected || commandOf("retrack").can();
  const unlocked = objects.filter(({ locked }) => !locked).length;
  const choice = element(
    "select",
    { class: "field", "aria-label": "Which objects to track", data: { key: "track-for" }, on: { change: () => store.set({ trackAll: choice.value === "all" }) } },
    object && element("option", { value: "one" }, nameOf(object)),
    element("option", { value: "all" }, `All objects (${unlocked})`),
  );
  choice.value = trackAll || !object ? "all" : "one";
  const span = markedSpan();
  return [
    canCarryOn && element(
      "div",
      { class: "carry" },
      isCorrected && element("p", {}, `You corrected ${nameOf(object)} on frame ${corrected.frame}.`),
      commandButton("retrack", { text: "Carry correction on", class: isCorrected ? "button-main button-wide" : "button-wide", tip: "Track this object again from here, until it agrees with what was there" }),
    ),
    element("label", { class: "track-for" }, element("span", { class: "quiet" }, "Track"), choice),
    element(
      "div",
      { class: "track-ways" },
      commandButton("track-backward", { text: "Back from here" }),
      commandButton("track-forward", { text: "On from here", class: isCorrected ? "" : "button-main" }),
      commandButton("track-both", { text: "Whole video" }),
      commandButton("track-between", { text: span ? `${span.first}–${span.last}` : "Between marks", tip: span ? "Track between the marks" : "Set marks with I and O first" }),
    ),
    prompts.length === 0 && element("p", { class: "quiet track-why" }, "Mark an object first: click it or draw a box."),
  ];
}
