// The page of `gpt-classifier app`. What comes from a user or a model is shown as text, never as HTML.

const get = (id) => document.getElementById(id);
const decimals = (p) => p.toFixed(3);
const SHOWN = 10; // classes at first sight
let token = ""; // in memory only
let model = null;

class Refused extends Error {}

/** Asks the service. Throws Refused with the one line that it gives as its reason. */
async function ask(path, body, type = "application/json") {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body !== undefined) headers["Content-Type"] = type;
  let response;
  try {
    response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body });
  } catch {
    throw new Refused("The service does not answer: is it still running?");
  }
  if (response.ok) return response;
  if (response.status === 401) get("access").hidden = false;
  const said = await response.json().catch(() => ({ error: `The service answered ${response.status}.` }));
  throw new Refused(said.error);
}

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function say(place, text, wrong = false) {
  place.textContent = text;
  place.classList.toggle("wrong", wrong);
}

/** Runs what a button began; the button waits for its end, errors are said at `place`. */
async function working(button, place, run) {
  if (button.disabled) return;
  button.disabled = true;
  try {
    await run();
  } catch (error) {
    if (!(error instanceof Refused)) console.error(error);
    say(place, error instanceof Refused ? error.message : "The page failed: its console says where.", true);
  } finally {
    button.disabled = false;
  }
}

// ---------------------------------------------------------------- the model

async function loadModel() {
  try {
    model = await (await ask("model")).json();
  } catch (error) {
    return say(get("about"), error.message, true);
  }
  get("access").hidden = true;
  const names = model.classes.slice(0, SHOWN).join(", ") + (model.classes.length > SHOWN ? ", …" : "");
  say(get("about"), `${model.classes.length} ${model.multi_label ? "labels" : "classes"}: ${names}`);
  get("rule").textContent = model.rule.join(" ");
}

get("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = get("token").value.trim();
  loadModel();
});

// ---------------------------------------------------------------- a message

get("message").addEventListener("submit", (event) => {
  event.preventDefault();
  working(get("classify"), get("answer"), classify);
});
get("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) get("message").requestSubmit();
});

async function classify() {
  const text = get("text").value;
  get("result").hidden = true;
  say(get("answer"), "");
  if (model === null) await loadModel();
  if (model === null) return;
  const response = await ask("predict", JSON.stringify({ texts: [text] }));
  const [prediction] = (await response.json()).predictions;
  showPrediction(prediction);
  await showTrace(text);
  get("result").hidden = false;
}

function showPrediction(prediction) {
  const predicted = prediction.labels ?? [prediction.label];
  const probability = (name) => decimals(prediction.probabilities[name] ?? prediction.probability);
  const said = predicted.map((name) => `${name}, probability ${probability(name)}`).join("; ");
  // Sorted here: an object of JavaScript puts names that are numbers first.
  const probabilities = Object.entries(prediction.probabilities).sort(([, one], [, other]) => other - one);
  const [best, most] = probabilities[0];
  const known = predicted.some((name) => name in prediction.probabilities);
  say(get("answer"), known ? said : `${predicted[0] ?? "no label"}; most probable is ${best}, ${decimals(most)}`);
  const bars = probabilities.map(([name, probability]) => bar(name, probability, predicted.includes(name)));
  const [summary, list] = get("rest").children;
  get("bars").replaceChildren(...bars.slice(0, SHOWN));
  list.replaceChildren(...bars.slice(SHOWN));
  summary.textContent = `The other ${bars.length - SHOWN}`;
  get("rest").hidden = bars.length <= SHOWN;
}

function bar(name, probability, isPredicted) {
  const item = element("li", "", isPredicted ? "predicted" : "");
  const track = element("div", "", "track");
  track.setAttribute("aria-hidden", "true");
  const fill = element("div", "", "fill");
  fill.style.width = `${100 * probability}%`;
  track.append(fill);
  let number = decimals(probability);
  const threshold = model.thresholds[name];
  if (threshold !== undefined) {
    const mark = element("div", "", "threshold");
    mark.style.left = `${100 * threshold}%`;
    track.append(mark);
    number += ` (needs ${decimals(threshold)})`;
  }
  item.append(element("span", name), element("span", number, "number"), track);
  return item;
}

async function showTrace(text) {
  get("trace").hidden = true;
  get("untraced").hidden = true;
  if (model.untraceable !== null) return;
  let trace;
  try {
    trace = await (await ask("trace", JSON.stringify({ text }))).json();
  } catch (error) {
    get("untraced").textContent = `No trace: ${error.message}`;
    get("untraced").hidden = false;
    return;
  }
  const characters = Array.from(text); // places in a text count code points
  const probabilities = trace.probabilities[trace.final_class];
  const parts = [];
  let place = 0;
  trace.words.forEach(([start, end, last], number) => {
    parts.push(document.createTextNode(characters.slice(place, start).join("")));
    const word = element("span", characters.slice(start, end).join(""), number === trace.decided_word ? "decided" : "");
    word.style.backgroundColor = `rgb(var(--mark) / ${0.5 * probabilities[last]})`;
    word.title = `${trace.answers[last]}; ${trace.final_class} ${decimals(probabilities[last])}`;
    parts.push(word);
    place = end;
  });
  parts.push(document.createTextNode(characters.slice(place).join("")));
  get("traced").replaceChildren(...parts);
  get("traced-class").textContent = `Probability of ${trace.final_class} after each word:`;
  get("outlined").hidden = trace.decided_word === null;
  get("sentences").textContent = trace.sentences.join(" ");
  const rows = trace.words.map(([start, end, last]) => [
    characters.slice(start, end).join(""), trace.answers[last], decimals(probabilities[last]),
  ]);
  fillTable(get("words"), ["word", "prediction after it", `probability of ${trace.final_class}`], rows);
  get("trace").hidden = false;
}

// ---------------------------------------------------------------- a table

let file = null;
let count = 0; // its rows
let results = ""; // address of the last results

function fillTable(place, names, rows, chosen = -1) {
  const head = element("tr");
  head.append(...names.map((name) => Object.assign(element("th", name), { scope: "col" })));
  const body = rows.map((cells) => {
    const row = element("tr");
    row.append(...cells.map((cell, number) => element("td", cell, number === chosen ? "chosen" : "")));
    for (const cell of row.children) cell.classList.toggle("long", cell.textContent.length > 30);
    return row;
  });
  place.replaceChildren(head, ...body);
}

async function choose(chosen) {
  file = chosen;
  get("columns").hidden = get("ready").hidden = get("preview").hidden = true;
  say(get("table-status"), "");
  const table = await (await ask("table/head", file, "text/csv")).json();
  count = table.count;
  // Named like a text, or else the column with the longest cells.
  const longest = table.columns.map((_, number) => Math.max(...table.rows.map((row) => row[number].length)));
  const named = table.columns.findIndex((name) => /^(text|message|body|content|sms)$/i.test(name));
  const guess = named >= 0 ? named : longest.indexOf(Math.max(...longest));
  get("column").replaceChildren(...table.columns.map((name, number) => new Option(name, name, false, number === guess)));
  const show = () => fillTable(get("rows"), table.columns, table.rows, get("column").selectedIndex);
  get("column").onchange = show;
  show();
  get("columns").hidden = get("preview").hidden = false;
  say(get("table-status"), `${file.name}: ${rowsOf(count)}${shown(table.rows)}`);
}

const rowsOf = (count) => (count === 1 ? "1 row" : `${count.toLocaleString("en")} rows`);
const shown = (rows) => (rows.length < count ? `; the first ${rows.length} are shown.` : ".");

async function classifyTable() {
  get("ready").hidden = true;
  say(get("table-status"), "Classifying …");
  const column = get("column").value;
  const query = `text_column=${encodeURIComponent(column)}&for=spreadsheet`;
  const content = await (await ask(`table?${query}`, file, "text/csv")).blob();
  const [names, ...rows] = firstRows(await content.text(), 6);
  const [text, predicted] = [get("column").selectedIndex, names.indexOf("predicted")];
  const probability = (row) => {
    const name = row[predicted].replace(/^'/, ""); // an apostrophe that the service put before a class like a formula
    const place = names.indexOf(`probability_${name}`);
    return place < 0 ? "" : decimals(Number(row[place])); // abstentions and several labels have none
  };
  fillTable(get("rows"), ["prediction", "probability", column], rows.map((row) => [row[predicted], probability(row), row[text]]), 0);
  URL.revokeObjectURL(results);
  results = URL.createObjectURL(content);
  get("download").href = results;
  get("download").download = `${file.name.replace(/\.[^.]*$/, "")}-predictions.csv`;
  get("ready").hidden = false;
  get("column").onchange = null;
  say(get("table-status"), `${rowsOf(count)} classified${shown(rows)}`);
}

/** The first lines of a CSV that the service wrote. */
function firstRows(content, count) {
  const rows = [[]];
  for (const [, cell, end] of content.matchAll(/("[^"]*(?:""[^"]*)*"|[^,\n]*)([,\n])/g)) {
    rows.at(-1).push(cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell);
    if (end === "\n" && rows.push([]) > count) break;
  }
  return rows.slice(0, -1);
}

get("file").addEventListener("change", () => {
  if (get("file").files.length) working(get("classify-table"), get("table-status"), () => choose(get("file").files[0]));
});
get("table").addEventListener("submit", (event) => {
  event.preventDefault();
  if (file !== null) working(get("classify-table"), get("table-status"), classifyTable);
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  window.addEventListener(kind, (event) => {
    event.preventDefault(); // a file that misses the place must not replace the page
    get("drop").classList.toggle("over", kind.endsWith("r"));
    const dropped = kind === "drop" ? event.dataTransfer?.files[0] : undefined;
    if (dropped) working(get("classify-table"), get("table-status"), () => choose(dropped));
  });
}

loadModel();
