// Move the picture; the middle button and a held Ctrl do the same with every tool (stage.js).

export const pan = {
  id: "pan",
  cursor: "grab",
  pans: true,
  hint: "Drag to move the picture, turn the wheel to zoom.",
  down() {},
};
