// The answers: one card for each model.

const NUM_BOX_COLOURS = 3; // those of cards.css

let cards = [];
let answer = null; // the one that is shown
let chosen = 0; // the digit whose probabilities are shown, from the left

const percent = (share) => `${(100 * share).toFixed(share < 0.9995 ? 1 : 0)} %`;

let tell = () => {};

// Have `listener` called when heat maps may be wanted.
export function onLook(listener) {
  tell = listener;
}

// The names of the models whose heat maps are asked for and not there yet.
export const wanted = () =>
  cards.filter(({ isLooking, heat }) => isLooking && heat === null).map(({ name }) => name);

// Show heat maps of the answer: for each digit the URL of a picture.
export function setHeat(name, heat) {
  cards.find((card) => card.name === name).heat = heat;
  show(answer);
}

// Make empty cards.
export function addCards(models) {
  let row = 0;
  cards = models.map((model) => makeCard(model, model.gives_boxes ? row++ : null));
  document.getElementById("cards").append(...cards.map((card) => card.root));
  show(null);
}

// Show an answer of the server; null empties the cards.
export function show(next) {
  if (next !== answer) for (const card of cards) card.heat = null;
  answer = next;
  const most = Math.max(1, ...(answer?.models ?? []).map((model) => model.digits.length));
  chosen = answer === null ? 0 : Math.min(chosen, most - 1);
  cards.forEach((card, index) => fill(card, answer?.models[index]));
}

// The boxes of an answer, as the pad takes them.
export function marksOf({ width, height, models }) {
  const boxes = cards.flatMap(({ title, row }, index) => {
    if (row === null) return [];
    const colour = getComputedStyle(title).getPropertyValue("--box");
    return models[index].digits.map(({ box, digit }) => ({ box, text: digit, colour, row }));
  });
  return { width, height, boxes };
}

// The answer as text, for screen readers.
export function spoken({ models }) {
  const parts = models.map(({ name, digits }) => {
    if (digits.length === 0) return `${name}: no digit found`;
    const least = Math.min(...digits.map((each) => each.confidence));
    return `${name}: ${digits.map((each) => each.digit).join(" ")}, ${percent(least)} sure`;
  });
  return `${parts.join(". ")}.`;
}

function makeCard({ name, file, gives_boxes: givesBoxes, explains }, row) {
  const root = document.getElementById("card").content.firstElementChild.cloneNode(true);
  const find = (selector) => root.querySelector(selector);
  const title = find("h2");
  title.textContent = name;
  title.title = file;
  if (givesBoxes) title.dataset.box = row % NUM_BOX_COLOURS;
  const bars = Array.from({ length: 10 }, (_, digit) => {
    const bar = document.createElement("div");
    bar.className = "bar";
    bar.append(document.createElement("i"), String(digit));
    return bar;
  });
  find(".bars").append(...bars);
  const card = {
    root, row, title, bars, name,
    isLooking: false,
    heat: null, // where it looked; null while unknown
    chart: find(".bars"),
    time: find(".time"),
    digits: find(".digits"),
    confidence: find(".confidence"),
    seen: find(".seen"),
  };
  const look = find(".look");
  look.hidden = !explains;
  look.setAttribute("aria-label", `Where it looks: ${name}`);
  look.addEventListener("click", () => {
    card.isLooking = !card.isLooking;
    look.setAttribute("aria-pressed", card.isLooking);
    show(answer);
    tell();
  });
  return card;
}

// Show the answer of one model; undefined empties its card.
function fill(card, model) {
  const digits = model?.digits ?? [];
  const index = Math.min(chosen, digits.length - 1);
  const digit = digits[index];
  const isMissed = model !== undefined && digit === undefined;
  card.root.classList.toggle("is-empty", digit === undefined);
  card.time.textContent = model ? duration(model.milliseconds) : "";
  card.digits.classList.toggle("is-words", isMissed);
  card.digits.style.setProperty("--count", Math.max(1, digits.length));
  if (digit === undefined) {
    card.digits.textContent = isMissed ? "No digit found" : "–";
  } else {
    card.digits.replaceChildren(...digits.map((each, place) => makeFigure(each, place === index)));
  }
  card.confidence.textContent = digit ? percent(digit.confidence) : "";
  const shares = digit?.probabilities ?? Array(10).fill(0);
  card.bars.forEach((bar, each) => {
    bar.style.setProperty("--share", shares[each]);
    bar.classList.toggle("is-best", digit?.digit === each);
  });
  const text = shares.map((share, each) => `${each}: ${percent(share)}`).join(", ");
  card.chart.setAttribute("aria-label", digit ? `Probabilities: ${text}` : "Probabilities");
  fillSeen(card.seen, digits, index, card.isLooking ? card.heat : null);
}

function duration(milliseconds) {
  return `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
}

function makeFigure({ digit }, isChosen) {
  const figure = document.createElement("span");
  figure.textContent = digit;
  figure.classList.toggle("is-chosen", isChosen);
  return figure;
}

// A button for each image that the network saw. Buttons are kept, so that they keep the focus.
function fillSeen(seen, digits, index, heat) {
  while (seen.children.length > digits.length) seen.lastElementChild.remove();
  while (seen.children.length < digits.length) seen.append(makeSeen(seen.children.length));
  digits.forEach((each, place) => {
    const button = seen.children[place];
    const label = `Digit ${place + 1}: ${each.digit}, ${percent(each.confidence)}`;
    button.title = label;
    button.setAttribute("aria-label", label);
    button.setAttribute("aria-pressed", place === index);
    button.firstElementChild.src = heat?.[place] ?? each.shown;
  });
}

function makeSeen(place) {
  const button = document.createElement("button");
  button.type = "button";
  const image = new Image(28, 28);
  image.alt = "";
  button.append(image);
  button.addEventListener("click", () => {
    chosen = place;
    show(answer);
  });
  return button;
}
