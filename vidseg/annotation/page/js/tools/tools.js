// The tools by name. A tool has `down(pointer)` and, as it needs them, `move`, `up`, `cancel`, `isBusy` and
// `draw(context, scale, colour)`; pointers are in pixels of the video, with `unitsPerPx` of them to a CSS pixel. One that
// `startsOutside` may be pressed beside the picture, as objects are cut off by its edge; it gets the nearest place in it.

import { box } from "./box.js";
import { click } from "./click.js";
import { brush, eraser, lasso } from "./drawing.js";
import { pan } from "./pan.js";

export const TOOLS = { click, box, lasso, brush, eraser, pan };
