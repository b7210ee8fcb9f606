// Lines over time; the table beside each says the same without a script.
import uPlot from "./vendor/uPlot.esm.js";

const HEIGHT = 190;
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function draw(holder) {
  const { label, x, y } = JSON.parse(holder.dataset.chart);
  const clock = [
    // Step, how a mark is written, and what is added where the day is another one.
    [3600 * 24, "{MM}-{DD}", null, null, null, null, null, null, 1],
    [60, "{HH}:{mm}", "\n{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
  ];
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
  const options = {
    width: holder.clientWidth,
    height: HEIGHT,
    series: [
      { label: holder.dataset.time, value: "{MM}-{DD} {HH}:{mm}" },
      { label, stroke: colour("--accent"), fill: colour("--accent-faint"), width: 2, points: { show: true, size: 5 } },
    ],
    scales: { y: { range: (_, low, high) => [0, Math.max(high ?? 0, 1) * 1.1] } },
    axes: [{ ...axis, values: clock }, { ...axis, size: 46 }],
    cursor: { drag: { x: false, y: false } },
  };
  return new uPlot(options, [x, y], holder);
}

for (const holder of document.querySelectorAll("[data-chart]")) {
  let chart = draw(holder);
  new ResizeObserver(() => chart.setSize({ width: holder.clientWidth, height: HEIGHT })).observe(holder);
  dark.addEventListener("change", () => {
    chart.destroy();
    chart = draw(holder);
  });
}
