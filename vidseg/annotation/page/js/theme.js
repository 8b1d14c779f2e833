// Light, dark, or as the system has it.

import { keep, recall } from "./kept.js";

const KEY = "vidseg.theme";

export function startTheme() {
  const kept = recall(KEY);
  if (kept) document.documentElement.dataset.theme = kept;
}

export function switchTheme() {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  keep(KEY, next);
  document.dispatchEvent(new Event("theme"));
}

export function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme === "system" ? matchMedia("(prefers-color-scheme: dark)").matches : theme === "dark";
}
