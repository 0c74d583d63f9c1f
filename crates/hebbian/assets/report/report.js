"use strict";
// Draws the report from its data. Text goes into the page as text nodes alone, so that nothing in it is ever read as HTML.
(() => {
  const PATCHES_FIRST = 12;
  const UNITS_FIRST = 50;
  // With more, a confusion matrix has too many cells to read, and for a browser.
  const MOST_CLASSES = 200;
  let content = JSON.parse(document.getElementById("data").textContent);
  let shownRun = 0;
  let clock = 0;

  // ---- pieces

  function el(name, attributes, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
      else if (key === "style") for (const [property, to] of Object.entries(value)) node.style.setProperty(property, to);
      else node.setAttribute(key === "class_" ? "class" : key, value === true ? "" : value);
    }
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return node;
  }

  const percent = (share, digits = 2) => (100 * share).toFixed(digits) + " %";
  const spread = ({ mean, sd }) => sd === null ? percent(mean) : `${(100 * mean).toFixed(2)} ± ${percent(sd)}`;
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  // As many colours as the style sheet has for curves.
  const LINES = 7;
  const line = (index) => variable("line-" + (index % LINES));
  const date = (seconds) => (seconds ? new Date(1000 * seconds).toLocaleString() : null);
  const plural = (count, one, many) => count.toLocaleString("en") + " " + (count === 1 ? one : many || one + "s");

  // With three to five digits, or as many as tell it from a number that is `step` away: no more than a number has.
  function short(number, step = Infinity) {
    if (number === null || number === undefined) return "–";
    const size = Math.abs(number);
    if (size === 0) return "0";
    const place = (of) => Math.floor(Math.log10(of));
    const digits = (least) => Math.min(17, Math.max(least, place(size) - place(step) + 2));
    if (size >= 1e6) return +(number / 1e6).toPrecision(digits(3)) + " M";
    if (size >= 1e4) return +(number / 1e3).toPrecision(digits(3)) + " k";
    return String(+number.toPrecision(digits(size >= 1000 ? 5 : 4)));
  }

  // A small picture of a sheet.
  function picture(sheet, index, label) {
    const [column, row] = [index % sheet.columns, Math.floor(index / sheet.columns)];
    const place = (at, of) => (of > 1 ? (100 * at) / (of - 1) : 0) + "%";
    return el("span", {
      class_: sheet.signed ? "pic signed" : "pic", role: "img", "aria-label": label,
      style: {
        "background-image": `url(${sheet.png})`,
        "background-size": `${100 * sheet.columns}% ${100 * sheet.rows}%`,
        "background-position": `${place(column, sheet.columns)} ${place(row, sheet.rows)}`,
        "--shape": `${sheet.width} / ${sheet.height}`,
      },
    });
  }

  // A table that is sorted by a click on a column, and that scrolls where it is larger than its place. A cell is what it shows, or { show, by } with what it is sorted by.
  function table(columns, rows, kinds = []) {
    const by = (cell) => (cell !== null && typeof cell === "object" && "by" in cell ? cell.by : cell);
    const show = (cell) => (cell !== null && typeof cell === "object" && "show" in cell ? cell.show : cell);
    const body = el("tbody");
    const fill = (all) => body.replaceChildren(...all.map((row) =>
      el("tr", {}, row.map((cell, at) => el("td", { class_: kinds[at] }, show(cell))))));
    const heads = columns.map((name, at) => {
      if (!name) return el("th");
      const head = el("th", { class_: kinds[at] === "figure" && "figure", scope: "col" }, el("button", {
        type: "button",
        on: {
          click: () => {
            const down = head.getAttribute("aria-sort") === "ascending";
            heads.forEach((other) => other.removeAttribute("aria-sort"));
            head.setAttribute("aria-sort", down ? "descending" : "ascending");
            const order = [...rows].sort((a, b) => {
              const [x, y] = [by(a[at]), by(b[at])];
              const less = typeof x === "number" && typeof y === "number"
                ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
              return down ? -less : less;
            });
            fill(order);
          },
        },
      }, name));
      return head;
    });
    fill(rows);
    return el("div", { class_: "scroll" }, el("table", { class_: "plain" }, el("thead", {}, el("tr", {}, heads)), body));
  }

  function switcher(names, chosen, choose) {
    const buttons = names.map((name, at) => el("button", {
      type: "button", "aria-pressed": String(at === chosen),
      on: { click: () => { buttons.forEach((b, i) => b.setAttribute("aria-pressed", String(i === at))); choose(at); } },
    }, name));
    return el("span", { class_: "switch" }, buttons);
  }

  const card = (...children) => el("div", { class_: "card" }, children);
  const chip = (index) => el("i", { class_: "chip", style: { background: `var(--line-${index % LINES})` } });

  // ---- charts

  const drawn = new Map();
  // Whether a curve is shown whose name was clicked, by chart and name: a chart may be drawn again.
  const chosen = new Map();
  const widths = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const plot = drawn.get(target);
      const width = Math.floor(contentRect.width);
      // In the next frame: the size of the chart must not change while sizes are being observed.
      if (plot && width > 0 && width !== plot.width) requestAnimationFrame(() => plot.setSize({ width, height: plot.height }));
    }
  });

  function chart(data) {
    const place = el("div", { class_: "chart" });
    const several = content.groups.length > 1;
    const scale = data.percent ? 100 : 1;
    const numbers = (values) => values.map((value) => (value === null ? null : scale * value));
    const x = data.clocks[Math.min(clock, data.clocks.length - 1)];
    const columns = [x.values];
    const series = [{ label: x.name, value: (_, value) => short(value) }];
    const bands = [];
    // The edges of the band of a curve, which are hidden with it; its name, and that in the legend.
    const [edges, names, legend] = [new Map(), new Map(), new Map()];
    const many = several && data.series.length > 8;
    const kinds = [...new Set(data.series.map((one) => one.name))];
    const value = (_, found) => (found === null || found === undefined ? "–" : data.percent ? found.toFixed(2) + " %" : short(found));
    // What is measured in training and in a test has one colour, and is dashed in training.
    const base = (name) => name.replace(/(^|, )(training|validation|test)$/, "");
    const bases = [...new Set(data.series.map((one) => base(one.name)))];
    for (const [at, one] of data.series.entries()) {
      const number = several ? one.group : bases.length > 1 ? bases.indexOf(base(one.name)) : at;
      const colour = line(number);
      const dashed = several ? kinds.indexOf(one.name) : bases.length > 1 && /training$/.test(one.name) ? 1 : 0;
      // A colour that is there for the second time is dotted.
      const dash = dashed > 0 ? [6, 2 + 3 * dashed] : number >= LINES ? [2, 3] : undefined;
      const group = several ? content.groups[one.group].name : "";
      const name = [group, one.name].filter((part) => part).join(" · ") || data.title;
      const label = name + (dash === undefined ? "" : dashed > 1 ? " (wider dashes)" : dashed > 0 ? " (dashed)" : " (dotted)");
      const show = chosen.get(`${data.title}: ${name}`) ?? !(many && /training$/.test(one.name));
      if (one.low) {
        const edge = { class: "edge", show, stroke: "transparent", width: 0, points: { show: false }, spanGaps: true, label: "" };
        edges.set(columns.length + 2, [columns.length, columns.length + 1]);
        bands.push({ series: [columns.length, columns.length + 1], fill: colour + "33" });
        columns.push(numbers(one.high), numbers(one.low));
        series.push({ ...edge }, { ...edge });
      }
      names.set(columns.length, `${data.title}: ${name}`);
      columns.push(numbers(one.mean));
      const few = one.mean.filter((number) => number !== null).length < 25;
      series.push({ label, show, stroke: colour, width: 2, dash, value, spanGaps: true, points: { show: few, size: 5, fill: colour } });
    }
    const axis = { stroke: variable("muted"), grid: { stroke: variable("rule"), width: 1 }, ticks: { stroke: variable("rule"), width: 1, size: 5 }, font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif" };
    const options = {
      width: 430, height: 230, bands, series,
      scales: { x: { time: false } },
      hooks: {
        setSeries: [(plot, at, { show }) => {
          if (show === undefined) return;
          if (names.has(at)) chosen.set(names.get(at), show);
          legend.get(at)?.setAttribute("aria-pressed", String(show));
          for (const edge of edges.get(at) || []) if (plot.series[edge].show !== show) plot.setSeries(edge, { show });
        }],
      },
      cursor: { drag: { x: true, y: false }, points: { size: 7 } },
      axes: [
        { ...axis, label: x.name, labelSize: 20, size: 34, values: (_, ticks, at, space, step) => ticks.map((tick) => short(tick, step)) },
        { ...axis, size: 58, values: (_, ticks, at, space, step) => ticks.map((tick) => short(tick, step) + (data.percent ? " %" : "")) },
      ],
    };
    const plot = new uPlot(options, columns, place);
    // The names, which hide curves by a click, are buttons for keys too; the first is that of the x axis.
    for (const [at, row] of [...place.querySelectorAll(".u-series")].entries()) {
      if (at === 0 || row.classList.contains("edge")) continue;
      const name = row.firstElementChild;
      name.tabIndex = 0;
      name.setAttribute("role", "button");
      name.setAttribute("aria-pressed", String(plot.series[at].show));
      name.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        name.click();
      });
      legend.set(at, name);
    }
    drawn.set(place, plot);
    widths.observe(place);
    return card(el("h3", {}, data.title), data.about && el("p", { class_: "about" }, data.about), place);
  }

  // What the areas behind the curves are.
  function shade(some) {
    if (!some.some((one) => one.series.some((series) => series.low))) return "";
    return content.runs.length > 1
      ? "Shaded: one standard deviation over seeds to both sides of the mean."
      : "Shaded: one standard deviation over draws of random weights, or, for radii, from the smallest to the largest unit.";
  }

  function charts(of_rule) {
    return () => {
      const some = content.charts.filter((one) => one.of_rule === of_rule);
      if (!some.length) return null;
      const clocks = some.map((one) => one.clocks).find((clocks) => clocks.length > 1);
      const grid = el("div", { class_: "grid" }, some.map(chart));
      const shaded = shade(some);
      const choose = clocks && switcher(clocks.map((one) => one.name), clock, (at) => { clock = at; draw(["curves", "rule"]); });
      return [
        el("div", { class_: "row" },
          el("span", { class_: "small" }, "Point to read values. Drag to zoom, double-click to zoom out. Click a name to hide its curve.", shaded && ` ${shaded}`),
          choose && el("span", { class_: "push" }, choose)),
        grid,
      ];
    };
  }

  // ---- sections

  const run = () => content.runs[shownRun];

  function head() {
    const one = content.runs.length === 1 ? content.runs[0] : null;
    const mode = el("button", {
      type: "button", class_: "no-print",
      on: { click: () => dispatchEvent(new CustomEvent("choose-mode", { detail: document.documentElement.dataset.mode === "dark" ? "light" : "dark" })) },
    }, document.documentElement.dataset.mode === "dark" ? "Light mode" : "Dark mode");
    const kicker = one
      ? [one.method, one.dataset, one.seed !== null && `seed ${one.seed}`, date(one.started)]
      : [[...new Set(content.runs.map((run) => run.method))].join(", "), [...new Set(content.runs.map((run) => run.dataset))].join(", ")];
    const state = content.live
      ? el("span", { class_: "live", id: "live" }, one && one.complete ? "complete" : "learning")
      : one && !one.complete && el("span", {}, "not complete");
    const parts = [
      el("div", { class_: "kicker" }, kicker.filter((part) => part).map((part) => el("span", {}, part)), state, el("span", { class_: "push" }, mode)),
      el("h1", {}, content.title),
    ];
    if (one) {
      parts.push(one.description && el("p", { class_: "lead" }, one.description));
      const facts = el("dl", { class_: "facts" }, one.facts.map(([number, what]) => el("div", {}, el("dt", {}, what), el("dd", {}, number))));
      const number = one.accuracy === null ? null : el("div", {},
        el("div", { class_: "number" }, (100 * one.accuracy).toFixed(2), el("small", {}, "%")),
        el("div", { class_: "what" }, `${one.part} accuracy`));
      parts.push(el("div", { class_: "hero" }, number, facts));
    } else if (content.runs.length) {
      parts.push(el("p", { class_: "lead" }, `${plural(content.runs.length, "run")} side by side. Runs that differ by the seed alone are one group.`));
    }
    return parts;
  }

  function differences() {
    if (content.groups.length < 2) return null;
    const names = content.groups.map((group, at) => [chip(at), group.name]);
    const rows = content.differences.map((one) => [one.place, ...one.values.map((value) => value ?? "–")]);
    return card(table(["setting", ...names], rows, ["place"]));
  }

  function groups() {
    if (content.runs.length < 2) return null;
    const rows = content.groups.map((group, at) => {
      const found = content.accuracies[at];
      return [
        { show: [chip(at), group.name], by: group.name },
        { show: group.runs.length, by: group.runs.length },
        { show: found ? spread(found) + (found.runs < group.runs.length ? `, ${found.runs} complete` : "") : "–", by: found ? found.mean : -1 },
        { show: found && el("span", { class_: "bar" }, el("i", { style: { width: 100 * found.mean + "%" } })), by: found ? found.mean : -1 },
      ];
    });
    const runs = content.runs.map((one) => [one.folder, one.seed ?? "–", one.accuracy === null ? { show: "–", by: -1 } : { show: percent(one.accuracy) + (one.part === "test" ? "" : ` (${one.part})`), by: one.accuracy }]);
    return [
      card(table(["group", "runs", "accuracy, mean ± sd over seeds", ""], rows, ["", "figure", "figure"])),
      card(el("h3", {}, "Every run"), table(["folder", "seed", "accuracy"], runs, ["place", "figure", "figure"])),
    ];
  }

  function choice() {
    const detailed = content.runs.map((one, at) => [one, at]).filter(([one]) => one.layers.length || one.mistakes || one.confusion);
    if (content.runs.length < 2 || !detailed.length) return null;
    if (!detailed.some(([, at]) => at === shownRun)) shownRun = detailed[0][1];
    const options = detailed.map(([one, at]) => el("option", { value: at, selected: at === shownRun }, one.folder));
    return el("label", { class_: "row" }, "What follows is of", el("select", {
      on: { change: (event) => { shownRun = Number(event.target.value); draw(["units", "mistakes", "readouts", "settings", "environment"]); } },
    }, options));
  }

  function layer(one) {
    const share = (unit) => (unit.share === null ? null : unit.share >= 0.1 ? percent(unit.share, 0) : percent(unit.share, 1));
    const noWin = (unit) => one.competes && unit.share !== null && unit.share < 1e-12;
    const [height, width] = one.field;
    const wins = one.competes ? "wins" : "most active at";
    const what = one.first ? "weights" : "receptive field";
    // The weights that are shown: those after learning, or those before it.
    let shown = one.filters;
    const own = (unit, at) => {
      const found = picture(shown, at, `${what} of unit ${unit.unit}`);
      found.classList.add("own");
      return found;
    };
    const cell = (unit, at) => el("figure", {
      class_: "unit" + (noWin(unit) ? " no-win" : ""),
      title: `unit ${unit.unit}: radius ${unit.radius.toFixed(3)}` + (unit.share === null ? "" : `, ${wins} ${percent(unit.share)}`),
    },
      own(unit, at),
      noWin(unit) && el("span", { class_: "tag" }, "no win"),
      el("figcaption", {}, el("b", {}, unit.unit), el("span", {}, share(unit)), el("span", { class_: "radius" }, "r " + unit.radius.toFixed(2))));
    const grid = el("div", { class_: "units" }, one.units.slice(0, UNITS_FIRST).map(cell));
    const more = one.units.length > UNITS_FIRST && el("button", {
      type: "button", on: { click: (event) => { grid.append(...one.units.slice(UNITS_FIRST).map((unit, at) => cell(unit, at + UNITS_FIRST))); event.target.remove(); } },
    }, `Show ${one.units.length - UNITS_FIRST} more`);
    const order = one.images
      ? ` Ordered by ${one.competes ? "share of wins" : "how often each is the most active"}: the positions, in ${plural(one.images, `${run().part} image`)}, at which a unit responds most.`
      : "";
    const lost = one.without_win === null ? "" : one.without_win === 0 ? " Every unit wins somewhere." : ` ${plural(one.without_win, "unit")} won nowhere in these images.`;
    const cut = one.units.length < one.count ? ` The first ${one.units.length} of ${one.count} are shown.` : "";
    const sees = one.first ? "" : ` What each unit reads of the image by linear back-projection, ${height} × ${width} pixels.`;
    // Both sheets hold the same units at the same places.
    const time = one.start && switcher(["after learning", "before"], 0, (before) => {
      shown = before ? one.start : one.filters;
      for (const picture of whole.querySelectorAll(".own")) picture.style.setProperty("background-image", `url(${shown.png})`);
    });
    const parts = [
      el("div", { class_: "row" },
        el("h3", {}, one.name[0].toUpperCase() + one.name.slice(1)), el("span", { class_: "small" }, one.about), time,
        el("span", { class_: "small scale push" }, "−", el("i"), "+", el("span", {}, "each to its own largest weight"))),
      el("p", { class_: "about" }, (sees + order + lost + cut).trim(), " Below each: the number of the unit, its share, and its radius r, the length of its weights", one.start && ", all after learning", "."),
      grid, more && el("p", {}, more),
    ];
    if (one.patches) {
      const view = (name, child) => el("div", { class_: "key" }, el("span", {}, name), child);
      const detail = (unit, at) => el("div", { class_: "detail" + (one.exciting ? "" : " two") },
        el("h4", {}, `Unit ${unit.unit} `, el("span", {}, share(unit) ? `${wins} ${share(unit)}` : "")),
        el("div", { class_: "views" },
          view(what, own(unit, at)),
          one.exciting && at < one.exciting.count && view("excites it most", picture(one.exciting, at, `the image that excites unit ${unit.unit} most`)),
          view("best patches", el("div", { class_: "nine" },
            Array.from({ length: one.per_unit }, (_, nth) => picture(one.patches, at * one.per_unit + nth, `patch ${nth + 1} of unit ${unit.unit}`))))));
      const details = el("div", { class_: "details" + (one.exciting ? "" : " narrow") }, one.units.slice(0, Math.min(PATCHES_FIRST, one.detailed)).map(detail));
      const rest = one.detailed > PATCHES_FIRST && el("button", {
        type: "button", on: { click: (event) => { details.append(...one.units.slice(PATCHES_FIRST, one.detailed).map((unit, at) => detail(unit, at + PATCHES_FIRST))); event.target.remove(); } },
      }, `Show ${one.detailed - PATCHES_FIRST} more`);
      parts.push(el("hr", { class_: "divide" }), el("p", { class_: "about" },
        `The nine patches of ${one.images.toLocaleString("en")} ${run().part} images that excite a unit most, at most one from each image`,
        one.exciting ? "; to their left is the image that excites the unit most, found by projected gradient ascent from noise, with the mean norm of those images."
          : one.first ? "." : ". The image that excites a unit most was not computed, because the network is not differentiable in its input or is too large."),
        details, rest && el("p", {}, rest));
    }
    const whole = card(parts);
    return whole;
  }

  const units = () => (run().layers.length ? run().layers.map(layer) : null);

  function mistakes() {
    const { confusion, mistakes: found, class_names: names } = run();
    if (!confusion && !found) return null;
    const parts = [];
    if (confusion && confusion.counts.length > MOST_CLASSES) {
      parts.push(card(el("h3", {}, "Confusion matrix"),
        el("p", { class_: "about" }, `The matrix of ${plural(confusion.counts.length, "class", "classes")} is too large to be shown.`)));
    } else if (confusion) {
      const counts = confusion.counts;
      const sums = counts.map((row) => row.reduce((sum, count) => sum + count, 0));
      const worst = Math.max(1, ...counts.flatMap((row, at) => row.filter((_, other) => other !== at)));
      const level = (share) => (share <= 0 ? 0 : Math.min(5, 1 + Math.floor(5 * share * 0.999)));
      const cells = (row, label) => row.map((count, predicted) => el("td", {
        class_: label === predicted ? "heat-" + level(sums[label] ? count / sums[label] : 0) : "miss-" + level(count / worst),
        title: `${count} of ${sums[label]} images of ${names[label]} classified as ${names[predicted]}`,
      }, count === 0 ? "·" : count));
      const rows = counts.map((row, label) => el("tr", {}, el("th", { scope: "row" }, names[label]), cells(row, label),
        el("td", { class_: "recall" }, sums[label] ? percent(row[label] / sums[label], 1) : "–")));
      parts.push(card(el("h3", {}, "Confusion matrix"),
        el("p", { class_: "about" }, "Rows are true classes, columns predicted classes. The last column is the share of each class that is classified correctly."),
        el("div", { class_: "scroll" }, el("table", { class_: "confusion" },
          el("thead", {}, el("tr", {}, el("td"), names.map((name) => el("th", { scope: "col" }, name)), el("th", {}, "right"))), el("tbody", {}, rows)))));
    }
    if (found && found.pairs.length) {
      parts.push(card(el("h3", {}, "Most confused"),
        el("p", { class_: "about" }, `${plural(found.wrong, "mistake")} in ${plural(found.images, `${run().part} image`)}; the pairs of classes that are confused most often come first, and of each the images whose wrong class is furthest ahead of the right one.`),
        el("div", { class_: "pairs-of" }, found.pairs.map((pair) => el("div", {},
          el("h4", {}, `${names[pair.label]} classified as ${names[pair.predicted]} `, el("span", {}, plural(pair.count, "image"))),
          el("div", { class_: "thumbs" }, Array.from({ length: pair.shown }, (_, at) =>
            picture(found.sheet, pair.first + at, `an image of ${names[pair.label]} classified as ${names[pair.predicted]}`))))))));
    } else if (found) {
      parts.push(card(el("h3", {}, "Most confused"), el("p", { class_: "about" }, `No mistake in ${plural(found.images, `${run().part} image`)}.`)));
    }
    return parts;
  }

  function readouts() {
    const { readouts: own, by_layer: layers } = run();
    if (!own.length && !layers.length) return null;
    const bar = (share) => ({ show: el("span", { class_: "bar" }, el("i", { style: { width: 100 * share + "%" } })), by: share });
    const parts = [];
    if (own.length) {
      const rows = own.map((one) => [one.name, { show: one.features.toLocaleString("en"), by: one.features },
        { show: spread({ mean: one.accuracy, sd: one.sd }), by: one.accuracy }, bar(one.accuracy), { show: one.seconds.toFixed(1), by: one.seconds }]);
      parts.push(card(el("h3", {}, "Of the run"), table(["read-out", "features", `${run().part} accuracy`, "", "seconds"], rows, ["", "figure", "figure", "", "figure"])));
    }
    if (layers.length) {
      const rows = layers.map((one) => [one.name, { show: one.features.toLocaleString("en"), by: one.features }, { show: percent(one.accuracy), by: one.accuracy }, bar(one.accuracy)]);
      parts.push(card(el("h3", {}, "Layer by layer"),
        el("p", { class_: "about" }, `Ridge regression, fitted for this report to the output of each layer for ${plural(layers[0].learned, "training image")} and tested with ${layers[0].tested.toLocaleString("en")}: how accurately the class can be decoded there.`),
        table(["from", "features", `${run().part} accuracy`, ""], rows, ["", "figure", "figure"])));
    }
    return parts;
  }

  function settings() {
    const { options } = run();
    const body = el("div");
    const fill = (word) => body.replaceChildren(table(["setting", "value"],
      options.filter((row) => !word || row.join(" ").toLowerCase().includes(word.toLowerCase())), ["place", "value"]));
    fill("");
    return card(el("div", { class_: "row" }, el("input", {
      type: "search", placeholder: "Find a setting", "aria-label": "Find a setting", on: { input: (event) => fill(event.target.value) },
    }), el("span", { class_: "small push" }, plural(options.length, "setting"))), body);
  }

  function environment() {
    const { environment: all, command, more, folder, notes } = run();
    const pairs = (rows) => el("dl", { class_: "pairs" }, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
    const copy = navigator.clipboard && el("button", {
      type: "button", on: { click: (event) => navigator.clipboard.writeText(command).then(() => { event.target.textContent = "Copied"; }) },
    }, "Copy");
    return [
      command
        ? card(el("div", { class_: "row" }, el("h3", {}, "To repeat it"), el("span", { class_: "push" }, copy)), el("pre", { id: "command" }, command))
        : card(el("p", { class_: "about" }, "This run was not started by a command of its own; if it belongs to a study, repeat the study.")),
      el("div", { class_: "grid", style: { "margin-top": "1rem" } },
        card(el("h3", {}, "Computed on"), el("p"), pairs([["folder", folder], ...all])),
        more.length > 0 && card(el("h3", {}, "Also reported"), el("p"), pairs(more.map(([name, value]) => [name, isNaN(value) || value === "" ? value : short(Number(value))])))),
      notes.length > 0 && card(el("h3", {}, "Left out"), el("ul", { class_: "notes" }, notes.map((note) => el("li", {}, note)))),
    ];
  }

  function study() {
    const { study: found } = content;
    if (!found) return null;
    return [
      found.figure && card(el("img", { src: found.figure, alt: `the figure of ${found.name}`, class_: "figure-of-study" })),
      card(el("div", { class_: "scroll" }, el("pre", {}, found.text))),
    ];
  }

  // A study may keep no runs.
  const ofRun = (make) => () => (run() ? make() : null);
  const SECTIONS = [
    ["study", "Study", "", study],
    ["differences", "What differs", "Settings that are not the same in all groups.", differences],
    ["groups", "Results", "", groups],
    ["curves", "Curves", "", charts(false)],
    ["rule", "Rule diagnostics", "How the units and their learning rule are doing, as the run logged it.", charts(true)],
    ["choice", "", "", choice],
    ["units", "Units", "What has been learned: the units of every layer.", ofRun(units)],
    ["mistakes", "Mistakes", "", ofRun(mistakes)],
    ["readouts", "Read-outs", "How well the class can be read from features.", ofRun(readouts)],
    ["settings", "Configuration", "Every setting of network and training, defaults included.", ofRun(settings)],
    ["environment", "Environment", "", ofRun(environment)],
  ];

  const main = document.getElementById("report");
  const places = new Map([["head", el("header")]]);
  main.append(places.get("head"));
  for (const [id] of SECTIONS) {
    places.set(id, el("section", { id, hidden: true }));
    main.append(places.get(id));
  }
  const footer = el("footer");
  main.append(footer);

  function draw(only) {
    if (!only) places.get("head").replaceChildren(...head().filter((part) => part));
    for (const [id, title, about, make] of SECTIONS) {
      if (only && !only.includes(id)) continue;
      const place = places.get(id);
      for (const old of place.querySelectorAll(".chart")) {
        widths.unobserve(old);
        drawn.get(old)?.destroy();
        drawn.delete(old);
      }
      let made;
      try {
        made = make();
      } catch (error) {
        made = el("p", { class_: "about" }, `This section could not be drawn: ${error}`);
      }
      place.hidden = !made;
      const parts = made ? [title && el("h2", {}, title), about && el("p", { class_: "about" }, about), made] : [];
      place.replaceChildren(...parts.flat(Infinity).filter((part) => part));
    }
    footer.replaceChildren(`Written by hebbian ${content.version}, ${date(content.written)}. This page is complete in itself and asks for nothing from the network.`);
    const links = SECTIONS.filter(([id, title]) => title && !places.get(id).hidden).map(([id, title]) => el("a", { href: "#" + id }, title));
    document.getElementById("contents").replaceChildren(...links);
    seen();
  }

  function seen() {
    const links = [...document.querySelectorAll("nav a")];
    const above = links.filter((link) => document.querySelector(link.hash).getBoundingClientRect().top < 140);
    links.forEach((link) => link.classList.toggle("here", link === (above[above.length - 1] || links[0])));
  }

  addEventListener("scroll", seen, { passive: true });
  addEventListener("mode", () => draw());
  draw();

  // ---- while a run goes on

  // Whether the last question had no answer.
  let lost = false;

  async function ask() {
    try {
      const answer = await fetch("data.json", { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      const text = await answer.text();
      const next = JSON.parse(text);
      next.written = content.written;
      if (JSON.stringify(next) !== JSON.stringify(content)) {
        const changed = (part) => JSON.stringify(part(next)) !== JSON.stringify(part(content));
        const redraw = [];
        if (changed((c) => c.charts)) redraw.push("curves", "rule");
        if (changed((c) => c.runs.map((r) => r.layers))) redraw.push("units");
        if (changed((c) => c.runs.map((r) => [r.confusion, r.mistakes, r.readouts, r.by_layer, r.environment, r.notes]))) {
          redraw.push("mistakes", "readouts", "environment", "choice", "groups");
        }
        content = next;
        places.get("head").replaceChildren(...head().filter((part) => part));
        draw(redraw);
      }
      if (lost) places.get("head").replaceChildren(...head().filter((part) => part));
      lost = false;
    } catch (error) {
      const live = document.getElementById("live");
      if (live) live.textContent = "no longer served";
      lost = true;
    }
    setTimeout(ask, 2000);
  }
  if (content.live) setTimeout(ask, 2000);
})();
