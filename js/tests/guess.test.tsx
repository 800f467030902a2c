import { afterEach, describe, expect, it } from "vitest";
import { explorer, SENT, state, tested } from "./fixture";
import { close, FIXED, press, show, tick } from "./show";

afterEach(close);

const { header, arrays } = explorer();
const order = Array.from(arrays["values"]?.values ?? []).map((v, i) => [Math.abs(v), header.rows[i]?.id ?? ""] as const).filter(([, id]) => !/bias|rounding/.test(id)).sort((a, b) => b[0] - a[0]).map(([, id]) => id);
const [lead = "", second = "", third = ""] = order;
const answer = header.candidates[0]?.text ?? "";

/** Everything that a person or a screen reader is told. */
function strings(el: HTMLElement): string {
  const told = [...el.querySelectorAll<HTMLElement>("*")].flatMap((e) => [...e.attributes].filter((a) => /^(title|aria-label|placeholder|value|alt)$/.test(a.name)).map((a) => a.value));
  return [el.textContent, ...told].join("\n");
}

describe("what is hidden asks", () => {
  it("which part leads: a blank is marked, and Reveal compares", async () => {
    const { one, all, click, model, sent } = show(state(), "explorer", { ...FIXED, options: { hidden: ["values"], static: true }, guessed: {} });
    const blanks = all('[data-part="hidden-values"] [role="gridcell"][data-id]');
    expect(new Set(blanks.map((b) => b.getAttribute("style"))).size, "no colour tells").toBe(1);
    await click(`[data-part="hidden-values"] [data-id="${third}"]`);
    expect(model.get("guessed")).toEqual({ part: third });
    expect(one(`[data-id="${third}"]`)?.textContent).toContain("your guess");
    expect(one('[data-part="waterfall"]')).toBeNull();
    await click('[data-part="hidden-values"] [data-part="reveal"]');
    expect(one('[data-part="compared-part"]')?.textContent).toBe(`You said ${third}; ${lead} leads, ${third} is number 3.`);
    expect(one('[data-part="waterfall"]')).not.toBeNull();
    expect(sent.map((m) => m.op)).not.toContain("reveal");
  });

  it("stays covered until something is marked, where it is locked", async () => {
    const { one, click, model, sent } = show(state(), "explorer", { options: { hidden: ["values"], locked: true }, guessed: {} });
    const button = () => one('[data-part="reveal"]') as HTMLButtonElement;
    expect(button().disabled).toBe(true);
    await click('[data-part="reveal"]');
    expect(sent.map((m) => m.op)).not.toContain("reveal");
    await click(`[data-part="hidden-values"] [data-id="${third}"]`);
    expect(model.get("guessed")).toEqual({ part: third });
    expect(button().disabled).toBe(false);
    await click('[data-part="reveal"]');
    expect(sent.at(-1)).toMatchObject({ op: "reveal" });
  });

  it("by keyboard", async () => {
    const { one, model } = show(state(), "explorer", { ...FIXED, options: { hidden: ["values", "heads"], static: true }, guessed: {} });
    const first = one('[data-part="hidden-values"] [role="gridcell"][tabindex="0"]');
    first?.focus();
    await press(first, "ArrowRight");
    await press(document.activeElement, "Enter");
    expect(model.get("guessed")).toEqual({ part: "L4H1" });
  });

  it("which token comes next, typed with or without its space", async () => {
    const { one, click } = show(state(), "explorer", { ...FIXED, options: { hidden: ["candidates"], static: true }, guessed: {} });
    const field = one('[data-part="guess"]') as HTMLInputElement;
    field.value = answer.trim();
    field.dispatchEvent(new Event("change", { bubbles: true }));
    await click('[data-part="hidden-candidates"] [data-part="reveal"]');
    expect(one('[data-part="compared-token"]')?.textContent).toMatch(/^You said .*: right\.$/);
  });

  it("which word a head reads", async () => {
    const { one, click, model } = show(state(), "explorer", { ...FIXED, selected: "L3H1", options: { hidden: ["detail"], static: true }, guessed: {} });
    expect(one('[data-part="tabs"]')).toBeNull();
    await click('[data-part="hidden-detail"] [data-i="1"]');
    expect(model.get("guessed")).toEqual({ word: { of: "L3H1", at: 1 } });
    await click('[data-part="hidden-detail"] [data-part="reveal"]');
    expect(one('[data-part="compared-word"]')?.textContent).toMatch(/^You said The; ·France is what L3H1 reads, The is number \d\.$/);
  });

  it("just uncovers where there is nothing to guess", async () => {
    const { one, click } = show(state(), "explorer", { ...FIXED, options: { hidden: ["sum", "corrupted", "detail"], static: true }, selected: "L2.mlp" });
    for (const part of ["sum", "corrupted", "detail"]) {
      expect(one(`[data-part="hidden-${part}"] input, [data-part="hidden-${part}"] [role="option"]`)).toBeNull();
      await click(`[data-part="hidden-${part}"] [data-part="reveal"]`);
      expect(one(`[data-part="hidden-${part}"]`)).toBeNull();
    }
  });

  it("asks Python where it is there, and draws what Python knows", async () => {
    const { one, click, model, sent } = show(state(), "explorer", { options: { hidden: ["values"] }, guessed: { part: second } });
    await click('[data-part="reveal"]');
    expect(sent.at(-1)).toMatchObject({ op: "reveal", args: { parts: ["values"] } });
    expect(one('[data-part="waterfall"]'), "Python uncovers it").toBeNull();
    model.set("options", { hidden: [] });
    await tick();
    expect(one('[data-part="compared-part"]')?.textContent).toContain(`${second} is number 2`);
  });
});

describe("a hidden answer", () => {
  const secrets = [...header.candidates.map((c) => c.text), header.target.against?.text ?? ""].map((text) => text.trim()).filter((text) => text.length > 2 && !`${header.prompt.text} ${header.corrupted?.text}`.includes(text));

  it("has names to look for", () => expect(secrets.length).toBeGreaterThan(2));

  it("is in no string of any tab", async () => {
    const { made, verdicts } = tested();
    for (const bytes of [SENT.explorer, state(made)]) {
      const { el, one, all, click, model } = show(bytes, "explorer", { ...FIXED, options: { hidden: ["candidates"], static: true }, tested: { ...verdicts, question: 0 }, guessed: {} });
      const look = (where: string) => {
        for (const secret of secrets) expect(strings(el), `${secret} in ${where}`).not.toContain(secret);
      };
      for (const order of ["size", "order", "heads", "trace", "sides"]) {
        await click(`[data-order="${order}"]`);
        look(order);
      }
      for (const row of ["L3H1", "L4.mlp", "embed", "norm.bias"]) {
        model.set("selected", row);
        await tick();
        for (const tab of all('[role="tab"]').map((t) => t.dataset["tab"])) {
          await click(`[role="tab"][data-tab="${tab}"]`);
          look(`${row} ${tab}`);
        }
      }
      for (const part of ["copy", "save", "copy-state", "continue"]) expect(one(`[data-part="${part}"]`)).toBeNull();
      await click('[data-part="hidden-candidates"] [data-part="reveal"]');
      expect(strings(el)).toContain(answer.trim());
      close();
    }
  }, 30_000);
});
