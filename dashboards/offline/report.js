// Script of the report file: draws figures when they come into view, and lists the runs behind a clicked point.
(function () {
  "use strict";
  var figures = JSON.parse(document.getElementById("figures").textContent);
  var settings = JSON.parse(document.getElementById("settings").textContent);
  var root = document.documentElement;
  var drawn = new Map();
  root.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";

  function neutral() {
    return settings.themes[root.dataset.theme];
  }
  function colored(layout) {
    var theme = neutral(), copy = Object.assign({}, layout);
    copy.paper_bgcolor = copy.plot_bgcolor = theme.paper;
    copy.font = Object.assign({}, copy.font, { color: theme.ink });
    copy.hoverlabel = Object.assign({}, copy.hoverlabel, { bgcolor: theme.paper, font: { color: theme.ink } });
    Object.keys(copy).filter(function (key) { return /^[xy]axis\d*$/.test(key); }).forEach(function (key) {
      var grid = "gridcolor" in copy[key] ? { gridcolor: theme.grid } : {};
      copy[key] = Object.assign({}, copy[key], grid, { linecolor: theme.muted, tickcolor: theme.muted });
    });
    return copy;
  }
  function links(point) {
    var data = point && point.customdata;
    while (Array.isArray(data)) data = data[0];
    return typeof data === "string" ? data.split(",").filter(Boolean) : [];
  }
  function list(box, runs) {
    var ul = document.createElement("ul"), head = document.createElement("p");
    head.textContent = runs.length + (runs.length === 1 ? " run" : " runs") + " behind this point";
    runs.forEach(function (run) {
      var parts = run.split(":"), li = document.createElement("li");
      var item = document.createElement(settings.ui ? "a" : "code");
      item.textContent = parts[1];
      if (settings.ui) {
        item.href = settings.ui + "#/experiments/" + encodeURIComponent(parts[0]) + "/runs/" + encodeURIComponent(parts[1]);
        item.target = "_blank";
        item.rel = "noopener";
      }
      li.append(item);
      ul.append(li);
    });
    box.replaceChildren(head, ul);
  }
  function draw(box) {
    var figure = figures[Number(box.dataset.figure)];
    drawn.set(box, figure);
    window.Plotly.newPlot(box, figure.data, colored(figure.layout), {
      responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    });
    box.on("plotly_click", function (event) {
      var runs = links(event.points[0]);
      if (runs.length) list(box.parentElement.querySelector(".picked"), runs);
    });
  }
  var seen = new IntersectionObserver(function (entries) {
    entries.forEach(function (entry) {
      if (entry.isIntersecting && !drawn.has(entry.target)) draw(entry.target);
    });
  }, { rootMargin: "400px" });
  document.querySelectorAll(".figure").forEach(function (box) { seen.observe(box); });
  document.getElementById("theme-button").addEventListener("click", function () {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    drawn.forEach(function (figure, box) { window.Plotly.react(box, figure.data, colored(figure.layout)); });
  });
})();
