"use strict";
const { draw, choices } = (() => {
  const figures = JSON.parse(document.getElementById("report-data").textContent).figures;
  const hidden = new Set();
  // Per panel of a device: the numbers of the networks that its reader chose.
  const choices = new Map();
  const axis = {
    gridcolor: "#e8ebef", linecolor: "#94a3b8", tickcolor: "#94a3b8", showline: true, zeroline: false,
    ticks: "outside", ticklen: 4, automargin: true,
  };
  let revision = 0;
  const hover = { bgcolor: "#fff", bordercolor: "#94a3b8", font: { color: "#1c2430", size: 12 } };

  // Axes named in a layout are drawn, so a figure without any must not get them.
  const axesOf = (layout) =>
    "polar" in layout || "scene" in layout || "ternary" in layout
      ? {}
      : { xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis } };

  const layoutOf = (layout) => ({
    hovermode: "closest",
    margin: { l: 56, r: 18, t: 30, b: 48 },
    ...layout,
    ...axesOf(layout),
    autosize: true,
    showlegend: false,
    dragmode: matchMedia("(pointer: coarse)").matches ? false
      : "scene" in layout ? "turntable" : layout.dragmode ?? "zoom",
    uirevision: "zoom stays",
    selectionrevision: revision++,
    paper_bgcolor: "#fff",
    plot_bgcolor: "#fff",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: "#1c2430" },
    hoverlabel: { ...hover, align: "left", namelength: -1 },
  });

  const configOf = (place, layout) => ({
    displaylogo: false,
    responsive: true,
    displayModeBar: place.closest(".small") ? false : "hover",
    modeBarButtons: [
      "scene" in layout ? ["toImage", "resetCameraDefault3d"]
        : "polar" in layout ? ["toImage"]
        : ["toImage", ...(layout.dragmode ? ["select2d", "lasso2d"] : []),
          ...("ternary" in layout ? [] : ["zoom2d", "pan2d", "resetScale2d"])],
    ],
  });

  const withVisibility = (place, traces) =>
    "shared" in place.dataset
      ? traces.map((trace) => ({ ...trace, visible: !hidden.has(trace.meta) }))
      : traces;

  // A chosen network stays as it is, the others fade: points by Plotly's selection, lines as a whole.
  function withChoice(place, traces) {
    const chosen = choices.get(place.closest(".panel"));
    return traces.map((trace) => {
      // Plotly writes what it selects into the traces, so it is given copies.
      if (!chosen?.size) return { ...trace };
      if (!trace.customdata) return { ...trace, opacity: trace.mode === "markers" ? 0.3 : 1 };
      const selectedpoints = [...trace.customdata.keys()].filter((i) => chosen.has(trace.customdata[i]));
      const faint = trace.mode.startsWith("lines") && !selectedpoints.length;
      return { ...trace, selectedpoints, opacity: faint ? 0.1 : 1 };
    });
  }

  function draw(place) {
    const { data, layout } = figures[place.dataset.figure];
    const traces = withChoice(place, withVisibility(place, data));
    Plotly.react(place, traces, layoutOf(layout), configOf(place, layout)).then(() => {
      // Words stand for the picture; its buttons stay. Every figure in space would have the same id.
      place.querySelectorAll(".main-svg").forEach((svg) => svg.setAttribute("aria-hidden", "true"));
      place.querySelectorAll("#scene").forEach((scene) => scene.removeAttribute("id"));
    });
  }

  // One figure per turn, so that a page with many of them answers while they are drawn.
  function drawAll(places) {
    const [first, ...rest] = places;
    if (!first) return;
    draw(first);
    if (rest.length) setTimeout(drawAll, 0, rest);
  }

  function toggle(trace) {
    if (trace === "all") hidden.clear();
    else if (!hidden.delete(Number(trace))) hidden.add(Number(trace));
    document.querySelectorAll(".chip[aria-pressed]").forEach((chip) => {
      chip.setAttribute("aria-pressed", String(!hidden.has(Number(chip.dataset.shows))));
    });
    drawAll(document.querySelectorAll(".plot[data-shared]"));
  }

  document.querySelectorAll(".chip").forEach((chip) => {
    chip.addEventListener("click", () => toggle(chip.dataset.shows));
  });
  // Paper is narrower than most screens: what is printed is drawn again at its width.
  function layOut(onPaper) {
    document.body.classList.toggle("paper", onPaper);
    document.querySelectorAll(".plot").forEach((place) => { if (place.clientWidth) draw(place); });
  }

  addEventListener("beforeprint", () => layOut(true));
  addEventListener("afterprint", () => layOut(false));
  drawAll([...document.querySelectorAll(".plot")].filter((place) => !place.closest(".panel")));
  return { draw, choices };
})();
