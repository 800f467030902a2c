/** Nodes that were gathered, to be taken as one under a name. */
import { useState } from "preact/hooks";
import type { Graph } from "../../core/state/graph";

interface ChosenProps {
  of: Graph;
  /** by name */
  chosen: string[];
  /** whether a node or a group is called so */
  taken(name: string): boolean;
  drop(name: string): void;
  clear(): void;
  group(name: string): void;
}

const LONGEST = 60; // as in groups.py

export function Chosen({ of, chosen, taken, drop, clear, group }: ChosenProps) {
  const labels = chosen.map((one) => of.nodes[of.at(one)]?.label).filter(Boolean);
  const [text, setText] = useState<string | null>(null);
  // what several are called by their cards is a name for them
  const common = labels.find((label, i) => labels.indexOf(label) < i) ?? labels[0] ?? "group";
  const name = (text ?? common).trim().replace(/\s+/g, " ").slice(0, LONGEST);
  const problem = name && taken(name) ? `There is a node or a group “${name}” already.` : "";
  return (
    <form
      class="aw-form aw-gchosen"
      data-part="chosen"
      aria-label="Nodes to take as one"
      onSubmit={(event) => {
        event.preventDefault();
        if (name && !problem) group(name);
      }}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.preventDefault();
        clear();
      }}
    >
      {chosen.map((one) => (
        <button key={one} type="button" class="aw-chip" data-chosen={one} aria-label={`Leave ${one} out`} onClick={() => drop(one)}>
          {one} <span aria-hidden="true">×</span>
        </button>
      ))}
      <span class="aw-gcall">
        <input class="aw-input" data-part="group-name" aria-label="Name of the group" aria-invalid={!!problem} value={text ?? common} maxLength={LONGEST} spellcheck={false} autocomplete="off" dir="auto" onInput={(event) => setText(event.currentTarget.value)} />
        <button type="submit" class="aw-btn aw-run" disabled={!name || !!problem}>
          Take as one
        </button>
        <button type="button" class="aw-btn" onClick={clear}>
          Cancel
        </button>
      </span>
      {problem && (
        <p class="aw-error aw-small" role="alert">
          {problem}
        </p>
      )}
    </form>
  );
}
