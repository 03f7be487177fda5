(() => {
  const panels = [...document.querySelectorAll(".panel")];
  const select = document.getElementById("device");

  function show(index) {
    panels.forEach((panel, i) => { panel.hidden = i !== index; });
    select.value = String(index);
    panels[index].querySelectorAll(".plot").forEach((place) => {
      draw(place);
      link(panels[index], place);
    });
  }

  // Networks chosen in one figure or table of a device are shown in all of them.
  function choose(panel, networks) {
    choices.set(panel, new Set(networks));
    const count = choices.get(panel).size;
    const line = panel.querySelector(".choice");
    line.hidden = !count;
    line.firstElementChild.textContent = count === 1 ? "1 network chosen" : `${count} networks chosen`;
    panel.querySelectorAll("[data-network]").forEach((each) => {
      const chosen = choices.get(panel).has(Number(each.dataset.network));
      each.classList.toggle("chosen", chosen);
      each.querySelector(".choose").setAttribute("aria-pressed", String(chosen));
    });
    panel.querySelectorAll(".plot").forEach(draw);
  }

  function toggle(panel, network) {
    const alone = choices.get(panel)?.size === 1 && choices.get(panel).has(network);
    choose(panel, alone ? [] : [network]);
  }

  function link(panel, place) {
    if (place.linked || !place.data.some((trace) => trace.customdata)) return;
    place.linked = true;
    const networks = (event) => (event?.points ?? []).map((point) => point.customdata).filter(Number.isInteger);
    // Plotly is still at work on the figure while it tells of the event.
    const later = (action) => (event) => setTimeout(() => action(networks(event)));
    place.on("plotly_click", later(([network]) => network !== undefined && toggle(panel, network)));
    // Plotly also tells of a box with nothing in it when a box is taken away.
    place.on("plotly_selected", later((chosen) => chosen.length && choose(panel, chosen)));
    place.on("plotly_deselect", later(() => choose(panel, [])));
  }

  panels.forEach((panel) => {
    panel.querySelector(".choice button").addEventListener("click", () => choose(panel, []));
    panel.querySelectorAll("[data-network]").forEach((each) => {
      each.addEventListener("click", (event) => {
        // Whoever marks a text to copy it chooses nothing.
        if (event.target.closest(".choose") || !String(getSelection())) toggle(panel, Number(each.dataset.network));
      });
    });
  });

  function step(by) {
    select.selectedIndex = (select.selectedIndex + by + panels.length) % panels.length;
    show(Number(select.value));
  }

  function follow() {
    const match = /^#device-(\d+)$/.exec(location.hash);
    if (!match || Number(match[1]) >= panels.length) return false;
    show(Number(match[1]));
    document.getElementById("devices").scrollIntoView();
    return true;
  }

  // Of many devices, those whose name has what is written in the box.
  const box = document.getElementById("filter");
  box?.addEventListener("input", () => {
    const rows = [...document.querySelectorAll("tr[data-name]")];
    const wanted = box.value.trim().toLowerCase();
    rows.forEach((row) => { row.hidden = !row.dataset.name.toLowerCase().includes(wanted); });
    const left = rows.filter((row) => !row.hidden).length;
    document.getElementById("filtered").textContent = wanted ? `${left} of ${rows.length}` : "";
  });

  select.addEventListener("change", () => show(Number(select.value)));
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  window.addEventListener("hashchange", follow);

  if (!follow()) show(Number(select.value));
})();
