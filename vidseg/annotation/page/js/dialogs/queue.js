// The videos of a folder: which are done, and opening another one.

import { send } from "../actions.js";
import { element, icon } from "../dom.js";
import { store } from "../state.js";
import { mainButton, openDialog } from "./dialog.js";

const WORDS = { new: "not begun", begun: "begun", open: "open now", reviewed: "checked" };

export function openQueue() {
  const { queue, video } = store.state;
  const done = queue.filter(({ status }) => status === "reviewed").length;
  const dialog = openDialog({
    title: "Videos",
    body: [
      element("p", { class: "quiet" }, `${done} of ${queue.length} checked`),
      element("ul", { class: "list" }, ...queue.map(row)),
    ],
    feet: [mainButton("Close")],
  });

  function row({ index, name, status }) {
    const isOpen = index === video?.index;
    return element(
      "li",
      { class: isOpen ? "is-chosen" : "" },
      element("strong", {}, name),
      element(
        "span",
        { class: status === "reviewed" ? "badge badge-good" : "badge" },
        status === "reviewed" && icon("check"),
        WORDS[status] ?? status,
      ),
      element(
        "button",
        {
          type: "button",
          class: "button button-small",
          disabled: isOpen,
          "aria-label": `Open ${name}`,
          on: { click: () => open(index) },
        },
        "Open",
      ),
    );
  }

  function open(index) {
    dialog.close();
    send("open", { video: index });
  }
}

/** Open the next video of the queue that is not checked. */
export function openNext() {
  const { queue, video } = store.state;
  const later = [...queue.slice(video.index + 1), ...queue.slice(0, video.index)];
  const next = later.find(({ status }) => status !== "reviewed");
  if (next) send("open", { video: next.index });
}
