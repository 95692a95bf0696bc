// The step-size rules of Pirotta et al. (2015), Sections 5.1 to 5.3, for a gradient g and its components' constants L:
// each gives the step and the improvement that it guarantees. The library's rules are the original; a test compares.
const sum = (vector) => vector.reduce((total, value) => total + value, 0);
const dot = (a, b) => sum(a.map((value, i) => value * b[i]));
const norm = (a) => Math.sqrt(dot(a, a));
const single = (g, alpha) => ({ update: g.map((value) => alpha * value), guarantee: (alpha * dot(g, g)) / 2 });
const RULES = {
  "SSS-SLC": (g, L) => single(g, 1 / norm(L)),
  "SSS-MLC": (g, L) => single(g, norm(g) / dot(g.map(Math.abs), L)),
  "MSS-MLC": (g, L) => {
    const order = g.map((_, i) => i).sort((i, j) => Math.abs(g[j]) / L[j] - Math.abs(g[i]) / L[i]);
    let best = { update: g.map(() => 0), guarantee: 0 };
    for (let k = 1; k <= g.length; k += 1) {
      const kept = order.slice(0, k), [a, l] = [kept.map((i) => Math.abs(g[i])), kept.map((i) => L[i])];
      const [G, H, C] = [dot(a, a), dot(l, l), dot(l, a)], root = 9 * C * C - 8 * G * H;
      if (root < 0) continue;
      const t = (4 * G) / (3 * C + Math.sqrt(root)), p = Math.sqrt(Math.max(0, 2 * G - C * t));
      if (a.some((value, i) => 2 * value < t * l[i] * (1 - 1e-12)) || (p * t) / 2 <= best.guarantee) continue;
      const update = g.map(() => 0);
      kept.forEach((i, j) => { update[i] = (Math.sign(g[i]) * t * (2 * a[j] - t * l[j])) / p; });
      best = { update, guarantee: (p * t) / 2 };
    }
    return best;
  },
};
// Lemma 8: what a step x improves at least.
const bound = (g, L, x) => dot(g, x) - (norm(x) * dot(L, x.map(Math.abs))) / 2;
