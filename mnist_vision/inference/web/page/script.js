// The page: what a person does with the pad goes to the server, and its answers to the cards.

import * as answers from "./answers.js";
import * as pad from "./pad.js";

const STEP = 30; // of the keyboard's pen
const FINE_STEP = 6;
const MAX_BYTES = 16 * 2 ** 20; // of a picture, as the server has it
const BUSY_PAUSE = 1000; // milliseconds, until a busy server is asked again
const GONE_PAUSE = 2000; // and one that did not answer

const byId = (id) => document.getElementById(id);
const canvas = byId("canvas");

/* ---------- asking the server: one request at a time, the newest content next ---------- */

let request = null; // an AbortController while one is on its way
let isWaiting = false; // whether the content has changed since it was sent
let timer = null; // until the server is asked again
let answer = null; // the last one, if it is about this content
let answered = null; // the picture that it is about

pad.onChange((isAnother) => {
  byId("undo").disabled = !pad.canUndo();
  byId("clear").disabled = pad.isEmpty();
  byId("hint").hidden = !pad.isEmpty();
  explaining?.abort();
  if (isAnother) forget();
  isWaiting = !pad.isEmpty();
  if (isWaiting && request === null && timer === null) send();
});

// Drop what was asked and answered about other content.
function forget() {
  request?.abort();
  request = null;
  clearTimeout(timer);
  timer = null;
  answer = null;
  say("");
  speak("");
  if (pad.isEmpty()) answers.show(null);
}

async function send() {
  const mine = new AbortController();
  request = mine;
  isWaiting = false;
  timer = null;
  const pause = await exchange(mine);
  if (request !== mine) return; // it was forgotten, and another one may be on its way
  request = null;
  if (pause > 0) timer = setTimeout(send, pause);
  else if (isWaiting) send();
  else announce();
}

// Send the content and show the answer; return the milliseconds until it should be sent again, or 0.
async function exchange(mine) {
  try {
    const body = await pad.toBlob();
    const response = await fetch("/api/predict", { method: "POST", body, signal: mine.signal });
    if (response.status === 503) return BUSY_PAUSE;
    const received = await response.json();
    if (request === mine) {
      answered = body;
      receive(received);
    }
    return 0;
  } catch {
    if (request === mine) say("The server does not answer. Is it still running?");
    return GONE_PAUSE;
  }
}

function receive(received) {
  answer = "error" in received ? null : received;
  say(answer ? "" : `${received.error[0].toUpperCase()}${received.error.slice(1)}.`);
  answers.show(answer);
  pad.setMarks(answer && answers.marksOf(answer));
}

function say(text) {
  if (byId("message").textContent !== text) byId("message").textContent = text;
}

// Have screen readers say something.
function speak(text) {
  if (byId("answers").textContent !== text) byId("answers").textContent = text;
}

// Say the answers, and ask where the networks looked, once nothing is drawn any more.
function announce() {
  if (answer === null || request !== null || pad.isDrawing()) return;
  speak(answers.spoken(answer));
  explain();
}

let explaining = null; // an AbortController while a heat map is on its way

// Ask for the heat maps that are wanted, one at a time; a change of the content ends it.
async function explain() {
  explaining?.abort();
  const mine = new AbortController();
  explaining = mine;
  const shown = answer;
  const isCurrent = () => explaining === mine && !mine.signal.aborted && answer === shown;
  try {
    for (const name of answers.wanted()) {
      if (!isCurrent()) return;
      const address = `/api/explain?model=${encodeURIComponent(name)}`;
      const response = await fetch(address, { method: "POST", body: answered, signal: mine.signal });
      const received = await response.json();
      if (isCurrent() && response.ok) {
        answers.setHeat(name, received.digits.map((each) => each.heat));
      }
    }
  } catch {
    // The content has changed, or the server does not answer, which the next drawing reports.
  }
}

answers.onLook(announce);

function lift() {
  pad.lift();
  announce();
}

/* ---------- mouse, finger, pen ---------- */

let pointer = null; // the id of the one that draws

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || pointer !== null) return;
  event.preventDefault();
  canvas.focus({ preventScroll: true, focusVisible: false });
  canvas.setPointerCapture(event.pointerId);
  pointer = event.pointerId;
  pad.setPen(null);
  pad.begin(pad.pointOf(event));
});

canvas.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer) return;
  const events = event.getCoalescedEvents?.() ?? [];
  pad.extend((events.length > 0 ? events : [event]).map(pad.pointOf));
});

for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) {
  canvas.addEventListener(type, (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    lift();
  });
}

/* ---------- keyboard ---------- */

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const START = [pad.WIDTH / 2, pad.HEIGHT / 4];

let pen = START;

function moveBy([dx, dy], step) {
  const within = (value, end) => Math.min(end, Math.max(0, value));
  pen = [within(pen[0] + step * dx, pad.WIDTH), within(pen[1] + step * dy, pad.HEIGHT)];
  pad.extend([pen]);
}

canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || pointer !== null) return;
  if (event.key in ARROWS) moveBy(ARROWS[event.key], event.shiftKey ? FINE_STEP : STEP);
  else if (event.key !== " ") return;
  else if (pad.isDrawing()) lift();
  else pad.begin(pen);
  pad.setPen(pen);
  event.preventDefault();
});

canvas.addEventListener("focus", () => {
  if (canvas.matches(":focus-visible")) pad.setPen(pen);
});

canvas.addEventListener("blur", () => {
  lift();
  pad.setPen(null);
});

document.addEventListener("keydown", (event) => {
  const isUndo = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key === "z";
  if (isUndo) pad.undo();
  else if (event.key === "Delete") pad.clear();
  else return;
  event.preventDefault();
});

/* ---------- buttons and pictures ---------- */

async function showPicture(file) {
  if (file.size > MAX_BYTES) say("The picture is larger than 16 MB.");
  else await pad.showPicture(file);
}

byId("undo").addEventListener("click", pad.undo);
byId("clear").addEventListener("click", pad.clear);
byId("upload").addEventListener("click", () => byId("file").click());

byId("file").addEventListener("change", ({ target }) => {
  if (target.files.length > 0) showPicture(target.files[0]);
  target.value = ""; // so that the same file may be chosen again
});

document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length > 0) showPicture(event.clipboardData.files[0]);
});

document.addEventListener("dragover", (event) => {
  event.preventDefault(); // or the browser would leave the page and show the file
  document.body.classList.add("is-dropping");
});

document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("is-dropping");
});

document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("is-dropping");
  if (event.dataTransfer.files.length > 0) showPicture(event.dataTransfer.files[0]);
});

/* ---------- start ---------- */

function repaint() {
  pad.paint();
  if (answer !== null) pad.setMarks(answers.marksOf(answer)); // in the colours of the theme
}

new ResizeObserver(repaint).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

try {
  const response = await fetch("/api/models");
  answers.addCards((await response.json()).models);
} catch {
  say("The server does not answer. Start it, then load this page again.");
}
