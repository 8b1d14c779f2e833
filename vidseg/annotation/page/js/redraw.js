// Asks for the stage to be drawn again. It stands alone so that tools need not know the stage.

let draw = () => {};

export function onRedraw(listener) {
  draw = listener;
}

export function redraw() {
  draw();
}
