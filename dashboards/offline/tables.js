// Builds the tables: each element with data-rows becomes a table when it is shown. Cells are set as text, never as HTML.
(function () {
  "use strict";
  function cell(content) {
    var td = document.createElement("td");
    if (!Array.isArray(content)) { td.textContent = content; return td; }
    content.forEach(function (link) {
      var part = document.createElement(link[1] ? "a" : "code");
      part.textContent = link[0];
      if (link[1]) { part.href = link[1]; part.target = "_blank"; part.rel = "noopener"; part.title = "open the run in MLflow"; }
      td.append(part, " ");
    });
    return td;
  }
  function row(cells, kind) {
    var tr = document.createElement("tr");
    cells.forEach(function (content) {
      var made = kind === "th" ? document.createElement("th") : cell(content);
      if (kind === "th") made.textContent = content;
      tr.append(made);
    });
    return tr;
  }
  function build(box) {
    var rows = box.dataset.rows;
    if (box.shown === rows) return;
    box.shown = rows;
    var data = JSON.parse(rows), table = document.createElement("table");
    var head = document.createElement("thead"), body = document.createElement("tbody");
    head.append(row(data.head, "th"));
    data.rows.forEach(function (cells) { body.append(row(cells, "td")); });
    table.append(head, body);
    box.replaceChildren(table);
  }
  function visit() {
    document.querySelectorAll("[data-rows]").forEach(function (box) {
      var folded = box.closest("details");
      if (!folded || folded.open) build(box);
    });
  }
  function start() {
    new MutationObserver(visit).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-rows"] });
    document.addEventListener("toggle", visit, true);
    visit();
  }
  document.body ? start() : document.addEventListener("DOMContentLoaded", start);
})();
