// Tracking: for whom, in which direction; progress while it runs; carrying a correction on.

import { commandButton, refreshButtons } from "../buttons.js";
import { commandOf } from "../commands.js";
import { byId, element, replace } from "../dom.js";
import { chosenObject, correctedFrame, markedSpan, nameOf, store } from "../state.js";

let running = null;

export function startTracking() {
  store.on(["job", "objects", "chosen", "trackAll", "marks", "prompts", "shown", "rows", "corrected"], draw);
}

function draw({ job }) {
  if (!job) {
    running = null;
    replace(byId("tracking"), ...idle());
  } else {
    // Progress comes many times a second: only its numbers change, so that the button stays under the hand.
    if (running?.title !== job.title) {
      running = makeRunning(job);
      replace(byId("tracking"), running.node);
    }
    running.show(job);
  }
  refreshButtons();
}

function makeRunning({ title, kind }) {
  const fill = element("div");
  const bar = element("div", { class: "progress", role: "progressbar", "aria-label": title, "aria-valuemin": 0 }, fill);
  const count = element("span", { class: "number" });
  const time = element("span");
  const node = element(
    "div",
    { class: "track-running" },
    element("strong", {}, title),
    bar,
    element("div", { class: "track-line quiet" }, count, time),
    commandButton("stop", { text: "Stop", class: "button-bad", tip: "Stop; what was done so far stays" }),
    kind === "track" && element("p", { class: "quiet" }, "You can go on working: look around, click, correct."),
  );

  function show({ frame, done, total, seconds_left: left }) {
    fill.style.width = `${total ? Math.min((100 * done) / total, 100) : 0}%`;
    bar.setAttribute("aria-valuemax", total ?? Math.max(done, 1));
    bar.setAttribute("aria-valuenow", done);
    count.textContent =
      (total ? `${done} of ${total} frames` : `${done} frames`) +
      (kind === "track" && frame !== null ? `, now ${frame}` : "");
    time.textContent = left === null || left === undefined ? "" : `${shownSeconds(left)} left`;
  }

  return { title, node, show };
}

function shownSeconds(seconds) {
  if (seconds < 60) return `${Math.max(Math.ceil(seconds), 1)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes} min ${Math.round(seconds % 60)} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function idle() {
  const { objects, prompts, trackAll } = store.state;
  const object = chosenObject();
  const corrected = correctedFrame();
  const isCorrected = Boolean(object) && corrected !== null;
  const canCarryOn = isCorrected || commandOf("retrack").can();
  const unlocked = objects.filter(({ locked }) => !locked).length;
  const choice = element(
    "select",
    {
      class: "field",
      "aria-label": "Which objects to track",
      data: { key: "track-for" },
      on: { change: () => store.set({ trackAll: choice.value === "all" }) },
    },
    object && element("option", { value: "one" }, nameOf(object)),
    element("option", { value: "all" }, `All objects (${unlocked})`),
  );
  choice.value = trackAll || !object ? "all" : "one";
  const span = markedSpan();
  return [
    canCarryOn &&
      element(
        "div",
        { class: "carry" },
        isCorrected && element("p", {}, `You corrected ${nameOf(object)} on frame ${corrected}.`),
        commandButton("retrack", {
          text: "Carry correction on",
          class: isCorrected ? "button-main button-wide" : "button-wide",
          tip: "Track this object again from here, until it agrees with what was there",
        }),
      ),
    element("label", { class: "track-for" }, element("span", { class: "quiet" }, "Track"), choice),
    element(
      "div",
      { class: "track-ways" },
      commandButton("track-backward", { text: "Backward", tip: "Track backward from this frame" }),
      commandButton("track-forward", {
        text: "Forward",
        class: isCorrected ? "" : "button-main",
        tip: "Track forward from this frame",
      }),
      commandButton("track-both", { text: "Whole video" }),
      commandButton("track-between", {
        text: span ? `${span.first}–${span.last}` : "Between marks",
        tip: span ? "Track between the marks" : "Set marks with I and O first",
      }),
    ),
    prompts.length === 0 && element("p", { class: "quiet track-why" }, "Mark an object first: click it or draw a box."),
  ];
}
