(() => {
  const panels = [...document.querySelectorAll(".panel")];
  const select = document.getElementById("device");

  function show(index) {
    panels.forEach((panel, i) => { panel.hidden = i !== index; });
    select.value = String(index);
    panels[index].querySelectorAll(".plot").forEach(draw);
  }

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

  select.addEventListener("change", () => show(Number(select.value)));
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  window.addEventListener("hashchange", follow);

  if (!follow()) show(Number(select.value));
})();
