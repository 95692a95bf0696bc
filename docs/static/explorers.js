// Two pictures that answer to sliders. Everything is computed here; nothing is fetched.
document.addEventListener("DOMContentLoaded", () => {
  const value = (id) => Number(document.getElementById(id).value);
  const ink = () => getComputedStyle(document.body).color;
  const context = (id) => {
    const canvas = document.getElementById(id), pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    return [canvas, pen];
  };
  const curve = (pen, colour, width, points) => {
    pen.strokeStyle = colour; pen.lineWidth = width; pen.beginPath();
    points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.stroke();
  };

  const drawBound = () => {
    const [canvas, pen] = context("bound-canvas"), M = value("bound-m"), mu = value("bound-mu"), unit = canvas.width / 4;
    const place = (s, a) => [canvas.width / 2 + s * unit, canvas.height / 2 - a * unit];
    for (let i = 0; i < 60; i += 1)
      for (let j = 0; j < 60; j += 1) {
        const s = -2 + (4 * i) / 59, a = -2 + (4 * j) / 59, q = -(mu * a * a) / 2 + M * s * a;
        pen.fillStyle = `hsl(210 60% ${Math.max(25, Math.min(92, 70 + 8 * q))}%)`;
        const [x, y] = place(s, a);
        pen.fillRect(x - unit / 15 - 1, y - unit / 15 - 1, (2 * unit) / 15 + 2, (2 * unit) / 15 + 2);
      }
    curve(pen, "#b3261e", 3, [-2, 2].map((s) => place(s, (M / mu) * s)));
    document.getElementById("bound-text").textContent =
      `a*(s) = (M/mu) s has slope ${(M / mu).toFixed(2)}: with a linear coupling the bound is attained.`;
  };

  const drawSteps = () => {
    const [canvas, pen] = context("steps-canvas"), unit = canvas.width / 4;
    const g = [value("steps-g1"), value("steps-g2")], L = [value("steps-l1"), value("steps-l2")];
    const place = (x) => [canvas.width / 4 + x[0] * unit, (3 * canvas.height) / 4 - x[1] * unit];
    for (let i = 0; i < 100; i += 1)
      for (let j = 0; j < 100; j += 1) {
        const x = [-1 + (4 * i) / 99, -1 + (4 * j) / 99], improvement = bound(g, L, x);
        if (improvement <= 0) continue;
        pen.fillStyle = `hsl(150 45% ${88 - 45 * Math.min(1, improvement)}%)`;
        const [left, top] = place(x);
        pen.fillRect(left - unit / 50, top - unit / 50, unit / 24, unit / 24);
      }
    curve(pen, ink(), 1, [place([-1, 0]), place([3, 0])]);
    curve(pen, ink(), 1, [place([0, -1]), place([0, 3])]);
    const colours = { "SSS-SLC": "#0173b2", "SSS-MLC": "#de8f05", "MSS-MLC": "#d55e00" };
    const said = Object.entries(RULES).map(([name, rule]) => {
      const step = rule(g, L), [x, y] = place(step.update);
      pen.fillStyle = colours[name]; pen.beginPath(); pen.arc(x, y, 6, 0, 2 * Math.PI); pen.fill();
      return `${name} guarantees ${step.guarantee.toFixed(3)}`;
    });
    document.getElementById("steps-text").textContent = `${said.join("; ")}.`;
  };

  for (const [name, draw] of [["bound", drawBound], ["steps", drawSteps]]) {
    if (!document.getElementById(`${name}-canvas`)) continue;
    for (const slider of document.querySelectorAll(`input[id^="${name}-"]`)) slider.addEventListener("input", draw);
    draw();
  }
});
