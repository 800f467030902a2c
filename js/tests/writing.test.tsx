import { afterEach, describe, expect, it } from "vitest";
import { decode } from "../src/core/host/wire";
import type { GivenToken, PhraseHeader } from "../src/core/types";
import { explorer, SENT, state, TOKENS } from "./fixture";
import { pack } from "./pack";
import { close, FIXED, press, show, tick } from "./show";

afterEach(close);

const given: GivenToken[] = TOKENS.map((text, i) => ({ text, special: i === 0, prob: i ? 0.25 : null, entropy: i ? 2 : null, rank: i ? 3 : null }));
const words = decode<PhraseHeader>(SENT.phrase);
const [PARIS] = words.header.tokens;
/** where the word that follows stands */
const AT = TOKENS.length;

/** The Explorer's state with a word behind the prompt, as Python packs it. */
function followed(written: boolean) {
  const { sums, values } = words.arrays;
  const rows = [...(sums?.at() ?? [])];
  const phrase = pack({ ...words.header, given }, { sums: { dtype: "f4", shape: [rows.length], values: rows }, values: { dtype: "f4", shape: [1, rows.length], values: [...(values?.at(0) ?? [])] } });
  const text = [...TOKENS, PARIS?.text ?? ""];
  const made = explorer(text);
  const passage = { prompt: "The capital of France is", compared: "", start: AT, n: written ? 1 : null, seed: written ? 4 : null, code: "p = aw.attribute(run, aw.phrase())" };
  const header = { ...made.header, prompt: { ...made.header.prompt, position: AT - 1 }, passage, word: { at: AT, told: "It stands here." }, address: "model=demo&word=6" };
  const packed = Array.from(new Int32Array(phrase.slice().buffer));
  return state({ header, arrays: { ...made.arrays, phrase: { dtype: "i4", shape: [packed.length], values: packed } } });
}

describe("the button that lets the model go on", () => {
  it("asks for so many tokens, greedy or from a seed", async () => {
    const { one, all, click, sent } = show(state());
    await click('[data-part="continue"] .aw-btn');
    expect(sent.at(-1)).toMatchObject({ op: "explain", args: { write: { n: 8, seed: null } } });
    expect(one('[data-part="cancel"]')).not.toBeNull();
    await click('[data-part="continue"] [type="checkbox"]');
    const [n, seed] = all('[data-part="continue"] [type="number"]') as HTMLInputElement[];
    for (const [field, value] of [[n, "3"], [seed, "7"]] as const) {
      if (!field) throw new Error("a field is missing");
      field.value = value;
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
    await tick();
    await press(n, "Enter");
    expect(sent.at(-1)).toMatchObject({ op: "explain", args: { write: { n: 3, seed: 7 } } });
  });

  it("is not there without a kernel, nor where the answer is hidden", () => {
    expect(show(state(), "explorer", FIXED).one('[data-part="continue"]')).toBeNull();
    expect(show(state(), "explorer", { options: { hidden: ["candidates"] } }).one('[data-part="continue"]')).toBeNull();
  });
});

describe("a word of the prompt", () => {
  it("is asked with Shift, and by the link beside what comes next there", async () => {
    const made = explorer();
    const { one, sent } = show(state());
    one('[data-part="prompt-tokens"] [data-i="3"]')?.dispatchEvent(new MouseEvent("click", { bubbles: true, shiftKey: true }));
    expect(sent.at(-1)).toMatchObject({ op: "explain", args: { word: 3 } });
    await press(one('[data-part="prompt-tokens"] [data-i="2"]'), "Enter", { shiftKey: true });
    expect(sent.at(-1)).toMatchObject({ op: "explain", args: { word: 2 } });
    close();
    const earlier = show(state({ ...made, header: { ...made.header, prompt: { ...made.header.prompt, position: 2 } } }));
    await earlier.click('[data-part="as-written"]');
    expect(earlier.sent.at(-1)).toMatchObject({ op: "explain", args: { word: 3 } });
  });

  it("says how likely the model found it, also where it is no candidate", () => {
    const made = explorer();
    const target = { ...made.header.target, id: 1, text: " of", texts: [" of"], against: null, prob: 0.003, rank: 12 };
    const word = { at: 3, told: "“·of” stands here: rank 12." };
    const { one, all } = show(state({ ...made, header: { ...made.header, target, word, prompt: { ...made.header.prompt, position: 2 } } }));
    expect(one('[data-part="word"]')?.textContent).toBe(word.told);
    expect(all('[data-part="candidate"][aria-pressed="true"]').map((c) => c.textContent)).toEqual(["·of 0.3\u00a0%"]);
    expect(one('[data-part="as-written"]')).toBeNull();
  });
});

describe("the words that follow", () => {
  it("stand behind the prompt in another look, and say so", () => {
    const { all, one } = show(followed(true));
    const spine = all('[data-part="spine"] [role="option"]');
    expect(spine).toHaveLength(AT + 1);
    expect(spine.map((w) => w.classList.contains("aw-new"))).toEqual([...TOKENS.map(() => false), true]);
    expect(spine[AT]?.textContent).toContain("written by the model");
    expect(show(followed(false)).all('[data-part="spine"] [role="option"]')[AT]?.textContent).toContain("follows the prompt");
    expect(spine[1]?.title).toContain("probability 25\u00a0%, rank 3");
    expect(spine[0]?.getAttribute("aria-disabled")).toBe("true");
    expect(spine[AT]?.getAttribute("aria-selected")).toBe("true");
    expect(one('[data-part="waterfall"]')).not.toBeNull();
    expect((one('[data-part="continue"] [aria-label^="Seed"]') as HTMLInputElement).value).toBe("4");
  });

  it("are asked by a click and by a key, the first token never", async () => {
    const { one, sent, click } = show(followed(true));
    await click('[data-part="spine"] [data-i="3"]');
    expect(sent.at(-1)).toMatchObject({ op: "explain", args: { word: 3 } });
    await press(one('[data-part="spine"] [data-i="2"]'), "Enter");
    expect(sent.at(-1)).toMatchObject({ op: "explain", args: { word: 2 } });
    const before = sent.length;
    await click('[data-part="spine"] [data-i="0"]');
    await click(`[data-part="spine"] [data-i="${AT}"]`);
    expect(sent, "what is on the screen is not asked again").toHaveLength(before);
    await click('[data-part="drop-words"]');
    expect(sent.at(-1)).toMatchObject({ op: "explain", args: { write: { n: 0, seed: null } } });
  });

  it("are summed together, which Python learns", async () => {
    const { one, click, model } = show(followed(true), "explorer", { showing: { tab: "", mode: "size" } });
    await click('[data-part="all-words"]');
    expect(model.get("showing")).toEqual({ tab: "", mode: "size", all: true });
    expect(one('[data-part="token"] .aw-title')?.textContent).toMatch(/^1 token: /);
    expect(one('[data-part="waterfall"]')).toBeNull();
    await click('[data-part="copy"]');
    expect(one('[data-part="code"]')?.textContent).toBe("p = aw.attribute(run, aw.phrase())\n\np.top(10)\n");
    await click(`[data-part="spine"] [data-i="${AT}"]`);
    expect(model.get("showing")).toEqual({ tab: "", mode: "size" });
    expect(one('[data-part="waterfall"]')).not.toBeNull();
    await press(one('[data-part="spine"] [data-i="1"]'), "Escape");
    expect(one('[data-part="words"]')).not.toBeNull();
  });

  it("keep their bars in a page without a kernel", async () => {
    const { one, click } = show(followed(true), "explorer", FIXED);
    await click('[data-part="spine"] [data-i="2"]');
    expect(one('[data-part="error"]')?.textContent).toContain("Needs a running kernel");
    await click('[data-part="all-words"]');
    expect(one('[data-part="sum"]')?.textContent).toContain("model");
  });
});

describe("what is hidden", () => {
  const hiding = (hidden: string[], all: boolean) => show(followed(true), "explorer", { options: { hidden }, showing: { tab: "", mode: "size", ...(all && { all }) } });

  it("is not told by the words that follow the prompt, nor by their odds", () => {
    const { one, all } = hiding(["candidates"], false);
    expect(one('[data-part="spine"]')).toBeNull();
    expect(all('[data-part="prompt-tokens"] [data-i]')).toHaveLength(AT);
    expect(one('[data-part="hidden-candidates"]')).not.toBeNull();
  });

  it.each(["values", "candidates", "sum"])("is not told by all words together: %s", (part) => {
    const { one } = hiding([part], true);
    expect(one('[data-part="words"]')).toBeNull();
    expect(one(`[data-part="hidden-${part}"]`)).not.toBeNull();
  });
});
