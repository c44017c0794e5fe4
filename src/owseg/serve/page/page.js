// The page of owseg serve: an image is sent to /v1/predict, and its map and regions are drawn over it.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const UNKNOWN = { name: "unknown", color: [255, 0, 255] };
const byId = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
let colors = new Map();
let asked = 0;

function say(text, wrong = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("wrong", wrong);
}

// Each refusal is one sentence as JSON; anything else comes from somewhere between the service and the page.
async function answerOf(path, options) {
  const found = await fetch(path, options);
  const value = await found.json().catch(() => ({ error: `the answer has the status ${found.status}.` }));
  if (!found.ok) throw new Error(value.error);
  return value;
}

async function describe() {
  const model = await answerOf("v1/model");
  colors = new Map([...model.classes, UNKNOWN].map((one) => [one.name, one.color]));
  const version = model.version === null ? "" : `, version ${model.version}`;
  byId("model").textContent = `${model.name}${version}: ${model.classes.map((one) => one.name).join(", ")}`;
}

function swatch([red, green, blue]) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 18;
  const pen = canvas.getContext("2d");
  pen.fillStyle = `rgb(${red}, ${green}, ${blue})`;
  pen.fillRect(0, 0, 18, 18);
  return canvas;
}

function listClasses(classes) {
  const rows = Object.entries(classes).sort((a, b) => b[1] - a[1]).map(([name, share]) => {
    const row = document.createElement("tr");
    for (const content of [swatch(colors.get(name) ?? [0, 0, 0]), name, percent(share)]) {
      row.insertCell().append(content);
    }
    return row;
  });
  byId("classes").replaceChildren(...rows);
}

function boxOf(region, number, size) {
  const group = document.createElementNS(SVG, "g");
  const [x, y, width, height] = region.box;
  for (const kind of ["outer", "inner"]) {
    const rect = document.createElementNS(SVG, "rect");
    rect.setAttribute("class", kind);
    Object.entries({ x, y, width, height }).forEach(([key, value]) => rect.setAttribute(key, value));
    group.append(rect);
  }
  const text = document.createElementNS(SVG, "text");
  text.setAttribute("font-size", Math.max(10, Math.min(...size) / 24));
  text.setAttribute("x", x + 4);
  text.setAttribute("y", y + Math.max(10, Math.min(...size) / 24));
  text.textContent = number;
  group.append(text);
  return group;
}

function listRegions(regions, size) {
  const boxes = regions.map((region, i) => boxOf(region, i + 1, size));
  byId("regions").setAttribute("viewBox", `0 0 ${size[1]} ${size[0]}`);
  byId("regions").replaceChildren(...boxes);
  const items = regions.map((region, i) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.textContent = `${percent(region.share)}, most like ${region.nearest}`;
    const choose = () => boxes.forEach((box, k) => box.setAttribute("class", k === i ? "chosen" : ""));
    ["mouseenter", "focus", "click"].forEach((event) => button.addEventListener(event, choose));
    item.append(button);
    return item;
  });
  byId("list").replaceChildren(...items);
  byId("none").hidden = regions.length > 0;
}

function show(file, found) {
  URL.revokeObjectURL(byId("image").src);
  byId("image").src = URL.createObjectURL(file);
  byId("map").src = `data:image/png;base64,${found.maps.open_set}`;
  listClasses(found.classes);
  listRegions(found.regions, found.size);
  byId("warnings").replaceChildren(...found.warnings.map((sentence) => {
    const item = document.createElement("li");
    item.textContent = sentence;
    return item;
  }));
  byId("result").hidden = false;
  say(`${file.name}: ${found.size[1]}x${found.size[0]}, ${percent(found.unknown)} unknown.`);
}

async function predict(file) {
  const number = ++asked;
  say(`${file.name} is being predicted …`);
  const form = new FormData();
  form.append("image", file);
  try {
    const found = await answerOf("v1/predict?maps=open_set", { method: "POST", body: form });
    if (number === asked) show(file, found);
  } catch (error) {
    if (number !== asked) return;
    byId("result").hidden = true;
    say(error.message, true);
  }
}

function listen() {
  const drop = byId("drop");
  byId("file").addEventListener("change", (event) => event.target.files[0] && predict(event.target.files[0]));
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files[0]) predict(event.dataTransfer.files[0]);
    });
  }
  byId("opacity").addEventListener("input", drawOptions);
  byId("boxes").addEventListener("input", drawOptions);
  drawOptions();
}

function drawOptions() {
  byId("map").style.opacity = byId("opacity").value / 100;
  byId("regions").style.visibility = byId("boxes").checked ? "visible" : "hidden";
}

listen();
describe().catch((error) => say(error.message, true));
