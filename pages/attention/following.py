"""Maps that follow the pointer over the picture of the query, without asking the server."""

from __future__ import annotations

import streamlit as st

from pages.attention.every_patch import EveryPatch

_HTML = "<p></p>"
_CSS = """
p { margin: 0; font: .875rem var(--st-font); color: var(--st-text-color); opacity: .8; }
"""
_JS = """
const COLOR = "#2dd4bf";

function colors(scale) {  // places and numbers of a color scale of Plotly
  return scale.map(([place, text]) => {
    const [red, green, blue, alpha = 1] = text.match(/[\\d.]+/g).map(Number);
    return [place, [red, green, blue, 255 * alpha]];
  });
}

function colored(steps, share) {
  const at = Math.min(1, Math.max(0, share));
  const next = Math.max(1, steps.findIndex(([place]) => place >= at));
  const [low, first] = steps[next - 1];
  const [high, second] = steps[next];
  const part = high > low ? (at - low) / (high - low) : 0;
  return first.map((value, channel) => value + part * (second[channel] - value));
}

export default function ({ parentElement, data }) {
  const { chart, query, grid, panels, idle } = data;
  const text = parentElement.querySelector("p");
  const values = panels.map((panel) => {
    const bytes = Uint8Array.from(atob(panel.values), (letter) => letter.charCodeAt(0));
    return new Int16Array(bytes.buffer);
  });
  const canvas = document.createElement("canvas");
  Object.assign(canvas.style, { position: "absolute", inset: 0, pointerEvents: "none" });
  const pictures = new Map();
  const plotOf = (key) => document.querySelector(`.st-key-${key} .js-plotly-plot`);

  const picture = (source) => {
    if (!pictures.has(source)) {
      const image = new Image();
      image.src = source;
      pictures.set(source, image);
    }
    return pictures.get(source);
  };

  const partsOf = (plot, number) => {  // what the chart draws in one panel
    const suffix = number ? String(number + 1) : "";
    const layout = plot._fullLayout;
    const below = layout.images.find((image) => image.xref === "x" + suffix);
    const map = plot._fullData.find(
      (trace) => trace.type === "heatmap" && trace.xaxis === "x" + suffix && trace.opacity > 0
    );
    const [x, y] = [layout["xaxis" + suffix], layout["yaxis" + suffix]];
    return below && map && x && y ? { below, map, x, y, image: picture(below.source) } : null;
  };

  const draw = (plot, [row, col]) => {
    const box = plot.getBoundingClientRect();
    const dense = window.devicePixelRatio || 1;
    canvas.width = box.width * dense;
    canvas.height = box.height * dense;
    canvas.style.width = `${box.width}px`;
    canvas.style.height = `${box.height}px`;
    const brush = canvas.getContext("2d");
    brush.scale(dense, dense);
    panels.forEach((panel, index) => {
      const parts = partsOf(plot, panel.number);
      if (!parts || !parts.image.complete) return;
      const at = [
        Math.floor(((row + 0.5) * panel.rows) / grid[0]),
        Math.floor(((col + 0.5) * panel.cols) / grid[1]),
      ];
      paint(brush, parts, panel, values[index], at);
    });
  };

  const paint = (brush, { below, map, x, y, image }, panel, maps, [row, col]) => {
    const count = panel.rows * panel.cols;
    const first = (row * panel.cols + col) * count;
    const small = document.createElement("canvas");
    [small.width, small.height] = [panel.cols, panel.rows];
    const pen = small.getContext("2d");
    const pixels = pen.createImageData(panel.cols, panel.rows);
    const steps = colors(map.colorscale);
    for (let place = 0; place < count; place += 1) {
      const share = (maps[first + place] * panel.step - map.zmin) / (map.zmax - map.zmin);
      pixels.data.set(colored(steps, share), 4 * place);
    }
    pen.putImageData(pixels, 0, 0);
    const [left, right] = x.range;
    const [bottom, top] = y.range;
    const target = [x._offset, y._offset, x._length, y._length];
    const source = (width, height) => [
      (left / below.sizex) * width,
      (top / below.sizey) * height,
      ((right - left) / below.sizex) * width,
      ((bottom - top) / below.sizey) * height,
    ];
    brush.save();
    brush.beginPath();
    brush.rect(...target);
    brush.clip();
    brush.drawImage(image, ...source(image.naturalWidth, image.naturalHeight), ...target);
    brush.imageSmoothingEnabled = false;
    brush.globalAlpha = map.opacity;
    brush.drawImage(small, ...source(panel.cols, panel.rows), ...target);
    brush.globalAlpha = 1;
    brush.strokeStyle = COLOR;
    brush.lineWidth = 3;
    const across = (value) => target[0] + ((value - left) / (right - left)) * target[2];
    const down = (value) => target[1] + ((value - top) / (bottom - top)) * target[3];
    const [wide, high] = [below.sizex / panel.cols, below.sizey / panel.rows];
    const [x0, y0] = [across(col * wide), down(row * high)];
    brush.strokeRect(x0, y0, across((col + 1) * wide) - x0, down((row + 1) * high) - y0);
    const label = `row ${row}, column ${col}`;
    brush.font = "13px sans-serif";
    brush.fillStyle = "rgba(0, 0, 0, .65)";
    brush.fillRect(target[0], target[1], brush.measureText(label).width + 12, 22);
    brush.fillStyle = "white";
    brush.fillText(label, target[0] + 6, target[1] + 15);
    brush.restore();
  };

  const show = (event) => {
    const place = event.points[0].customdata;
    const plot = plotOf(chart);
    if (!place || !plot || !plot._fullLayout) return;
    if (canvas.parentElement !== plot) plot.append(canvas);
    plot.style.position = "relative";
    draw(plot, place);
    text.textContent = `Row ${place[0]}, column ${place[1]}. Click to keep it.`;
  };
  const clear = () => {
    canvas.remove();
    text.textContent = idle;
  };
  let held = null;
  const attach = () => {  // the charts come later than this, and again when their data change
    const plot = plotOf(chart);
    if (plot && plot._fullLayout) {
      panels.forEach((panel) => partsOf(plot, panel.number));  // loads the pictures
    }
    const found = plotOf(query);
    if (!found || found === held || !found.on) return;
    held = found;
    held.on("plotly_hover", show);
    held.on("plotly_unhover", clear);
  };
  clear();
  attach();
  const timer = setInterval(attach, 300);
  return () => {
    clearInterval(timer);
    canvas.remove();
    if (held && held.removeListener) {
      held.removeListener("plotly_hover", show);
      held.removeListener("plotly_unhover", clear);
    }
  };
}
"""
_mount = st.components.v2.component("parallax_following_maps", html=_HTML, css=_CSS, js=_JS)


def follow(found: EveryPatch | None) -> None:
    """Let the maps of a chart follow the pointer over the picture of the query.

    Parameters
    ----------
    found
        ``None`` where the maps are too many for a browser.
    """
    if found is None:
        st.caption("With so many patches the maps follow a click, not the pointer.")
        return
    _mount(
        key=f"{found.chart}-following",
        data={
            "chart": found.chart,
            "query": found.query,
            "grid": found.grid,
            "panels": [{"number": n, **panel.packed} for n, panel in found.panels.items()],
            "idle": "Point at a patch of the picture: the maps follow, on the same scale.",
        },
    )
