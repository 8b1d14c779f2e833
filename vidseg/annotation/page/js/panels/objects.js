// Rows of objects: colour, label, visible, locked, delete, merge.

import * as actions from "../actions.js";
import { commandButton, refreshButtons } from "../buttons.js";
import { byId, element, icon, replace } from "../dom.js";
import { nameOf, objectOf, store } from "../state.js";

let renamed = null;

export function startObjects() {
  store.on(["objects", "chosen", "video"], draw);
  byId("object-actions").append(
    commandButton("merge", { small: true }),
    commandButton("new-object", { text: "New", small: true }),
  );
}

/** Put the label of an object into a field. */
export function rename(id) {
  renamed = id;
  draw(store.state);
  const field = byId("objects").querySelector(".object-rename");
  field?.focus();
  field?.select();
}

function draw({ objects, chosen, video }) {
  // A field in hand is left alone: what is typed there must not be lost to news from the server.
  const field = byId("objects").querySelector(".object-rename");
  if (field && document.activeElement === field && objectOf(renamed)) return;
  replace(
    byId("objects"),
    ...objects.map((object, at) => row(object, at, object.id === chosen)),
    video && chosen === null && objects.length > 0 && newRow(),
  );
  byId("objects").querySelector(".is-chosen")?.scrollIntoView({ block: "nearest" });
  byId("objects-empty").hidden = objects.length > 0 || !video;
  if (objects.length === 0) replace(byId("objects-empty"), ...empty());
  refreshButtons();
}

function empty() {
  return [
    element("strong", {}, "Nothing is marked yet."),
    element("p", {}, "Click an object in the picture, or draw a box around it. Then track it through the video."),
  ];
}

function newRow() {
  return element(
    "li",
    { class: "object is-chosen" },
    icon("plus"),
    element("span", {}),
    element("span", {}, "New object: click it in the picture"),
  );
}

function row(object, at, isChosen) {
  const name = nameOf(object);
  const classes = ["object", isChosen && "is-chosen", !object.visible && "is-hidden"].filter(Boolean).join(" ");
  return element(
    "li",
    { class: classes, data: { object: object.id } },
    element("span", { class: "quiet number" }, at < 9 ? at + 1 : ""),
    element("input", {
      type: "color",
      class: "object-swatch",
      value: object.colour,
      "aria-label": `Colour of ${name}`,
      data: { key: `colour-${object.id}`, tip: "Colour" },
      on: { change: (event) => actions.setObject(object.id, { colour: event.target.value }) },
    }),
    object.id === renamed ? renameField(object) : nameButton(object, name, isChosen),
    element(
      "span",
      { class: "object-buttons" },
      iconButton(
        object,
        "visible",
        object.visible ? "eye" : "eye-off",
        `${object.visible ? "Hide" : "Show"} ${name}`,
        () => actions.setObject(object.id, { visible: !object.visible }),
        !object.visible,
      ),
      iconButton(
        object,
        "locked",
        object.locked ? "lock" : "unlock",
        `${object.locked ? "Unlock" : "Lock"} ${name}`,
        () => actions.setObject(object.id, { locked: !object.locked }),
        object.locked,
      ),
      iconButton(object, "delete", "trash", `Delete ${name}`, () => !object.locked && actions.removeObject(object.id)),
    ),
  );
}

function nameButton(object, name, isChosen) {
  return element(
    "button",
    {
      type: "button",
      class: "object-name",
      "aria-pressed": String(isChosen),
      title: object.label,
      data: { key: `name-${object.id}`, tip: "Choose; click twice to change the label" },
      on: { click: () => store.set({ chosen: object.id }), dblclick: () => rename(object.id) },
    },
    name,
  );
}

function renameField(object) {
  const field = element("input", {
    class: "field object-rename",
    value: object.label,
    maxLength: 100,
    placeholder: `Object ${object.id}`,
    "aria-label": `Label of object ${object.id}`,
    on: {
      keydown: (event) => {
        if (event.key === "Enter") leave(true);
        if (event.key === "Escape") leave(false);
        event.stopPropagation();
      },
      blur: () => leave(true),
    },
  });

  function leave(isKept) {
    if (renamed !== object.id) return;
    renamed = null;
    const label = field.value.trim();
    if (isKept && label !== object.label) actions.setObject(object.id, { label });
    field.blur();
    draw(store.state);
    byId("objects").querySelector(`[data-key="name-${object.id}"]`)?.focus();
  }

  return field;
}

function iconButton(object, what, name, label, act, isPressed) {
  return element(
    "button",
    {
      type: "button",
      class: "button button-icon",
      "aria-label": label,
      "aria-pressed": isPressed === undefined ? undefined : String(isPressed),
      "aria-disabled": what === "delete" && object.locked ? "true" : undefined,
      data: { key: `${what}-${object.id}`, tip: label },
      on: { click: act },
    },
    icon(name),
  );
}
