"use strict";
// The page of a folder: list of videos, the least certain stretches, and a timeline to correct bouts on.
// The server holds the truth. Each change is sent at once; what could not be sent stays in localStorage.

const setup = JSON.parse(document.getElementById("setup").textContent);
const $ = (id) => document.getElementById(id);
const player = $("player");
const STEP = 0.1;
let state = { videos: [], queue: [] };
let open = null;      // number of the open video
let asked = null;     // number of the video that is to be opened; until it is, edits are about the open one
let video = null;     // its details, as the server sends them; `bouts` is a list of {label, start, end}
let chosen = null;    // the selected bout, one of video.bouts
let stretch = null;   // the stretch of the queue that is asked about
let zoom = 1;
let saving = Promise.resolve();
let unsaved = 0;

const pendingKey = (name) => `actiondiff-pending:${setup.folder}:${name}`;
const historyKey = () => `actiondiff-undo:${setup.folder}:${video.name}`;
const round = (t) => Math.round(t * 1000) / 1000;
const clock = (t) => `${Math.floor(t / 60)}:${(t % 60).toFixed(1).padStart(4, "0")}`;
const colour = (label) => `c${setup.labels.indexOf(label) % 24}`;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

async function ask(path, options) {
  const answer = await fetch(path, options);
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.message), { status: answer.status });
  return body;
}

function complain(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

// --- the list ---------------------------------------------------------------------------------------

async function refresh() {
  try {
    state = await ask("api/state");
    showList();
    showTraining();
    if (!cutting && !$("sliders").contains(document.activeElement)) showValues(state.cut);
  } catch (error) {
    $("saved").textContent = "The program that serves this page does not answer.";
    $("saved").className = "bad";
  }
  const busy = state.training.status === "running" || state.videos.some((v) => ["waiting", "reading"].includes(v.status));
  setTimeout(refresh, busy ? 700 : 4000);
}

function describe(item) {
  if (item.status === "waiting") return "waiting";
  if (item.status === "reading") return `reading, ${Math.round(100 * item.share)} %`;
  if (item.status === "failed") return `failed: ${item.reason}`;
  const bouts = `${item.num_bouts} bout${item.num_bouts === 1 ? "" : "s"}`;
  const outside = item.outside && `; unlike the training videos, so first in the queue: ${item.outside}`;
  return `${bouts}, ${item.done ? "done" : item.version ? "corrected" : "not seen yet"}${outside}`;
}

function showList() {
  const list = $("videos");
  while (list.children.length < state.videos.length) {
    const number = list.children.length;
    const button = element("button", { type: "button" }, element("span"), element("small"));
    button.addEventListener("click", () => show(number));
    list.append(element("li", {}, button));
  }
  state.videos.forEach((item, n) => {
    const button = list.children[n].firstChild;
    button.firstChild.textContent = item.title;
    button.lastChild.textContent = describe(item);
    button.disabled = item.status !== "ready";
    button.setAttribute("aria-current", n === open);
  });
  if (open === null && asked === null) {
    const wanted = state.videos.findIndex((v) => v.name === decodeURIComponent(location.hash.slice(1)));
    const first = wanted >= 0 ? wanted : state.videos.findIndex((v) => v.status === "ready");
    if (first >= 0 && state.videos[first].status === "ready") show(first);
  }
}

async function show(number, seconds = 0, anew = false) {
  asked = number;
  if (number === open && !anew) {
    player.currentTime = seconds;
    return;
  }
  await saving;
  let details;
  try {
    details = await ask(`api/videos/${number}`);
  } catch (error) {
    if (asked === number) asked = open;
    return complain(error.message);
  }
  if (asked !== number) return;
  details.bouts = details.bouts.map(([label, start, end]) => ({ label, start, end }));
  open = number;
  video = details;
  chosen = stretch = null;
  location.hash = encodeURIComponent(video.name);
  $("work").hidden = false;
  $("title").textContent = video.title;
  player.src = `media/${number}`;
  player.addEventListener("loadedmetadata", () => { player.currentTime = seconds; }, { once: true });
  const pending = localStorage.getItem(pendingKey(video.name));
  if (pending) {
    const kept = JSON.parse(pending);
    if (kept.version === video.version) {
      Object.assign(video, { bouts: kept.bouts, checked: kept.checked, done: kept.done });
      save();
    } else {
      localStorage.removeItem(pendingKey(video.name));
    }
  }
  showList();
  draw();
}

// --- saving and undoing -----------------------------------------------------------------------------

const snapshot = () => ({
  bouts: video.bouts.map((b) => ({ ...b })), checked: video.checked.map((c) => [...c]), done: video.done,
});
const stacks = () => JSON.parse(sessionStorage.getItem(historyKey()) || '{"back":[],"forth":[]}');
const keepStacks = (both) => sessionStorage.setItem(historyKey(), JSON.stringify(both));

function change(edit) {
  const before = snapshot();
  edit();
  for (const bout of video.bouts) {
    bout.start = round(Math.max(0, bout.start));
    bout.end = round(Math.min(video.end, bout.end));
  }
  video.bouts = video.bouts.filter((b) => b.end - b.start >= 0.01);
  if (!video.bouts.includes(chosen)) chosen = null;
  if (JSON.stringify(before) === JSON.stringify(snapshot())) return draw();
  const both = stacks();
  keepStacks({ back: [...both.back.slice(-99), before], forth: [] });
  save();
  draw();
}

function travel(from, to) {
  const both = stacks();
  const target = both[from].pop();
  if (!target) return;
  both[to].push(snapshot());
  keepStacks(both);
  Object.assign(video, target);
  chosen = null;
  save();
  draw();
}

function save() {
  const number = open, item = video, content = snapshot();
  unsaved += 1;
  localStorage.setItem(pendingKey(item.name), JSON.stringify({ ...content, version: item.version }));
  $("saved").textContent = "Saving ...";
  saving = saving.then(() => send(number, item, content));
}

async function send(number, item, content) {
  for (;;) {
    try {
      const body = {
        video: item.name, version: item.version, done: content.done, checked: content.checked,
        bouts: content.bouts.map((b) => ({ label: b.label, start_seconds: b.start, end_seconds: b.end })),
      };
      const answer = await ask(`api/videos/${number}`, {
        method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
      });
      item.version = answer.version;
      unsaved -= 1;
      if (!unsaved) localStorage.removeItem(pendingKey(item.name));
      else if (item === video) localStorage.setItem(pendingKey(item.name), JSON.stringify({ ...snapshot(), version: item.version }));
      $("saved").textContent = unsaved ? "Saving ..." : `Saved at ${new Date().toLocaleTimeString()}.`;
      $("saved").className = "";
      return;
    } catch (error) {
      $("saved").textContent = `Not saved: ${error.message}`;
      $("saved").className = "bad";
      if (error.status === 410) {  // the program was started again and lists other videos: the new page saves it
        unsaved = 0;
        location.reload();
        return;
      }
      if (error.status) {  // the server refuses: another attempt would not help
        unsaved -= 1;
        localStorage.removeItem(pendingKey(item.name));
        complain(error.message);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 1500));
    }
  }
}

window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });

// --- edits ------------------------------------------------------------------------------------------

function clear(start, end, except = null) {
  // Takes a stretch away from all other bouts, where only one behaviour holds at a time.
  const rest = [];
  for (const bout of video.bouts) {
    if (bout === except || bout.end <= start || bout.start >= end) rest.push(bout);
    else {
      if (bout.start < start) rest.push({ ...bout, end: start });
      if (bout.end > end) rest.push({ ...bout, start: end });
    }
  }
  video.bouts = rest;
}

function join(bout, touching) {
  // Bouts of one behaviour that overlap become one; the halves of a split bout touch and stay two.
  const slack = touching ? 0.005 : -0.0005;
  for (const other of video.bouts.filter((b) => b !== bout && b.label === bout.label)) {
    if (other.start <= bout.end + slack && other.end >= bout.start - slack) {
      bout.start = Math.min(bout.start, other.start);
      bout.end = Math.max(bout.end, other.end);
      video.bouts = video.bouts.filter((b) => b !== other);
    }
  }
}

function place(bout, touching = false) {
  if (setup.exclusive) clear(bout.start, bout.end, bout);
  if (!video.bouts.includes(bout)) video.bouts.push(bout);
  join(bout, touching);
  video.bouts.sort((a, b) => a.start - b.start || a.label.localeCompare(b.label));
}

function behave(label) {
  if (stretch && stretch.video === open) {
    const { start, end } = stretch;
    change(() => {
      place({ label, start, end: Math.min(end, video.end) }, true);
      video.checked.push([start, end]);
    });
    return following(1);
  }
  if (chosen) return change(() => { chosen.label = label; place(chosen); });
  add(label);
}

function add(label) {
  const start = player.currentTime;
  const bout = { label, start, end: Math.min(start + 1, video.end) };
  change(() => { place(bout); chosen = video.bouts.find((b) => b.label === label && b.start <= start && b.end >= start) || null; });
}

function nothing() {
  if (!stretch || stretch.video !== open) return;
  const { start, end } = stretch;
  change(() => { clear(start, end); video.checked.push([start, end]); });
  following(1);
}

function accept() {
  if (!stretch || stretch.video !== open) return;
  const { start, end } = stretch;
  change(() => video.checked.push([start, end]));
  following(1);
}

function split() {
  const now = player.currentTime;
  const bout = chosen && chosen.start < now && now < chosen.end ? chosen
    : video.bouts.find((b) => b.start < now && now < b.end);
  if (!bout) return complain("Move to a time within a bout to split it.");
  complain("");
  change(() => {
    video.bouts = video.bouts.filter((b) => b !== bout);
    const second = { ...bout, start: now };
    video.bouts.push({ ...bout, end: now }, second);
    video.bouts.sort((a, b) => a.start - b.start);
    chosen = second;
  });
}

function merge() {
  if (!chosen) return;
  const next = video.bouts.find((b) => b.label === chosen.label && b.start >= chosen.end);
  if (!next) return complain(`No later bout of ${chosen.label} to merge with.`);
  complain("");
  change(() => { chosen.end = next.end; place(chosen); });
}

function remove() {
  if (chosen) change(() => { video.bouts = video.bouts.filter((b) => b !== chosen); chosen = null; });
}

function edge(side) {
  if (!chosen) return;
  const now = player.currentTime;
  if (side === "start" ? now >= chosen.end : now <= chosen.start) return;
  change(() => { chosen[side] = now; place(chosen); });
}

function select(bout) {
  chosen = bout;
  stretch = null;
  if (bout) player.currentTime = bout.start;
  draw();
}

function neighbour(step) {
  if (!video.bouts.length) return;
  const count = video.bouts.length, time = player.currentTime;
  let n = video.bouts.indexOf(chosen) + step;
  if (!chosen) n = step > 0 ? video.bouts.findIndex((b) => b.start >= time - 0.001) : video.bouts.findLastIndex((b) => b.start < time - 0.001);
  if (!chosen && n < 0) n = step > 0 ? 0 : count - 1;
  select(video.bouts[(n + count) % count]);
}

async function following(step) {
  await saving;
  try { state = await ask("api/state"); } catch { return; }
  const now = stretch ? state.queue.findIndex((q) => q.video === stretch.video && q.start === stretch.start) : -1;
  const n = now >= 0 ? now + step : 0;
  const next = state.queue[(n + state.queue.length) % (state.queue.length || 1)];
  if (!next) {
    stretch = null;
    $("stretch").textContent = "The queue is empty: no stretch is left to judge.";
    draw();
    return;
  }
  await show(next.video, next.start);
  if (open !== next.video) return;
  stretch = next;
  chosen = null;
  player.currentTime = next.start;
  player.play().catch(() => {});
  showList();
  draw();
}

function toggleDone() {
  change(() => { video.done = !video.done; });
}

const COMMANDS = [
  [" ", "Play or pause", "Space", () => (player.paused ? player.play().catch(() => {}) : player.pause())],
  ["n", "Next uncertain stretch", "N", () => following(1)],
  ["b", "Stretch before", "B", () => following(-1)],
  ["Enter", "As predicted", "Enter", accept, "stretch"],
  ["-", "Nothing here", "-", nothing, "stretch"],
  ["a", "Add a bout", "A", () => add(chosen ? chosen.label : setup.labels[0])],
  ["s", "Split", "S", split],
  ["m", "Merge with the next", "M", merge, "bout"],
  ["Delete", "Delete", "Del", remove, "bout"],
  ["[", "Start here", "[", () => edge("start"), "bout"],
  ["]", "End here", "]", () => edge("end"), "bout"],
  ["z", "Undo", "Z", () => travel("back", "forth"), "undo"],
  ["Z", "Redo", "Shift Z", () => travel("forth", "back"), "redo"],
  [".", "Bout after", ".", () => neighbour(1)],
  [",", "Bout before", ",", () => neighbour(-1)],
  ["*", "Zoom in", "*", () => { zoom = Math.min(64, zoom * 2); draw(); follow(); }],
  ["/", "Zoom out", "/", () => { zoom = Math.max(1, zoom / 2); draw(); follow(); }],
  ["!", "Whole video done", "!", toggleDone],
];

function build() {
  for (const [, words, shown, act, needs] of COMMANDS) {
    const button = element("button", { type: "button" }, words, element("kbd", { textContent: shown }));
    button.addEventListener("click", act);
    if (needs) button.dataset.needs = needs;
    if (words === "Whole video done") button.id = "done";
    $("commands").append(button);
    $("keys").append(element("dt", {}, element("kbd", { textContent: shown })), element("dd", { textContent: words }));
  }
  for (const [key, words] of [["left, right", "0.1 s back or on; with Shift 1 s"], ["Esc", "Select nothing"]]) {
    $("keys").append(element("dt", {}, element("kbd", { textContent: key })), element("dd", { textContent: words }));
  }
  setup.labels.forEach((label, n) => {
    const button = element("button", { type: "button", className: colour(label) }, label);
    if (setup.keys[n]) button.append(element("kbd", { textContent: setup.keys[n] }));
    button.addEventListener("click", () => behave(label));
    $("behaviours").append(button);
  });
  for (const label of setup.labels) {
    const track = element("div", { className: "track" });
    track.dataset.label = label;
    track.addEventListener("pointerdown", (event) => {
      if (event.target === track) {
        player.currentTime = timeAt(event);
        select(null);
      }
    });
    $("tracks").append(element("div", { className: `row ${colour(label)}` }, element("span", { textContent: label, title: label }), track));
  }
  $("train").addEventListener("click", () => train());
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.target.matches("input, textarea, summary")) return;
  const key = event.key;
  if ((event.ctrlKey || event.metaKey) && key.toLowerCase() !== "z") return;
  if (!video) return;
  if (key === "Escape") { stretch = null; select(null); event.preventDefault(); return; }
  if (key === "ArrowLeft" || key === "ArrowRight") {
    player.currentTime = Math.max(0, Math.min(video.end, player.currentTime + (key === "ArrowLeft" ? -1 : 1) * (event.shiftKey ? 1 : STEP)));
    event.preventDefault();
    return;
  }
  if ((key === "Enter" || key === " ") && event.target.matches("button")) return;
  if (key === "Enter" && event.target.matches(".bout") && video.bouts[event.target.dataset.index] !== chosen) {
    select(video.bouts[event.target.dataset.index]);
    event.preventDefault();
    return;
  }
  const name = key === "Backspace" ? "Delete" : key === "Z" || (event.shiftKey && key === "z") ? "Z" : key.length === 1 ? key.toLowerCase() : key;
  const command = COMMANDS.find(([own]) => own === name);
  const label = setup.labels[setup.keys.indexOf(name)];
  if (!command && label === undefined) return;
  event.preventDefault();
  if (command) command[3]();
  else behave(label);
});

// --- drawing ----------------------------------------------------------------------------------------

function timeAt(event) {
  const box = document.querySelector(".track").getBoundingClientRect();
  return Math.max(0, Math.min(video.end, video.end * (event.clientX - box.left) / box.width));
}

function inUnits(seconds) {
  return `calc(var(--name) + (100% - var(--name)) * ${seconds / Math.max(video.end, 0.001)})`;
}

function follow() {
  const scroll = $("scroll");
  const box = document.querySelector(".track").getBoundingClientRect();
  scroll.scrollLeft = (player.currentTime / Math.max(video.end, 0.001)) * box.width - scroll.clientWidth / 2;
}

function draw() {
  const focused = document.activeElement?.dataset?.index;
  $("tracks").style.width = `${100 * zoom}%`;
  for (const track of document.querySelectorAll(".track")) {
    track.replaceChildren();
    video.bouts.forEach((bout, n) => {
      if (bout.label !== track.dataset.label) return;
      // Not a button: browsers clip those, and the handles reach beyond a short bout.
      const bar = element("div", { className: "bout", tabIndex: 0 }, element("i"), element("i"));
      bar.setAttribute("role", "button");
      bar.dataset.index = n;
      bar.setAttribute("aria-label", `${bout.label} from ${clock(bout.start)} to ${clock(bout.end)}`);
      bar.setAttribute("aria-pressed", bout === chosen);
      bar.style.left = `${100 * bout.start / video.end}%`;
      bar.style.width = `${100 * (bout.end - bout.start) / video.end}%`;
      bar.addEventListener("pointerdown", (event) => drag(event, bout, bar));
      track.append(bar);
    });
  }
  const bar = document.querySelector(`.bout[data-index="${chosen ? video.bouts.indexOf(chosen) : focused}"]`);
  if (bar && (chosen || focused !== undefined)) bar.focus({ preventScroll: true });
  document.querySelectorAll(".tick").forEach((tick) => tick.remove());
  const step = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].find((s) => video.end / s <= 6 * zoom) || 7200;
  for (let t = 0; t < video.end; t += step) {
    const tick = element("span", { className: "tick", textContent: clock(t).replace(/\.0$/, "") });
    tick.style.left = inUnits(t);
    if (!t) tick.style.transform = "none";
    $("tracks").append(tick);
  }
  $("selected").textContent = chosen ? `Selected: ${chosen.label}, ${clock(chosen.start)} to ${clock(chosen.end)}.` : "";
  const here = stretch && stretch.video === open;
  $("stretchbox").hidden = !here;
  if (here) {
    $("stretchbox").style.left = inUnits(stretch.start);
    $("stretchbox").style.right = `calc(100% - ${inUnits(Math.min(stretch.end, video.end))})`;
    $("stretch").textContent = `What happens from ${clock(stretch.start)} to ${clock(stretch.end)}? The model suggests ${stretch.suggestion}` +
      ` (${Math.round(100 * stretch.probability)} %). ${state.queue.length} stretch${state.queue.length === 1 ? "" : "es"} left.`;
  } else if (!$("stretch").textContent.startsWith("The queue is empty")) $("stretch").textContent = "";
  const both = stacks();
  const usable = { stretch: here, bout: chosen, undo: both.back.length, redo: both.forth.length };
  document.querySelectorAll("[data-needs]").forEach((button) => { button.disabled = !usable[button.dataset.needs]; });
  $("done").setAttribute("aria-pressed", video.done);
  $("done").firstChild.textContent = video.done ? "Not done yet" : "Whole video done";
  move();
}

function drag(event, bout, bar) {
  event.preventDefault();
  const box = bar.getBoundingClientRect();
  const from = timeAt(event), before = { ...bout };
  const near = Math.min(10, box.width / 3);
  const side = event.clientX - box.left < near ? "start" : box.right - event.clientX < near ? "end" : "both";
  bar.setPointerCapture(event.pointerId);
  let moved = false, next = { ...bout };
  const onMove = (e) => {
    const by = timeAt(e) - from;
    moved = moved || Math.abs(e.clientX - event.clientX) > 3;
    if (!moved) return;
    next = { ...before };
    if (side === "start") next.start = Math.max(0, Math.min(before.start + by, before.end - 0.05));
    else if (side === "end") next.end = Math.min(video.end, Math.max(before.end + by, before.start + 0.05));
    else {
      const shift = Math.max(-before.start, Math.min(by, video.end - before.end));
      next.start += shift;
      next.end += shift;
    }
    bar.style.left = `${100 * next.start / video.end}%`;
    bar.style.width = `${100 * (next.end - next.start) / video.end}%`;
    player.currentTime = side === "end" ? next.end : next.start;
  };
  const onEnd = () => {
    bar.removeEventListener("pointermove", onMove);
    if (moved) change(() => { Object.assign(bout, next); chosen = bout; stretch = null; place(bout); });
    else select(bout);
  };
  bar.addEventListener("pointermove", onMove);
  bar.addEventListener("pointerup", onEnd, { once: true });
  bar.addEventListener("pointercancel", onEnd, { once: true });
}

function move() {
  if (!video) return;
  $("head").style.left = inUnits(Math.min(player.currentTime, video.end));
  surround();
}

function surround() {
  // Draws the frame around the individual that the open crop follows; the picture may be narrower than the player.
  const n = video.frames.findLastIndex(([seconds]) => seconds <= player.currentTime + 0.001);
  const [, left, top, width, height] = video.frames[Math.max(0, n)] || [];
  $("frame").hidden = left === undefined || !player.videoWidth;
  if ($("frame").hidden) return;
  const scale = Math.min(player.clientWidth / player.videoWidth, player.clientHeight / player.videoHeight);
  const wide = player.videoWidth * scale, high = player.videoHeight * scale;
  Object.assign($("frame").style, {
    left: `${(player.clientWidth - wide) / 2 + left * wide}px`, top: `${(player.clientHeight - high) / 2 + top * high}px`,
    width: `${width * wide}px`, height: `${height * high}px`,
  });
}

function surroundWhilePlaying() {
  if (video) surround();
  if (!player.paused) requestAnimationFrame(surroundWhilePlaying);
}

player.addEventListener("timeupdate", () => {
  move();
  if (stretch && stretch.video === open && !player.paused && player.currentTime >= stretch.end) player.currentTime = stretch.start;
});
player.addEventListener("seeking", move);
player.addEventListener("loadedmetadata", move);
player.addEventListener("play", surroundWhilePlaying);
window.addEventListener("resize", move);
player.addEventListener("error", () => complain(`The browser cannot play ${video.title}.`));

// --- cutting the bouts again ------------------------------------------------------------------------

const LONGEST = { smooth_seconds: 10, min_seconds: 60, max_gap_seconds: 60, threshold: 1 };
const sliders = {};
let cutting = null, wanted = null;  // the cut that is being made, and the values of the one after it

function buildSliders() {
  for (const [name, help] of setup.cutting) {
    const input = element("input", { type: "range", min: 0, max: LONGEST[name], step: name === "threshold" ? 0.01 : 0.1 });
    const value = element("small");  // no output: a label belongs to the first of its fields
    const label = element("label", { title: help }, element("span", { textContent: name.replaceAll("_", " ") }), value, input);
    input.addEventListener("input", () => { showValues(); cut(); });
    sliders[name] = { input, value };
    $("sliders").append(label);
  }
  const box = element("input", { type: "checkbox" });
  box.addEventListener("input", () => { showValues(); cut(); });
  sliders.common = { input: box };
  $("sliders").append(element("label", { className: "box" }, box, "one threshold for all behaviours"));
  const [words, help] = setup.abstain;
  const abstain = element("input", { type: "checkbox", id: "abstain" });
  abstain.addEventListener("input", () => cut());
  sliders.abstain = { input: abstain };
  $("sliders").append(element("label", { className: "box", title: help }, abstain, words));
  $("own").addEventListener("click", () => cut({}));
}

function showValues(values = null) {
  if (values) {
    for (const [name] of setup.cutting) {
      const number = values[name] ?? 0.5;
      sliders[name].input.max = Math.max(LONGEST[name], number);
      sliders[name].input.value = number;
    }
    sliders.common.input.checked = values.threshold !== null;
    sliders.abstain.input.checked = values.abstain_outside;
  }
  for (const [name] of setup.cutting) {
    const own = name === "threshold" && !sliders.common.input.checked;
    sliders[name].input.disabled = own;
    sliders[name].value.textContent = own ? "the model's own" : name === "threshold" ? sliders[name].input.value : `${sliders[name].input.value} s`;
  }
}

function chosenValues() {
  const values = { abstain_outside: sliders.abstain.input.checked };
  for (const [name] of setup.cutting) {
    if (name !== "threshold" || sliders.common.input.checked) values[name] = Number(sliders[name].input.value);
  }
  return values;
}

async function cut(values = chosenValues()) {
  wanted = values;
  if (cutting) return;
  while (wanted) {
    cutting = wanted;
    wanted = null;
    try {
      const made = await ask("api/cut", { method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify(cutting) });
      if (!wanted) showValues(made);
      complain("");
      const number = open;
      if (video && !video.version && !unsaved) {
        const details = await ask(`api/videos/${number}`);
        if (open === number && !video.version && !unsaved) {
          video.bouts = details.bouts.map(([label, start, end]) => ({ label, start, end }));
          chosen = null;
          draw();
        }
      }
      state = await ask("api/state");
      showList();
    } catch (error) {
      complain(error.message);
    }
  }
  cutting = null;
}

// --- training on ------------------------------------------------------------------------------------

async function train() {
  await saving;
  try {
    state.training = await ask("api/train", { method: "POST" });
    complain("");
  } catch (error) {
    complain(error.message);
  }
  showTraining();
}

async function use(which) {
  try {
    await ask(`api/use/${which}`, { method: "POST" });
    complain("");
    const number = open;
    if (video && !video.version) await show(number, player.currentTime, true);
  } catch (error) {
    complain(error.message);
  }
}

let trainedText = "";
function showTraining() {
  const training = state.training;
  $("train").disabled = training.status === "running";
  $("model").textContent = training.model;
  const text = JSON.stringify(training);
  if (text === trainedText) return;
  trainedText = text;
  const box = $("trained");
  box.replaceChildren();
  if (training.message) box.append(element("p", { textContent: training.message }));
  if (training.rows && training.rows.length) {
    const cells = (tag, values) => element("tr", {}, ...values.map((v) => element(tag, { textContent: v })));
    box.append(element("table", {}, element("thead", {}, cells("th", ["", "before", "after"])),
      element("tbody", {}, ...training.rows.map((row) => cells("td", row)))));
  }
  for (const [which, words] of training.choices || []) {
    const button = element("button", { type: "button", textContent: words });
    button.addEventListener("click", () => use(which));
    box.append(button);
  }
}

build();
buildSliders();
refresh();
