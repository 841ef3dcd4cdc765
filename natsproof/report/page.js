"use strict";
(() => {
  const pictures = JSON.parse(document.getElementById("pictures").textContent);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

  // ---- claims: filter, find, open by address, copy
  const claims = all(".claim");
  const nav = document.querySelector("nav.filters");
  nav.hidden = false;
  const find = nav.querySelector("input");
  const said = nav.querySelector("output");
  const filter = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = new Set(all("[data-filter][aria-pressed=true]", nav).map((b) => b.dataset.filter));
    let count = 0;
    for (const claim of claims) {
      claim.hidden = !shown.has(claim.dataset.status) || !words.every((w) => claim.dataset.text.includes(w));
      count += claim.hidden ? 0 : 1;
    }
    for (const heading of all("main h3")) {
      let next = heading.nextElementSibling, any = false;
      while (next && next.classList.contains("claim")) { any ||= !next.hidden; next = next.nextElementSibling; }
      heading.hidden = !any;
    }
    said.textContent = count === claims.length ? "" : `${count} of ${claims.length} claims shown`;
  };
  find.addEventListener("input", filter);
  for (const button of all("[data-filter]", nav)) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
      filter();
    });
  }
  const openNamed = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") { target.hidden = false; target.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", openNamed);
  for (const button of all("[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }

  // ---- timelines
  const LEFT = 108, RIGHT = 12, TOP = 8, AXIS = 22, GAP = 26, LATENCY = 110;

  class Timeline {
    constructor(figure) {
      this.figure = figure;
      this.canvas = figure.querySelector("canvas");
      this.data = pictures[figure.dataset.trial];
      this.marks = JSON.parse(figure.dataset.marks);
      this.lanes = Object.entries(this.data.lanes).map(([name, text]) => [name, bytes(text)]);
      this.from = 0;
      this.to = this.data.span_s;
      this.rowHeight = Math.max(9, Math.min(22, 240 / Math.max(1, this.data.rows.length)));
      const tools = figure.querySelector(".tools");
      tools.hidden = false;
      tools.querySelector('[data-zoom="mark"]').hidden = !this.marks.length;
      this.said = tools.querySelector("output");
      for (const button of all("[data-zoom]", tools)) button.addEventListener("click", () => this.act(button.dataset.zoom));
      this.canvas.addEventListener("keydown", (event) => this.key(event));
      this.drag();
      new ResizeObserver(() => {
        if (this.canvas.clientWidth !== this.width) requestAnimationFrame(() => this.draw());
      }).observe(this.canvas);
      this.draw();
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    }
    key(event) {
      const verb = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "all", Home: "all" }[event.key];
      if (!verb) return;
      event.preventDefault();
      this.act(verb);
    }
    act(verb) {
      const width = this.to - this.from, middle = (this.from + this.to) / 2;
      if (verb === "in") this.show(middle - width / 4, middle + width / 4);
      if (verb === "out") this.show(middle - width, middle + width);
      if (verb === "left") this.show(this.from - width / 3, this.to - width / 3);
      if (verb === "right") this.show(this.from + width / 3, this.to + width / 3);
      if (verb === "all") this.show(0, this.data.span_s);
      if (verb === "mark") {
        const at = Math.min(...this.marks.map((m) => m.at_s));
        this.show(at - this.data.span_s / 40, at + this.data.span_s / 40);
      }
    }
    show(from, to) {
      const width = Math.max(0.0005, Math.min(this.data.span_s, to - from));
      this.from = Math.max(0, Math.min(from, this.data.span_s - width));
      this.to = this.from + width;
      this.said.textContent = `${this.from.toFixed(3)} s to ${this.to.toFixed(3)} s`;
      this.draw();
    }
    drag() {
      let start = null;
      const at = (event) => this.time(event.clientX - this.canvas.getBoundingClientRect().left);
      this.canvas.addEventListener("pointerdown", (event) => { start = at(event); });
      this.canvas.addEventListener("pointerup", (event) => {
        const end = at(event);
        if (start !== null && Math.abs(this.x(end) - this.x(start)) > 6) this.show(Math.min(start, end), Math.max(start, end));
        start = null;
      });
      this.canvas.addEventListener("dblclick", () => this.act("all"));
    }
    x(seconds) { return LEFT + (seconds - this.from) / (this.to - this.from) * (this.width - LEFT - RIGHT); }
    time(x) { return this.from + (x - LEFT) / (this.width - LEFT - RIGHT) * (this.to - this.from); }
    draw() {
      const ratio = devicePixelRatio || 1;
      this.width = this.canvas.clientWidth;
      if (!this.width) return;
      this.lanesHeight = this.data.rows.length * this.rowHeight;
      this.height = TOP + this.lanesHeight + AXIS + GAP + LATENCY + AXIS;
      this.canvas.style.height = `${this.height}px`;
      this.canvas.width = this.width * ratio;
      this.canvas.height = this.height * ratio;
      const pen = this.pen = this.canvas.getContext("2d");
      pen.scale(ratio, ratio);
      pen.font = "11px system-ui, sans-serif";
      this.colours = { ok: colour("--okbar"), failed: colour("--broken"), unknown: colour("--unknown") };
      this.drawFaults();
      this.drawRows();
      this.drawAxis(TOP + this.lanesHeight);
      this.drawLatency(TOP + this.lanesHeight + AXIS + GAP);
      this.drawMarks();
    }
    clip(action) {
      const pen = this.pen;
      pen.save();
      pen.beginPath();
      pen.rect(LEFT, 0, this.width - LEFT - RIGHT, this.height);
      pen.clip();
      action(pen);
      pen.restore();
    }
    drawFaults() {
      this.clip((pen) => {
        for (const fault of this.data.faults) {
          const from = this.x(fault.injected_s);
          const wide = Math.max(2, this.x(fault.healed_s ?? fault.injected_s) - from);
          pen.globalAlpha = fault.landed ? 0.13 : 0.05;
          pen.fillStyle = colour("--band");
          pen.fillRect(from, TOP, wide, this.height - TOP - AXIS);
          pen.globalAlpha = 1;
          pen.fillRect(from, TOP, 1, this.height - TOP - AXIS);
          const label = `${fault.fault.split("(")[0]} ${fault.role}, ${fault.targets.join(", ")}${fault.landed ? "" : " (did not land)"}`;
          const space = Math.max(0, this.width - RIGHT - pen.measureText(label).width - 2);
          pen.fillText(label, Math.max(LEFT + 2, Math.min(from + 4, space)), TOP + this.lanesHeight + AXIS + 14);
        }
      });
    }
    drawRows() {
      const pen = this.pen, high = this.rowHeight;
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      this.data.rows.forEach((name, row) => {
        const y = TOP + row * high;
        pen.fillStyle = colour("--line");
        pen.fillRect(LEFT, y + high - 1, this.width - LEFT - RIGHT, 0.5);
        pen.fillStyle = colour("--soft");
        let short = name;
        while (short && pen.measureText(short).width > LEFT - 14) short = `${short.replace(/…$/, "").slice(0, -1)}…`;
        if (high >= 11 || row % 2 === 0) pen.fillText(short, LEFT - 8, y + high / 2);
      });
      pen.textAlign = "left";
      pen.textBaseline = "alphabetic";
      const near = this.to - this.from <= this.data.span_s / 8 || this.data.sampled >= 1 && this.data.sample.length < 400;
      this.clip(() => (near ? this.drawSample() : this.drawLanes()));
    }
    drawLanes() {
      const pen = this.pen, columns = this.data.columns, step = this.data.span_s / columns;
      const wide = Math.max(1, this.x(step) - this.x(0));
      for (const [name, counts] of this.lanes) {
        pen.fillStyle = this.colours[name];
        let most = 1;
        for (const count of counts) most = Math.max(most, count);
        for (let i = 0; i < counts.length; i++) {
          if (!counts[i]) continue;
          const x = this.x((i % columns) * step), y = TOP + Math.floor(i / columns) * this.rowHeight;
          pen.globalAlpha = name === "ok" ? 0.25 + 0.6 * Math.log1p(counts[i]) / Math.log1p(most) : 1;
          if (name === "ok") pen.fillRect(x, y + 2, wide, this.rowHeight - 4);
          else pen.fillRect(x, y + (name === "failed" ? this.rowHeight / 2 : 1), Math.max(2, wide), this.rowHeight / 2 - 1);
        }
      }
      pen.globalAlpha = 1;
    }
    drawSample() {
      const pen = this.pen, names = ["ok", "failed", "unknown"];
      for (const [row, , outcome, call, took] of this.data.sample) {
        const from = call / 1e6, to = (call + took) / 1e6;
        if (to < this.from || from > this.to) continue;
        pen.fillStyle = this.colours[names[outcome]];
        pen.globalAlpha = outcome === 0 ? 0.75 : 1;
        pen.fillRect(this.x(from), TOP + row * this.rowHeight + 2, Math.max(1.5, this.x(to) - this.x(from)), this.rowHeight - 4);
      }
      pen.globalAlpha = 1;
    }
    drawAxis(y) {
      const pen = this.pen, span = this.to - this.from;
      const rough = span / Math.max(2, (this.width - LEFT) / 110);
      const power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
      pen.fillStyle = colour("--soft");
      pen.textAlign = "center";
      for (let t = Math.ceil(this.from / step) * step; t <= this.to + 1e-9; t += step) {
        const digits = Math.max(0, -Math.floor(Math.log10(step)));
        pen.fillRect(this.x(t), y, 1, 4);
        pen.fillText(`${t.toFixed(digits)} s`, this.x(t), y + 15);
      }
      pen.textAlign = "left";
    }
    drawLatency(top) {
      const pen = this.pen, { p50, p99, max } = this.data.latency_us, columns = this.data.columns;
      const values = max.filter((v) => v > 0);
      if (!values.length) return;
      const low = Math.log10(Math.max(10, Math.min(...p50.filter((v) => v > 0)))), high = Math.log10(Math.max(...values)) + 0.05;
      const y = (v) => top + LATENCY - (Math.log10(Math.max(10, v)) - low) / Math.max(0.3, high - low) * LATENCY;
      pen.fillStyle = colour("--soft");
      pen.textAlign = "right";
      for (let power = Math.ceil(low); power <= high; power++) {
        const text = power < 3 ? `${10 ** power} µs` : power < 6 ? `${10 ** (power - 3)} ms` : `${10 ** (power - 6)} s`;
        pen.fillText(text, LEFT - 8, y(10 ** power) + 4);
        pen.globalAlpha = 0.35;
        pen.fillRect(LEFT, y(10 ** power), this.width - LEFT - RIGHT, 0.5);
        pen.globalAlpha = 1;
      }
      pen.textAlign = "left";
      const step = this.data.span_s / columns;
      this.clip(() => {
        for (const [series, style, thick, alpha] of [[max, "--soft", 1, 0.6], [p99, "--unknown", 1.3, 1], [p50, "--accent", 1.8, 1]]) {
          pen.strokeStyle = colour(style);
          pen.lineWidth = thick;
          pen.globalAlpha = alpha;
          pen.beginPath();
          let before = -9;
          series.forEach((value, i) => {
            if (value < 0) return;
            const x = this.x((i + 0.5) * step);
            if (i - before > 2) pen.moveTo(x, y(value)); else pen.lineTo(x, y(value));
            pen.lineTo(x + 0.1, y(value));
            before = i;
          });
          pen.stroke();
        }
        pen.globalAlpha = 1;
      });
      const names = [["median", "--accent"], ["99 %", "--unknown"], ["worst", "--soft"]];
      let x = LEFT;
      for (const [name, style] of names) {
        pen.fillStyle = colour(style);
        pen.fillRect(x, top + LATENCY + 11, 14, 2);
        pen.fillText(name, x + 18, top + LATENCY + 16);
        x += 30 + pen.measureText(name).width;
      }
    }
    drawMarks() {
      const first = [...this.marks].sort((a, b) => a.at_s - b.at_s);
      this.clip((pen) => {
        first.forEach((mark, i) => {
          const x = this.x(mark.at_s);
          pen.fillStyle = colour("--ink");
          pen.globalAlpha = i ? 0.4 : 1;
          pen.fillRect(x - 1, 0, 2, this.height - AXIS);
          if (i === 0) {
            pen.beginPath();
            pen.moveTo(x - 6, 0); pen.lineTo(x + 6, 0); pen.lineTo(x, 9);
            pen.fill();
          }
        });
        pen.globalAlpha = 1;
      });
    }
  }
  const start = (details) => {
    for (const figure of all("figure.timeline", details)) {
      if (!figure.drawn && pictures[figure.dataset.trial]) { figure.drawn = true; new Timeline(figure); }
    }
  };
  for (const claim of claims) {
    claim.addEventListener("toggle", () => { if (claim.open) start(claim); });
    if (claim.open) start(claim);
  }
  openNamed();
})();
