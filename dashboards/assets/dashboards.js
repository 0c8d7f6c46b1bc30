// Client-side callbacks: filters and options change the URL, the theme is stored in a cookie, and figures are saved.
window.dash_clientside = Object.assign({}, window.dash_clientside, {
  rsc: {
    // Writes the changed control into the URL, unless its value is empty or the default. If several controls change
    // at the same time, a page was drawn. Its URL may be out of date, so it is not written.
    to_address: function (values, search) {
      var noUpdate = window.dash_clientside.no_update;
      var changed = window.dash_clientside.callback_context.triggered;
      if (changed.length !== 1) return noUpdate;
      var id = JSON.parse(changed[0].prop_id.replace(/\.value$/, "")), value = changed[0].value;
      var params = new URLSearchParams(search || ""), before = new URLSearchParams(params);
      params.delete(id.name);
      var list = Array.isArray(value) ? value : value === null || value === undefined ? [] : [value];
      list.forEach(function (one) {
        if (one !== "" && String(one) !== id.default) params.append(id.name, one);
      });
      var next = params.toString();
      params.sort();
      before.sort();
      return params.toString() === before.toString() ? noUpdate : next ? "?" + next : "";
    },
    // Asks for a refresh, unless the page is being drawn: its answer would replace that page, and what the user had
    // clicked on it would be lost.
    due: function (ticks) {
      return document.getElementById("page").dataset.dashIsLoading ? window.dash_clientside.no_update : ticks;
    },
    reset: function (clicks) {
      return clicks ? "" : window.dash_clientside.no_update;
    },
    // Sets the title of the browser's tab, and scrolls the menu to the current page.
    set_title: function (links) {
      var here = (links || []).find(function (link) { return link.props.className === "here"; });
      document.title = (here ? here.props.children + " · " : "") + "Rare spurious correlations";
      requestAnimationFrame(function () {
        var shown = document.querySelector("header nav a.here");
        if (shown) shown.parentElement.scrollLeft = shown.offsetLeft - shown.parentElement.offsetLeft - 40;
      });
      return window.dash_clientside.no_update;
    },
    toggle_theme: function (clicks) {
      if (!clicks) return window.dash_clientside.no_update;
      var root = document.documentElement;
      var theme = root.dataset.theme === "dark" ? "light" : "dark";
      root.dataset.theme = theme;
      document.cookie = "rsc_theme=" + theme + "; path=/; max-age=31536000; SameSite=Strict";
      return clicks;
    },
    save_image: function () {
      var triggered = window.dash_clientside.callback_context.triggered[0];
      if (!triggered || !triggered.value) return window.dash_clientside.no_update;
      var id = JSON.parse(triggered.prop_id.replace(/\.n_clicks$/, ""));
      var plots = document.querySelectorAll("#panel-" + CSS.escape(id.panel) + " .plot");
      var box = plots[id.index];
      var graph = box && box.querySelector(".js-plotly-plot");
      if (graph) {
        var name = box.dataset.name.replace(/[^A-Za-z0-9._-]+/g, "_");
        var layout = Object.assign({}, graph.layout, { showlegend: true });  // the saved file has its own legend
        window.Plotly.downloadImage({ data: graph.data, layout: layout }, { format: id.format, filename: name, width: 1000, height: 560, scale: 2 });
      }
      return Date.now();
    },
  },
});

// A button of a panel's legend shows or hides its series in all figures of the panel.
(function () {
  "use strict";
  function apply(graph) {
    var panel = graph.closest(".panel"), show = [], hide = [];
    var off = [...panel.querySelectorAll('.series[aria-pressed="false"]')].map(function (one) { return one.dataset.name; });
    var groups = graph.data.filter(function (one) { return off.includes(one.name); }).map(function (one) { return one.legendgroup; });
    graph.data.forEach(function (one, place) {
      var out = off.includes(one.name) || (one.legendgroup && groups.includes(one.legendgroup));
      if (out !== (one.visible === false)) (out ? hide : show).push(place);
    });
    if (hide.length) window.Plotly.restyle(graph, { visible: false }, hide);
    if (show.length) window.Plotly.restyle(graph, { visible: true }, show);
  }
  document.addEventListener("click", function (event) {
    var button = event.target.closest(".series");
    if (!button) return;
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") === "true" ? "false" : "true");
    button.closest(".panel").querySelectorAll(".js-plotly-plot").forEach(function (graph) {
      if (!graph.dataset.legend) graph.on("plotly_afterplot", function () { apply(graph); });  // plotly shows all series of new data
      graph.dataset.legend = "here";
      apply(graph);
    });
  });
})();
