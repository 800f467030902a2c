/** What one place of a model can have heard of, and what it can reach: later layers, at the same or a later position. */

export interface Place {
  layer: number;
  /** null is every position */
  position: number | null;
  site: string;
}

/** Where in its layer a site stands: the stream before it, what attention reads and writes, the MLP. */
function depth({ layer, site }: Place, parallel: boolean): number {
  const within = site === "stream" ? 0 : site === "mlp" && !parallel ? 2 : 1;
  return 3 * layer + within;
}

const before = (a: Place, b: Place, parallel: boolean) =>
  depth(a, parallel) < depth(b, parallel) && (a.position === null || b.position === null || a.position <= b.position);

/** Whether one of two places can influence the other. */
export const linked = (a: Place, b: Place, parallel: boolean) => before(a, b, parallel) || before(b, a, parallel);
