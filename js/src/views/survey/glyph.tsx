/** Groups are told by name and shape: colours mean sign. */

/** The outline of a group's shape about a point, of about one area for all. */
export function outline(group: number, x: number, y: number, r: number): string {
  const points = (...given: [number, number][]) => `M${given.map(([a, b]) => `${(x + r * a).toFixed(1)} ${(y + r * b).toFixed(1)}`).join("L")}Z`;
  const shapes = [
    () => `M${(x - r).toFixed(1)} ${y.toFixed(1)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
    () => points([0, -1.3], [1.25, 0.95], [-1.25, 0.95]),
    () => points([-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]),
    () => points([0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]),
    () => points([0, 1.3], [1.25, -0.95], [-1.25, -0.95]),
    () => points([-1.2, -0.45], [-0.45, -0.45], [-0.45, -1.2], [0.45, -1.2], [0.45, -0.45], [1.2, -0.45], [1.2, 0.45], [0.45, 0.45], [0.45, 1.2], [-0.45, 1.2], [-0.45, 0.45], [-1.2, 0.45]),
  ];
  return (shapes[group % shapes.length] as () => string)();
}

export const Glyph = ({ group }: { group: number }) => (
  <svg class="aw-glyph" viewBox="0 0 12 12" aria-hidden="true">
    <path d={outline(group, 6, 6, 4)} />
  </svg>
);
