// Credits per day, one line for each group.
"use strict";

const COLOURS = ["#7a6bf0", "#1fa36a", "#d9822b", "#c2417c", "#2b8fd9", "#9a9a2b", "#8a5a3c", "#5b5b6b"];

async function draw(place) {
  const answer = await fetch(`/account/usage.json?by=${place.dataset.usage}`);
  const { days, groups, credits } = await answer.json();
  if (!groups.length) return (place.hidden = true);
  const style = getComputedStyle(document.documentElement);
  const [soft, line] = ["--soft", "--line"].map((name) => style.getPropertyValue(name));
  const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
  const plot = new uPlot({
    width: place.clientWidth,
    height: 200,
    series: [{ label: "day", value: "{YYYY}-{MM}-{DD}" }, ...groups.map((group, index) => ({ label: group, stroke: COLOURS[index % COLOURS.length], width: 2, fill: `${COLOURS[index % COLOURS.length]}22`, points: { show: true, size: 5 } }))],
    axes: [{ ...axis }, { ...axis, size: 60 }],
    scales: { y: { range: (_, low, high) => [0, high || 1] } },
  }, [days.map((day) => Date.parse(day) / 1000), ...credits], place);
  addEventListener("resize", () => plot.setSize({ width: place.clientWidth, height: 200 }));
}

document.querySelectorAll("[data-usage]").forEach(draw);
