// The bar at the top: which video, undo and redo, how much is left to check, export, theme, help.

import { commandButton, refreshButtons } from "../buttons.js";
import { openNext } from "../dialogs/queue.js";
import { byId, element, icon, replace, setIcon } from "../dom.js";
import { isDark } from "../theme.js";
import { store } from "../state.js";

export function startBar() {
  byId("bar-history").append(commandButton("undo"), commandButton("redo"), commandButton("versions"));
  byId("bar-end").append(
    commandButton("theme"),
    commandButton("keys"),
    commandButton("export", { text: "Export", class: "button-main" }),
  );
  store.on(["video", "queue", "pending", "connection", "folder"], drawVideo);
  store.on(["history"], drawHistory);
  store.on(["progress", "video", "queue"], drawReview);
  document.addEventListener("theme", drawTheme);
  drawTheme();
}

function drawVideo({ video, queue, pending, connection, folder }) {
  document.title = video ? `${video.name} – vidseg annotate` : "vidseg annotate";
  const isSaved = pending === 0 && connection === "open";
  replace(
    byId("bar-video"),
    video && element("strong", { data: { tip: folder ? `Saved in ${folder}` : "" } }, video.name),
    queue.length > 1 && commandButton("queue", { text: `${(video?.index ?? 0) + 1} of ${queue.length}`, small: true }),
    video &&
      element(
        "span",
        { class: "badge", data: { tip: `Every step is saved at once in ${folder}` } },
        isSaved && icon("check"),
        isSaved ? "Saved" : connection === "open" ? "Saving…" : "Not connected",
      ),
  );
  refreshButtons();
}

function drawHistory({ history }) {
  for (const [id, title] of [
    ["undo", history.undo],
    ["redo", history.redo],
  ]) {
    const button = byId("bar-history").querySelector(`[data-command="${id}"]`);
    const name = id === "undo" ? "Undo" : "Redo";
    button.dataset.tip = title ? `${name}: ${title}` : `Nothing to ${id}`;
    button.setAttribute("aria-label", title ? `${name}: ${title}` : name);
  }
  refreshButtons();
}

function drawReview({ progress, video, queue }) {
  if (!video) return replace(byId("bar-review"));
  const { reviewed, frames, doubtful } = progress;
  const isDone = frames > 0 && reviewed >= frames;
  const bar = element("div");
  bar.style.width = `${frames ? (100 * reviewed) / frames : 0}%`;
  const hasNext = queue.some(({ status, index }) => status !== "reviewed" && index !== video.index);
  replace(
    byId("bar-review"),
    element(
      "span",
      { class: "group" },
      commandButton("previous-doubt", { small: true }),
      element(
        "span",
        {
          class: doubtful ? "badge badge-warn" : "badge badge-good",
          data: { tip: "Doubtful frames that nobody has checked yet" },
        },
        icon(doubtful ? "warning" : "check"),
        doubtful ? `${doubtful} doubtful` : "No doubts",
      ),
      commandButton("next-doubt", { small: true }),
    ),
    element(
      "span",
      { class: "checked" },
      element("span", { class: "quiet number" }, `${reviewed}/${frames} checked`),
      element(
        "span",
        {
          class: "progress",
          role: "progressbar",
          "aria-label": "Checked frames",
          "aria-valuemin": 0,
          "aria-valuemax": frames,
          "aria-valuenow": reviewed,
        },
        bar,
      ),
    ),
    isDone &&
      hasNext &&
      element(
        "button",
        { type: "button", class: "button button-small", data: { key: "next-video" }, on: { click: openNext } },
        icon("film"),
        "Next video",
      ),
  );
  refreshButtons();
}

function drawTheme() {
  const button = byId("bar-end").querySelector('[data-command="theme"]');
  setIcon(button, isDark() ? "sun" : "moon");
}
