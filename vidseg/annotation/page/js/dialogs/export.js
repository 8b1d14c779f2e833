// Export: which formats, which frames; then links to what was written.

import { send } from "../actions.js";
import { element, icon } from "../dom.js";
import { keep, recall } from "../kept.js";
import { connection } from "../session.js";
import { store } from "../state.js";
import { toast } from "../toasts.js";
import { button, mainButton, openDialog } from "./dialog.js";

const KEPT = "vidseg.formats";

/** Whether this page waits for an export. */
let isAsked = false;

/** Formats in words; ones that are not here are shown by their names alone. */
const WORDS = {
  png: "Masks as pictures",
  rle: "Masks as text (COCO RLE)",
  overlay: "Video with coloured masks",
  frames: "Frames as pictures",
  alpha: "Cut-outs as pictures",
  "alpha:prores": "Cut-outs, ProRes video",
  "alpha:vp9": "Cut-outs, WebM video",
  coco: "COCO",
  "coco:polygons": "COCO, polygons",
  ytvis: "YouTube-VIS",
  sav: "SA-V",
  cvat: "CVAT for video",
  "cvat:polygons": "CVAT for video, polygons",
  "cvat-images": "CVAT for images",
  "cvat-images:polygons": "CVAT for images, polygons",
  mot: "MOT, boxes",
  mots: "MOTS",
  yolo: "YOLO segmentation",
  "label-studio": "Label Studio",
  tar: "Masks in one archive",
  prompts: "Your prompts, to track again",
};
const GROUPS = { exchange: "For other tools", masks: "Masks", pictures: "Pictures and videos", prompts: "Prompts" };

export function openExport() {
  const { formats, progress } = store.state;
  const kept = new Set(JSON.parse(recall(KEPT) ?? '["coco"]'));
  const boxes = formats.map((format) =>
    choice("checkbox", "format", format.name, WORDS[format.name] ?? format.name, format.output, kept.has(format.name)),
  );
  const frames = [
    choice("radio", "frames", "all", "All frames with a mask", `${progress.tracked} of ${progress.frames}`, true),
    choice("radio", "frames", "reviewed", "Checked frames only", `${progress.reviewed} of ${progress.frames}`, false),
  ];
  const error = element("p", { role: "alert", class: "note", hidden: true });
  const checked = (name) => [...dialog.node.querySelectorAll(`input[name=${name}]:checked`)].map(({ value }) => value);
  const dialog = openDialog({
    title: "Export",
    body: [
      element("fieldset", {}, element("legend", {}, "Which frames"), element("div", { class: "formats" }, ...frames)),
      ...Object.entries(GROUPS)
        .map(([what, title]) =>
          group(
            title,
            boxes.filter((_, at) => formats[at].what === what),
          ),
        )
        .filter(Boolean),
      error,
    ],
    feet: [button("Cancel", { on: { click: () => dialog.close() } }), mainButton("Export")],
    onSubmit: () => {
      const names = checked("format");
      if (names.length === 0) {
        error.textContent = "Choose at least one format.";
        error.hidden = false;
        return false;
      }
      keep(KEPT, JSON.stringify(names));
      isAsked = true;
      send("export", { formats: names, frames: checked("frames")[0] });
    },
  });
}

function group(title, boxes) {
  return (
    boxes.length > 0 &&
    element("fieldset", {}, element("legend", {}, title), element("div", { class: "formats" }, ...boxes))
  );
}

function choice(type, name, value, text, more, isChecked) {
  return element(
    "label",
    { class: "choice" },
    element("input", { type, name, value, checked: isChecked }),
    element("span", {}, text, more && element("small", {}, more)),
  );
}

/**
 * Show what an export wrote, or tell of it where another page asked for it.
 *
 * @param {{files: {name: string, url: string, bytes: number}[], folder: string}} message
 */
export function showExported({ files, folder }) {
  if (!isAsked) return toast(`Exported on another page, to ${folder}`, "good");
  isAsked = false;
  openDialog({
    title: "Export is ready",
    body: [
      element("p", {}, "The files are in this folder on your machine. You can also save a copy from here."),
      element("p", { class: "path" }, folder),
      element("ul", { class: "list" }, ...files.map(fileRow)),
    ],
    feet: [mainButton("Done", { autofocus: true })],
  });
}

function fileRow({ name, url, bytes }) {
  return element(
    "li",
    {},
    element("strong", {}, name),
    element("span", { class: "quiet number" }, shownBytes(bytes)),
    element(
      "a",
      { class: "button button-small", href: connection.address(url).href, download: name.split("/").pop() },
      icon("export"),
      "Save",
    ),
  );
}

function shownBytes(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const power = Math.min(Math.floor(Math.log10(bytes) / 3), 3);
  return `${(bytes / 1000 ** power).toFixed(1)} ${["B", "kB", "MB", "GB"][power]}`;
}
