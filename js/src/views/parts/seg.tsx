/** One of several ways to show something. */
import type { ComponentChildren } from "preact";

interface SegProps<T extends string> {
  label: string;
  /** names in data-form, for tests and scripts */
  ways: [T, ComponentChildren, string?][];
  now: T | "";
  pick(way: T): void;
}

/** A way with a reason is greyed, and says why. */
export function Seg<T extends string>({ label, ways, now, pick }: SegProps<T>) {
  return (
    <div class="aw-seg" role="group" aria-label={label}>
      {ways.map(([way, text, off]) => (
        <button data-form={way} aria-pressed={way === now} aria-disabled={!!off} title={off} onClick={() => off || pick(way)}>
          {text}
        </button>
      ))}
    </div>
  );
}
