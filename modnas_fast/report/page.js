"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("report-data").textContent).figures;
  const hidden = new Set();
  const panels = [...document.querySelectorAll(".panel")];
  const select = document.getElementById("device");
  const axis = {
    gridcolor: "#e8ebef", linecolor: "#94a3b8", tickcolor: "#94a3b8", showline: true, zeroline: false,
    ticks: "outside", ticklen: 4, automargin: true,
  };
  const hover = { bgcolor: "#fff", bordercolor: "#94a3b8", font: { color: "#1c2430", size: 12 } };

  const layoutOf = (layout) => ({
    hovermode: "closest",
    ...layout,
    xaxis: { ...axis, ...layout.xaxis },
    yaxis: { ...axis, ...layout.yaxis },
    autosize: true,
    showlegend: false,
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    margin: { l: 56, r: 18, t: 30, b: 48 },
    paper_bgcolor: "#fff",
    plot_bgcolor: "#fff",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: "#1c2430" },
    hoverlabel: { ...hover, align: "left", namelength: -1 },
  });
  const buttons = [["toImage", "zoom2d", "pan2d", "resetScale2d"]];
  const config = { displaylogo: false, responsive: true, modeBarButtons: buttons };

  const withVisibility = (place, traces) =>
    "shared" in place.dataset
      ? traces.map((trace) => ({ ...trace, visible: !hidden.has(trace.meta) }))
      : traces;

  function draw(place) {
    const figure = figures[place.dataset.figure];
    Plotly.react(place, withVisibility(place, figure.data), layoutOf(figure.layout), config);
  }

  function show(index) {
    panels.forEach((panel, i) => { panel.hidden = i !== index; });
    select.value = String(index);
    panels[index].querySelectorAll(".plot").forEach(draw);
  }

  function step(by) {
    select.selectedIndex = (select.selectedIndex + by + panels.length) % panels.length;
    show(Number(select.value));
  }

  function toggle(device) {
    if (device === "all") hidden.clear();
    else if (!hidden.delete(Number(device))) hidden.add(Number(device));
    document.querySelectorAll(".chip[aria-pressed]").forEach((chip) => {
      chip.setAttribute("aria-pressed", String(!hidden.has(Number(chip.dataset.device))));
    });
    document.querySelectorAll(".plot[data-shared]").forEach(draw);
  }

  function follow() {
    const match = /^#device-(\d+)$/.exec(location.hash);
    if (!match || Number(match[1]) >= panels.length) return false;
    show(Number(match[1]));
    document.getElementById("devices").scrollIntoView();
    return true;
  }

  select.addEventListener("change", () => show(Number(select.value)));
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  document.querySelectorAll(".chip").forEach((chip) => {
    chip.addEventListener("click", () => toggle(chip.dataset.device));
  });
  window.addEventListener("hashchange", follow);

  if (!follow()) show(Number(select.value));
  document.querySelectorAll(".plot").forEach((place) => { if (!place.closest(".panel")) draw(place); });
})();
