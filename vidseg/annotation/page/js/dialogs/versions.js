// Earlier versions of masks, and taking one back.

import { send } from "../actions.js";
import { element, icon } from "../dom.js";
import { nameOf, objectOf, store } from "../state.js";
import { mainButton, openDialog } from "./dialog.js";

export function openVersions() {
  const { versions } = store.state.history;
  const dialog = openDialog({
    title: "Earlier versions",
    body: [
      versions.length > 0
        ? element(
            "p",
            {},
            "Before each of these the masks were kept. Taking them back is a step of its own, which can be undone.",
          )
        : element(
            "p",
            {},
            "There is none yet. Each time an object is tracked or corrected, its masks from before are kept here, ten times.",
          ),
      versions.length > 0 && element("ul", { class: "list" }, ...versions.flatMap(rows)),
    ].filter(Boolean),
    feet: [mainButton("Close")],
  });

  function rows({ version, title, objects, time }) {
    return objects
      .filter(objectOf)
      .map((id) =>
        element(
          "li",
          {},
          element("span", {}, element("strong", {}, `Before: ${title}`), element("small", {}, nameOf(objectOf(id)))),
          element("time", { class: "quiet number", dateTime: time }, shownTime(time)),
          element(
            "button",
            { type: "button", class: "button button-small", on: { click: () => restore(version, id) } },
            icon("history"),
            "Take back",
          ),
        ),
      );
  }

  function restore(version, object) {
    dialog.close();
    send("restore", { version, object });
  }
}

function shownTime(time) {
  return new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}
