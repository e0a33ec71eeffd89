"use strict";
// A line under the pointer that says when; and the same line for the log entry that is pointed at.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const make = (svg) => {
    const line = document.createElementNS(SVG, "line");
    const text = document.createElementNS(SVG, "text");
    line.setAttribute("class", "cursor");
    text.setAttribute("class", "cursortext");
    line.setAttribute("y1", "42");
    line.setAttribute("y2", String(svg.viewBox.baseVal.height - 20));
    text.setAttribute("y", String(svg.viewBox.baseVal.height - 24));
    svg.append(line, text);
    return { line, text };
  };
  const lanes = [...document.querySelectorAll("svg.lanes")].map((svg) => {
    const number = (name) => Number(svg.dataset[name]);
    const [begin, seconds, left, width] = ["begin", "seconds", "left", "width"].map(number);
    let cursor = null;
    const hide = () => {
      if (cursor) { cursor.line.remove(); cursor.text.remove(); cursor = null; }
    };
    const show = (t) => {
      if (t < begin || t > begin + seconds) { hide(); return; }
      cursor = cursor || make(svg);
      const x = left + ((t - begin) / seconds) * (width - left);
      cursor.line.setAttribute("x1", x);
      cursor.line.setAttribute("x2", x);
      const late = x > width - 80;
      cursor.text.setAttribute("x", late ? x - 5 : x + 5);
      cursor.text.setAttribute("text-anchor", late ? "end" : "start");
      cursor.text.textContent = (t < 0 ? "" : "+") + t.toFixed(3) + " s";
    };
    svg.addEventListener("mousemove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * width;
      if (x < left) { hide(); return; }
      show(begin + ((x - left) / (width - left)) * seconds);
    });
    svg.addEventListener("mouseleave", hide);
    return { svg, show, hide };
  });
  for (const item of document.querySelectorAll(".log li[data-t]")) {
    const mine = lanes.filter((lane) => item.closest(".run").contains(lane.svg));
    item.addEventListener("mouseenter", () => mine.forEach((lane) => lane.show(Number(item.dataset.t))));
    item.addEventListener("mouseleave", () => mine.forEach((lane) => lane.hide()));
  }
  document.documentElement.dataset.ready = "yes";
})();
