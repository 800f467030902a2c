/** Points in a plane: a list that arrows walk, each with its name where there is room. */
import type { ComponentChildren } from "preact";
import { pressed, useRoving } from "./roving";

type Window = readonly [number, number];

export interface Point {
  id: string;
  x: number;
  y: number;
  /** whether its name is drawn where it fits */
  named: boolean;
  faint?: boolean;
  /** the sign of what it stands for, where that is its colour */
  below?: boolean;
  title: string;
  /** the same for who hears it */
  told: string;
  pick(): void;
  point?(): void;
}

interface PlaneProps {
  label: string;
  x: Window;
  y: Window;
  across: { at: number; text: string }[];
  up: { at: number; text: string }[];
  points: Point[];
  chosen: number;
  /** what lies under the points, by where they are drawn: 0 to 100 from the lower left */
  under?: (x: (v: number) => number, y: (v: number) => number) => ComponentChildren;
}

/** names right of here are written to the left, and each is about so long, in hundredths of the width */
const [TURN, REACH] = [80, 16];

const placed = ([low, high]: Window) => (v: number) => (100 * (v - low)) / (high - low);

export function Plane({ label, x, y, across, up, points, chosen, under }: PlaneProps) {
  const rove = useRoving(chosen, true);
  const [atX, atY] = [placed(x), placed(y)];
  // a name is drawn where no larger point's name is in the way, that of the chosen one in any case
  const taken: { from: number; y: number }[] = [];
  const placeOf = ({ x, y }: Point) => ({ x: atX(x), y: atY(y), from: atX(x) - (atX(x) > TURN ? REACH : 0) });
  const one = points[chosen];
  if (one) taken.push(placeOf(one));
  return (
    <div class="aw-plane" role="listbox" aria-label={label} {...rove.list}>
      {under?.(atX, atY)}
      {across.map(({ at, text }) => (
        <span class="aw-tick aw-across" aria-hidden="true" style={{ left: `${atX(at)}%` }}>
          {text}
        </span>
      ))}
      {up.map(({ at, text }) => (
        <span class="aw-tick aw-up" aria-hidden="true" style={{ bottom: `${atY(at)}%` }}>
          {text}
        </span>
      ))}
      {points.map((p, i) => {
        const spot = placeOf(p);
        const free = p.named && i !== chosen && taken.every((o) => Math.abs(o.from - spot.from) > REACH || Math.abs(o.y - spot.y) > 5);
        if (free) taken.push(spot);
        return (
          <div
            key={p.id}
            role="option"
            class={`aw-dot ${p.faint ? "aw-faint" : ""} ${p.below ? "aw-takes" : ""} ${spot.x > TURN ? "aw-toleft" : ""}`}
            data-id={p.id}
            data-i={i}
            aria-selected={i === chosen}
            title={p.title}
            tabIndex={rove.tabIndex(i)}
            style={{ left: `${spot.x}%`, bottom: `${spot.y}%` }}
            onClick={p.pick}
            onKeyDown={pressed(p.pick)}
            onPointerEnter={p.point}
            onFocusIn={p.point}
          >
            <span class={free || i === chosen ? "aw-name" : "aw-sr"}>{p.id}</span>
            <span class="aw-sr"> {p.told}</span>
          </div>
        );
      })}
    </div>
  );
}
