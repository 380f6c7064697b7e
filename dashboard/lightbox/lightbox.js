const ABOVE = 62, BELOW = 38, GAP = 12;  // caption, color bar, gap: as in the style sheet
const BLINK = 700;  // milliseconds; well below three changes a second
const DEEPEST = 16;

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

function bar(of) {
  const strip = element("i");
  strip.style.background = `linear-gradient(to right, ${of.stops.join(", ")})`;
  const names = [of.low, of.unit, of.high].map((text) => element("b", { textContent: text }));
  names.forEach((one) => { one.style.fontWeight = "400"; });
  return [strip, element("span", {}, ...names)];
}

export default function ({ parentElement, data, setTriggerValue }) {
  const { panels, pictures, first } = data;
  const dialog = parentElement.querySelector("dialog");
  const stage = dialog.querySelector(".stage");
  const title = dialog.querySelector("output");
  const buttons = Object.fromEntries(
    [...dialog.querySelectorAll("button")].map((one) => [one.dataset.act, one]),
  );
  const listening = new AbortController();
  const listen = (target, name, act, options = {}) =>
    target.addEventListener(name, act, { signal: listening.signal, ...options });

  const maps = panels.map((_, i) => i).filter((i) => panels[i].layer);
  const view = { alone: data.presented ? first : null, at: first, scale: 1, x: 0, y: 0, blink: null };

  // -- one figure for each panel -----------------------------------------------------------------

  const made = panels.map((panel) => {
    const picture = element("img", { src: pictures[panel.picture], alt: "", draggable: false });
    const layer = element("img", { className: "layer", alt: "", draggable: false });
    const both = element("div", { className: "both" }, picture, layer);
    const pane = element("div", { className: "pane" }, both);
    const caption = element("figcaption");
    const below = element("div", { className: "bar" });
    const figure = element("figure", {}, caption, pane, below);
    return { figure, pane, both, layer, caption, below };
  });

  function put(place, number) {  // the map of one panel into the figure of another, for blinking
    const { title: name, subtitle, layer, scale } = panels[number];
    const one = made[place];
    one.caption.replaceChildren(element("b", { textContent: name }), subtitle);
    one.layer.src = layer || "";
    one.layer.style.display = layer ? "" : "none";
    one.below.replaceChildren(...(scale ? bar(scale) : []));
  }

  // -- layout ------------------------------------------------------------------------------------

  function arrange() {
    const numbers = view.alone === null ? panels.map((_, i) => i) : [view.alone];
    const shown = numbers.map((i) => made[i]);
    const ratio = Math.min(...numbers.map((i) => panels[i].ratio));
    const [above, below] = [ABOVE * (data.presented ? 2 : 1), maps.length ? BELOW : 0];
    const { clientWidth: wide, clientHeight: tall } = stage;
    let best = { width: 0, columns: 1 };
    for (let columns = 1; columns <= shown.length; columns += 1) {
      const rows = Math.ceil(shown.length / columns);
      const across = (wide - GAP * (columns - 1)) / columns;
      const down = (tall - GAP * (rows - 1)) / rows - above - below;
      const width = Math.floor(Math.max(Math.min(across, down * ratio), 80));
      if (width > best.width) best = { width, columns };
    }
    stage.style.gridTemplateColumns = `repeat(${best.columns}, ${best.width}px)`;
    numbers.forEach((i) => { made[i].pane.style.height = `${best.width / panels[i].ratio}px`; });
    stage.replaceChildren(...shown.map((one) => one.figure));
    const place = view.alone === null
      ? `All ${panels.length}`
      : `${view.alone + 1} of ${panels.length}: ${panels[view.alone].title}`;
    title.textContent = view.blink ? `Blinking: ${view.blink.names}` : place;
    buttons.all.disabled = view.alone === null;
  }

  function zoom(scale, px = 0.5, py = 0.5) {  // keeps the place (px, py) of a pane where it is
    const next = Math.min(Math.max(scale, 1), DEEPEST);
    view.x = px - ((px - view.x) * next) / view.scale;
    view.y = py - ((py - view.y) * next) / view.scale;
    view.scale = next;
    pan(0, 0);
  }

  function pan(dx, dy) {
    const least = 1 - view.scale;
    view.x = Math.min(Math.max(view.x + dx, least), 0);
    view.y = Math.min(Math.max(view.y + dy, least), 0);
    made.forEach(({ both }) => {
      both.style.transform =
        `translate(${100 * view.x}%, ${100 * view.y}%) scale(${view.scale})`;
    });
  }

  // -- acts --------------------------------------------------------------------------------------

  function still() {
    if (!view.blink) return;
    clearInterval(view.blink.timer);
    put(view.blink.place, view.blink.place);
    view.blink = null;
    buttons.blink.setAttribute("aria-pressed", "false");
  }

  function show(number) {
    still();
    view.alone = number;
    if (number !== null) view.at = number;
    arrange();
  }

  function step(by) {
    const count = panels.length;
    if (view.alone === null) show((view.at + (by < 0 ? count - 1 : 0)) % count);
    else if (view.alone + by < 0 || view.alone + by >= count) show(null);
    else show(view.alone + by);
  }

  function blink() {
    if (view.blink) {
      show(view.alone);
      return;
    }
    if (maps.length < 2) return;
    const place = maps.includes(view.alone ?? view.at) ? view.alone ?? view.at : maps[0];
    const other = maps[(maps.indexOf(place) + 1) % maps.length];
    view.alone = place;
    let turn = false;
    const timer = setInterval(() => {
      turn = !turn;
      put(place, turn ? other : place);
    }, BLINK);
    view.blink = { timer, place, names: `${panels[place].title}, ${panels[other].title}` };
    buttons.blink.setAttribute("aria-pressed", "true");
    arrange();
  }

  const lift = (lifted) => stage.classList.toggle("lifted", lifted);
  const acts = {
    previous: () => step(-1),
    next: () => step(1),
    all: () => show(null),
    blink,
    closer: () => zoom(view.scale * 1.5),
    farther: () => zoom(view.scale / 1.5),
    close: () => dialog.close(),
  };
  const keys = {
    arrowleft: acts.previous, arrowright: acts.next, b: blink, "+": acts.closer,
    "-": acts.farther, 0: () => zoom(1),
  };

  Object.entries(acts).forEach(([name, act]) => listen(buttons[name], "click", act));
  listen(buttons.lift, "pointerdown", () => lift(true));
  ["pointerup", "pointerleave", "pointercancel"].forEach(
    (name) => listen(buttons.lift, name, () => lift(false)),
  );
  listen(dialog, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    if (key === "h") lift(true);
    const act = keys[key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  listen(dialog, "keyup", (event) => event.key.toLowerCase() === "h" && lift(false));
  listen(dialog, "close", () => {
    still();
    setTriggerValue("closed", true);
  });

  listen(stage, "wheel", (event) => {
    const pane = event.target.closest(".pane");
    if (!pane) return;
    event.preventDefault();
    const box = pane.getBoundingClientRect();
    const place = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    zoom(view.scale * Math.exp(-event.deltaY / 400), ...place);
  }, { passive: false });
  listen(stage, "dblclick", () => zoom(1));
  let dragged = null;
  listen(stage, "pointerdown", (event) => {
    const pane = event.target.closest(".pane");
    if (!pane) return;
    pane.setPointerCapture(event.pointerId);
    dragged = { x: event.clientX, y: event.clientY, box: pane.getBoundingClientRect() };
  });
  listen(stage, "pointermove", (event) => {
    if (!dragged) return;
    const { x, y, box } = dragged;
    pan((event.clientX - x) / box.width, (event.clientY - y) / box.height);
    Object.assign(dragged, { x: event.clientX, y: event.clientY });
  });
  ["pointerup", "pointercancel"].forEach((name) => listen(stage, name, () => { dragged = null; }));

  buttons.blink.hidden = maps.length < 2;
  buttons.lift.hidden = !maps.length;
  dialog.classList.toggle("large", data.presented);
  stage.classList.toggle("blocks", !data.smooth);
  made.forEach((_, i) => put(i, i));
  if (!dialog.open) dialog.showModal();
  stage.tabIndex = -1;
  stage.focus();
  arrange();
  const watching = new ResizeObserver(arrange);
  watching.observe(dialog);
  return () => {
    still();
    listening.abort();
    watching.disconnect();
  };
}
