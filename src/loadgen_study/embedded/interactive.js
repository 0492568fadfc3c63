// The report's charts and tables, where scripts run; elsewhere the pictures and the tables stay.
"use strict";
(() => {
  const css = matchMedia("(prefers-color-scheme: dark)");
  const name = (node, kind) => {
    const before = [...document.querySelectorAll("h1, h2, h3")].filter(
      h => h.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING).pop();
    const words = (before ? before.textContent : "report").replace(/[^A-Za-z0-9]+/g, " ").trim();
    return `${words.toLowerCase().replaceAll(" ", "-")}-${kind}`;
  };
  const element = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const save = (file, text) => {
    const address = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
    element("a", {href: address, download: file}).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  };

  // Tables: sorted by their headers, filtered by a word, saved as CSV.
  const MANY_ROWS = 8;
  const text = cell => cell ? cell.textContent.trim() : "";
  const number = said => /^[+-]?[\d,]*\.?\d/.test(said) ? parseFloat(said.replaceAll(",", "")) : NaN;
  const compare = (a, b) => {
    const [x, y] = [number(a), number(b)];
    if (!isNaN(x) && !isNaN(y) && x !== y) return x - y;
    return isNaN(x) === isNaN(y) ? a.localeCompare(b, "en", {numeric: true}) : isNaN(x) ? 1 : -1;
  };
  const quoted = said => /[",\n]/.test(said) ? `"${said.replaceAll('"', '""')}"` : said;
  const as_csv = table => [...table.rows].map(
    row => [...row.cells].map(cell => quoted(text(cell))).join(",")).join("\n") + "\n";

  const sortable = (table, head, body) => [...head.cells].forEach((cell, place) => {
    const button = element("button", {type: "button", className: "sort"}, ...cell.childNodes);
    cell.append(button);
    button.onclick = () => {
      const down = cell.getAttribute("aria-sort") === "ascending";
      for (const other of head.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort(
        (a, b) => compare(text(a.cells[place]), text(b.cells[place])) * (down ? -1 : 1));
      body.append(...rows);
    };
  });
  const filter = body => {
    const box = element("input", {type: "search", placeholder: "filter", ariaLabel: "Filter the table"});
    box.oninput = () => {
      const word = box.value.toLowerCase();
      for (const row of body.rows) row.hidden = !text(row).toLowerCase().includes(word);
    };
    return box;
  };
  const enrich = table => {
    const head = table.tHead?.rows[0], body = table.tBodies[0];
    if (!head || !body) return;
    const tools = element("div", {className: "tools"});
    if (body.rows.length >= MANY_ROWS) tools.append(filter(body));
    const csv = element("button", {type: "button", ariaLabel: "Save this table as CSV"}, "CSV");
    const plain = as_csv(table);
    csv.onclick = () => save(`${name(table, "table")}.csv`, plain);
    tools.append(csv);
    let around = table.closest(".table");  // that of the page, which scrolls
    if (!around) {
      around = element("div", {className: "wide", tabIndex: 0, role: "group", ariaLabel: "Table"});
      table.replaceWith(around);
      around.append(table);
    }
    around.before(tools);
    if (body.rows.length > 1) sortable(table, head, body);
  };
  document.querySelectorAll("main table").forEach(enrich);

  // Charts: Vega, unpacked when the first comes near the window, over the picture before each.
  const STACKED = 560, DRAWN = 840, MANY_POINTS = 500;
  const read = id => JSON.parse(document.getElementById(id)?.textContent || "{}");
  const data = read("chart-data");
  let library;
  const load = () => library ??= (async () => {
    const packed = await fetch(document.getElementById("vega").textContent.trim());
    const plain = packed.body.pipeThrough(new DecompressionStream("gzip"));
    document.head.append(element("script", {textContent: await new Response(plain).text()}));
  })();
  const fit = (part, room) => {
    for (const [key, value] of Object.entries(part)) {
      if (key === "datasets" || key === "values") continue;
      if (key === "width" && typeof value === "number") {
        part.width = room < STACKED ? Math.min(value, room - 80) : value * Math.min(1.15, room / DRAWN);
      } else if (value && typeof value === "object") fit(value, room);
    }
    if (room < STACKED && part.hconcat) { part.vconcat = part.hconcat; delete part.hconcat; }
    if (room < STACKED && part.columns) part.columns = 1;
    return part;
  };
  const shades = () => {
    const ink = css.matches ? "#d5d9e0" : "#1c2430", soft = css.matches ? "#a8b0bc" : "#5b6472";
    return {
      axis: {labelColor: ink, titleColor: ink}, legend: {labelColor: ink, titleColor: ink},
      title: {color: ink, subtitleColor: soft}, text: {fill: ink},
    };
  };
  const links = (holder, tables) => {
    const line = element("p", {className: "tools"}, "Data of this figure: ");
    for (const [table, rows] of Object.entries(tables)) {
      if (typeof rows !== "string") continue;
      const button = element("button", {type: "button"}, `${table}.csv`);
      button.onclick = () => save(`${name(holder, table)}.csv`, rows);
      line.append(button, " ");
    }
    return line;
  };
  const draw = async (script, picture) => {
    await load();
    const spec = JSON.parse(script.textContent), tables = spec.datasets;
    for (const [key, value] of Object.entries(tables)) {
      if (typeof value === "string") tables[key] = data[value];
    }
    const rows = Math.max(...Object.values(tables).map(t => t.length && t.split?.("\n").length || 0));
    spec.description = picture.alt;
    delete spec.$schema;  // Vega-Lite 6 draws what Altair writes for 5, and would say so
    script.chart ??= element("div", {className: "chart"});
    script.chart.isConnected || picture.after(script.chart);
    const embed = room => vegaEmbed(script.chart, fit(structuredClone(spec), room), {
      mode: "vega-lite", renderer: rows > MANY_POINTS ? "canvas" : "svg", config: shades(), tooltip: {theme: css.matches ? "dark" : "light"},
    });
    const room = picture.parentElement.clientWidth;
    let drawn = await embed(room);
    for (let less = 0, tries = 2; tries; tries--) {  // axes and legends may be wider than thought
      const over = script.chart.scrollWidth - script.chart.clientWidth;
      if (over <= 0) break;
      drawn.finalize();
      drawn = await embed(room - (less += 1.2 * over + 8));
    }
    script.chart.view = drawn.view;
    script.links ??= links(script.chart, tables);
    script.chart.after(script.links);
    picture.classList.add("drawn");
  };
  let picture;
  const charts = new Map();
  for (const node of document.querySelectorAll("main img, main script.chart")) {
    if (node.tagName === "IMG") picture = node;
    else charts.set(picture, node);
  }
  const attempt = (script, image) => draw(script, image).catch(problem => {
    console.warn("The picture stays:", problem);  // an old browser, or one that forbids scripts
  });
  const near = new IntersectionObserver(entries => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      attempt(charts.get(entry.target), entry.target);
    }
  }, {rootMargin: "800px"});
  for (const image of charts.keys()) near.observe(image);
  css.addEventListener("change", () => {
    for (const [image, script] of charts) if (script.chart) attempt(script, image);
  });
})();
