// Playing, where the playhead is, and the marks.

import { commandButton, refreshButtons } from "../buttons.js";
import { byId, element, setIcon } from "../dom.js";
import { goTo, pause, SPEEDS } from "../playback.js";
import { store } from "../state.js";

const DIGITS = 5;

export function startTransport() {
  const number = element("input", {
    class: "field field-number",
    type: "number",
    min: 0,
    "aria-label": "Frame",
    id: "frame-number",
    on: { change: () => jump(number), keydown: (event) => event.key === "Enter" && number.blur() },
  });
  const count = element("span", { class: "quiet number" });
  const time = element("span", { class: "quiet number" });
  const speed = element(
    "select",
    { class: "field", "aria-label": "Playing speed", on: { change: () => store.set({ speed: Number(speed.value) }) } },
    ...SPEEDS.map((value) => element("option", { value }, `${value}×`)),
  );
  const marks = element("span", { class: "quiet number" });
  const unmark = element(
    "button",
    {
      type: "button",
      class: "button button-small button-quiet",
      on: { click: () => store.set({ marks: { first: null, last: null } }) },
    },
    "Clear",
  );
  byId("transport").append(
    ...["first", "step-back", "play", "step-forward", "last"].map((id) => commandButton(id)),
    element("span", { class: "divider" }),
    element("span", { class: "transport-where" }, number, count, time),
    speed,
    element(
      "span",
      { class: "transport-marks" },
      marks,
      unmark,
      commandButton("mark-first", { small: true }),
      commandButton("mark-last", { small: true }),
      element("span", { class: "divider" }),
      commandButton("absent-drag", { text: "Out of sight", small: true }),
    ),
  );
  store.on(["frame", "video"], ({ frame, video }) => {
    if (document.activeElement !== number) number.value = frame;
    number.max = video ? video.frames - 1 : 0;
    count.textContent = video ? `/ ${video.frames - 1}` : "";
    time.textContent = video ? shownTime(frame / (video.rate || 25)) : "";
  });
  store.on(["speed"], (state) => {
    speed.value = state.speed;
  });
  store.on(["marks"], (state) => {
    const { first, last } = state.marks;
    const isSet = first !== null || last !== null;
    marks.textContent = isSet ? `Marks ${first ?? "…"} – ${last ?? "…"}` : "";
    unmark.hidden = !isSet;
  });
  store.on(["isPlaying"], ({ isPlaying }) => {
    const button = byId("transport").querySelector('[data-command="play"]');
    setIcon(button, isPlaying ? "pause" : "play");
    button.setAttribute("aria-label", isPlaying ? "Pause" : "Play");
  });
  refreshButtons();
}

function jump(field) {
  pause();
  if (Number.isFinite(field.valueAsNumber)) goTo(field.valueAsNumber);
  field.value = store.state.frame;
}

function shownTime(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds % 60).toFixed(2).padStart(DIGITS, "0")}`;
}
