// Functions for the tables: formats of numbers and intervals, a theme with the page's colors, and links to runs.
(function () {
  "use strict";
  function digits(value) {
    if (value === null || value === undefined || Number.isNaN(value)) return "";
    if (typeof value !== "number") return String(value);
    if (!Number.isFinite(value)) return value > 0 ? "∞" : "-∞";
    if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString("en-US");
    var size = Math.abs(value);
    if (size < 1e-3 || size >= 1e6) return value.toExponential(1);
    if (size < 1) return value.toFixed(4);
    return Number(value.toPrecision(4)).toLocaleString("en-US", { minimumSignificantDigits: 4, maximumSignificantDigits: 4 });
  }
  window.dashAgGridFunctions = Object.assign(window.dashAgGridFunctions || {}, {
    rscDigits: function (params) { return digits(params.value); },
    rscInterval: function (params) {
      var low = params.data[params.colDef.field + " from"], high = params.data[params.colDef.field + " to"];
      var ends = typeof low === "number" ? " [" + digits(low) + ", " + digits(high) + "]" : "";
      return digits(params.value) + ends;
    },
    rscTheme: function (theme) {
      return theme.withParams({
        backgroundColor: "var(--paper)", foregroundColor: "var(--ink)", headerTextColor: "var(--muted)",
        headerBackgroundColor: "var(--paper)", borderColor: "var(--line)", accentColor: "var(--accent)",
        chromeBackgroundColor: "var(--paper)", rowHoverColor: "var(--ground)", inputBackgroundColor: "var(--paper)",
        menuBackgroundColor: "var(--paper)", textColor: "var(--ink)", wrapperBorder: false, fontFamily: "inherit",
        fontSize: 13, headerFontSize: 13, rowHeight: 32, headerHeight: 34, cellHorizontalPadding: 10, columnBorder: false,
      });
    },
  });
  window.dashAgGridComponentFunctions = Object.assign(window.dashAgGridComponentFunctions || {}, {
    RscRuns: function (props) {
      var made = window.React.createElement;
      return made("span", null, (props.value || []).map(function (link, place) {
        var look = link[1]
          ? made("a", { href: link[1], target: "_blank", rel: "noopener", title: "open the run in MLflow" }, link[0])
          : made("code", null, link[0]);
        return made("span", { key: place }, look, " ");
      }));
    },
  });
})();
