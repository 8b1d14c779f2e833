// The tools by name. A tool has `down(pointer)` and, as it needs them, `move`, `up`, `cancel`, `isBusy` and
// `draw(context, scale, colour)`; pointers are in pixels of the video, with `unitsPerPx` of them to a CSS pixel.

import { box } from "./box.js";
import { click } from "./click.js";
import { brush, eraser, lasso } from "./drawing.js";
import { pan } from "./pan.js";

export const TOOLS = { click, box, lasso, brush, eraser, pan };
