// The pad: what is drawn on it or lies on it, undo, and painting.

export const WIDTH = 960; // of the drawing, in its own units; the window may show it at any size
export const HEIGHT = 720;
const PEN_WIDTH = 34;

const canvas = document.getElementById("canvas");
const overlay = document.getElementById("overlay");

// Strokes, which are lists of [x, y], or a picture {blob, bitmap}. The content is replaced, never
// changed, except that its last stroke grows while it is drawn.
let content = { strokes: [], picture: null };
let past = []; // what undo brings back
let stroke = null; // the one that is being drawn
let pen = null; // [x, y] of the keyboard's pen; null while there is none
let marks = null; // the boxes over the content
let tell = () => {};

// Have `listener` called after each change, with true if the content is another one, not the same
// with more ink.
export function onChange(listener) {
  tell = listener;
}

export const isEmpty = () => content.strokes.length === 0 && content.picture === null;
export const canUndo = () => past.length > 0;
export const isDrawing = () => stroke !== null;

function replace(next) {
  past.push(content);
  stroke = null;
  content = next;
}

function changed(isAnother) {
  if (isAnother) marks = null;
  tell(isAnother);
  paint();
}

export function undo() {
  if (!canUndo()) return;
  stroke = null;
  content = past.pop();
  changed(true);
}

export function clear() {
  if (isEmpty()) return;
  replace({ strokes: [], picture: null });
  changed(true);
}

// Begin a stroke. On a picture it begins a new drawing; undo brings the picture back.
export function begin(point) {
  const isAnother = content.picture !== null;
  replace({ strokes: [...content.strokes, [point]], picture: null });
  stroke = content.strokes.at(-1);
  changed(isAnother);
}

export function extend(points) {
  if (stroke === null) return;
  stroke.push(...points);
  changed(false);
}

export function lift() {
  stroke = null;
  paintOverlay();
}

// Put a picture on the pad.
export async function showPicture(blob) {
  // The server may read formats that the browser does not know.
  const bitmap = await createImageBitmap(blob).catch(() => null);
  replace({ strokes: [], picture: { blob, bitmap } });
  changed(true);
}

// The picture as it was given, or the drawing as a PNG: black ink on white, whatever the theme. Half
// the size is enough for the networks, and takes the server a quarter of the time.
export async function toBlob() {
  if (content.picture !== null) return content.picture.blob;
  const paper = new OffscreenCanvas(WIDTH / 2, HEIGHT / 2);
  const context = paper.getContext("2d");
  context.scale(0.5, 0.5);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, WIDTH, HEIGHT);
  paintStrokes(context, "#000");
  return paper.convertToBlob({ type: "image/png" });
}

// Show boxes: {width, height, boxes: [{box, text, colour, row}]} in pixels of a picture; or null.
export function setMarks(next) {
  marks = next;
  paintOverlay();
}

export function setPen(next) {
  pen = next;
  paintOverlay();
}

// Where an event of a mouse, finger or pen is, in units of the drawing.
export function pointOf(event) {
  const { left, top, width, height } = canvas.getBoundingClientRect();
  return [((event.clientX - left) / width) * WIDTH, ((event.clientY - top) / height) * HEIGHT];
}

export function paint() {
  const context = cleared(canvas);
  const bitmap = content.picture?.bitmap;
  if (bitmap) {
    const { scale, x, y } = placeOf(bitmap.width, bitmap.height);
    context.drawImage(bitmap, x, y, bitmap.width * scale, bitmap.height * scale);
  }
  paintStrokes(context, getComputedStyle(canvas).color);
  paintOverlay();
}

function paintOverlay() {
  const context = cleared(overlay);
  const unit = WIDTH / overlay.clientWidth; // a pixel of the screen
  if (marks !== null) paintMarks(context, unit);
  if (pen !== null) paintPen(context, unit);
}

// Clear a canvas, give it the resolution of the screen, and have it measure in our units.
function cleared(target) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(target.clientWidth * ratio);
  const height = Math.round(target.clientHeight * ratio);
  if (target.width !== width || target.height !== height) {
    target.width = width;
    target.height = height;
  }
  const context = target.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, width, height);
  context.setTransform(width / WIDTH, 0, 0, height / HEIGHT, 0, 0);
  return context;
}

// The place of a picture, which fills the pad as far as its shape allows.
function placeOf(width, height) {
  const scale = Math.min(WIDTH / width, HEIGHT / height);
  return { scale, x: (WIDTH - width * scale) / 2, y: (HEIGHT - height * scale) / 2 };
}

function paintStrokes(context, colour) {
  context.strokeStyle = colour;
  context.lineWidth = PEN_WIDTH;
  context.lineCap = "round";
  context.lineJoin = "round";
  for (const points of content.strokes) {
    context.beginPath();
    context.moveTo(...points[0]);
    for (let i = 1; i < points.length - 1; i++) {
      const [x, y] = points[i];
      const [nextX, nextY] = points[i + 1];
      context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    }
    context.lineTo(...points.at(-1)); // after a tap, to itself: a dot
    context.stroke();
  }
}

function paintMarks(context, unit) {
  const { scale, x, y } = placeOf(marks.width, marks.height);
  const size = 20 * unit; // of the tag with the text
  const paper = getComputedStyle(canvas.parentElement).backgroundColor;
  context.lineWidth = 2 * unit;
  context.font = `600 ${13 * unit}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const { box, text, colour, row } of marks.boxes) {
    const [x1, y1, x2, y2] = box.map((each) => each * scale);
    context.strokeStyle = colour;
    context.beginPath();
    context.roundRect(x + x1, y + y1, x2 - x1, y2 - y1, 4 * unit);
    context.stroke();
    // Above the box, or inside it where the pad ends.
    const left = x + x1 - unit + row * (size + 2 * unit);
    const top = Math.max(y + y1 - size - 3 * unit, 2 * unit);
    context.fillStyle = colour;
    context.beginPath();
    context.roundRect(left, top, size, size, 5 * unit);
    context.fill();
    context.fillStyle = paper;
    context.fillText(text, left + size / 2, top + size / 2 + unit);
  }
}

// A ring; a disc while the pen is down.
function paintPen(context, unit) {
  const colour = getComputedStyle(canvas).getPropertyValue("--accent");
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 3 * unit;
  context.beginPath();
  context.arc(...pen, PEN_WIDTH / 2 + 2 * unit, 0, 2 * Math.PI);
  context.stroke();
  if (isDrawing()) context.fill();
}
