import { describe, expect, it } from "vitest";
import { HostModel } from "../src/core/host/host";
import { Store } from "../src/core/state/store";
import { explorer, state } from "./fixture";
import type { Sent } from "./show";

function setup(options: object = {}, values: object = {}) {
  const sent: Sent[] = [];
  const model = new HostModel({ kind: "explorer", container: state(), selected: "", source: -1, options: { hidden: [], ...options }, ...values }, (m) => sent.push(m as Sent));
  const store = new Store(model, "explorer");
  const answer = (kind: string, more: object = {}) => model.emit("msg:custom", { v: 1, id: sent.filter((m) => m.op !== "cancel").at(-1)?.id, kind, ...more }, []);
  return { model, store, sent, answer };
}
const settle = () => new Promise((done) => setTimeout(done));
const version = (v: number, changes: object = {}) => state(explorer(undefined, { version: v, ...changes }));

describe("the selection", () => {
  it("opens on the leading head without writing anything", () => {
    const { model, store } = setup();
    expect(store.open.value).toBe("L3H4");
    expect(model.get("selected")).toBe("");
    expect(model.saves).toBe(0);
  });

  it("writes both traits in one save per gesture, and nothing on an echo", () => {
    const { model, store } = setup();
    store.select("L3H5", 4);
    expect([model.get("selected"), model.get("source"), model.saves]).toEqual(["L3H5", 4, 1]);
    expect([store.selected.value, store.source.value]).toEqual(["L3H5", 4]);
    model.emit("change:selected");
    model.emit("change:source");
    store.select("L3H5", 4);
    expect(model.saves).toBe(1);
  });

  it("follows Python without answering it, and survives names that the state lacks", () => {
    const { model, store } = setup();
    model.set("selected", "L0.mlp");
    expect(store.open.value).toBe("L0.mlp");
    model.set("selected", "L99H0");
    expect(store.open.value).toBe("L3H4");
    expect(model.saves).toBe(0);
  });

  it("opens nothing by itself that would name what is hidden", () => {
    for (const part of ["values", "detail"]) {
      const { store } = setup({ hidden: [part] });
      expect(store.open.value).toBe("");
      store.select("L3H5");
      expect(store.open.value).toBe("L3H5");
    }
  });

  it("keeps two views of one model in step", () => {
    const { model, store } = setup();
    const other = new Store(model, "explorer");
    store.select("L3.mlp");
    expect(other.open.value).toBe("L3.mlp");
    expect(model.saves).toBe(1);
    other.close();
    store.select("L2.mlp");
    expect(other.open.value).toBe("L3.mlp");
    store.close();
    expect(model.listeners).toBe(0);
  });
});

describe("the history", () => {
  it("goes back and forward through selections and drops what was ahead", () => {
    const { model, store } = setup();
    store.select("L3H5");
    store.openTab("why");
    store.select("L3H5", 2);
    store.go(-1);
    expect([store.selected.value, store.source.value, store.screen.tab.value]).toEqual(["L3H5", -1, "why"]);
    expect(model.get("source")).toBe(-1);
    store.go(1);
    expect(store.source.value).toBe(2);
    store.go(1);
    store.go(-1);
    store.go(-1);
    expect(store.open.value).toBe("L3H4");
    store.select("embed");
    expect(store.history.past.value).toHaveLength(2);
    expect(store.history.at.value).toBe(1);
  });

  it("asks Python for an earlier question and puts its selection back", async () => {
    const { model, store, sent, answer } = setup();
    store.select("L3H5");
    model.set("container", version(2, { question: 1 }));
    store.select("L0.mlp");
    store.go(-2);
    expect(store.screen.busy.value).not.toBeNull();
    expect(sent.at(-1)).toMatchObject({ op: "explain", args: { restore: 0, prompt: null, target: null } });
    model.set("container", version(3));
    answer("result", { data: { version: 3 } });
    await settle();
    expect(store.selected.value).toBe("L3H5");
    expect(store.history.at.value).toBe(1);
    expect(store.history.past.value).toHaveLength(4);
    expect(store.screen.busy.value).toBeNull();
  });
});

describe("a new question", () => {
  it("names a token by its id where the id is known", () => {
    const { store, sent } = setup();
    store.explain({ target: 101 });
    expect(sent.at(-1)?.args["target"]).toBe(101);
  });

  it("keeps the old numbers until the new ones are there", async () => {
    const { model, store, sent, answer } = setup();
    store.explain({ target: " Rome" });
    expect(sent.at(-1)?.args).toEqual({ prompt: null, target: " Rome", against: null, position: null, corrupted: null });
    answer("ack");
    answer("progress", { done: 1, total: 2, note: "half" });
    expect(store.screen.busy.value).toEqual({ done: 1, total: 2, note: "half" });
    expect(store.reading.value?.header.version).toBe(1);
    model.set("container", version(2));
    answer("result", { data: { version: 2 } });
    await settle();
    expect(store.version.value).toBe(2);
    expect(store.screen.busy.value).toBeNull();
  });

  it("puts an error beside its field and leaves the rest alone", async () => {
    const { store, answer } = setup();
    store.screen.editing.value = "target";
    store.explain({ target: "Pariss" });
    answer("error", { message: "Two tokens.", hint: "Try “ Paris”.", field: "target" });
    await settle();
    expect(store.screen.problem.value).toEqual({ message: "Two tokens.", hint: "Try “ Paris”.", field: "target" });
    expect(store.screen.editing.value).toBe("target");
    expect(store.version.value).toBe(1);
  });

  it("closes the field that asked, and keeps one that was opened, or typed into, meanwhile", async () => {
    const { store, answer } = setup();
    const asked = async (sent: "prompt" | "", editing: "prompt" | "target") => {
      store.screen.editing.value = editing;
      store.screen.sent.value = sent;
      store.explain({ prompt: "Another" });
      answer("result");
      await settle();
      return store.screen.editing.value;
    };
    expect(await asked("prompt", "prompt")).toBe("");
    expect(await asked("prompt", "target")).toBe("target");
    expect(await asked("", "prompt")).toBe("prompt");
  });

  it("cancels the one before and ignores its late words", async () => {
    const { model, store, sent } = setup();
    store.explain({ target: " A" });
    const first = sent.at(-1)?.id;
    store.explain({ target: " B" });
    expect(sent.find((m) => m.op === "cancel")?.id).toBe(first);
    model.emit("msg:custom", { v: 1, id: first, kind: "error", message: "late" }, []);
    await settle();
    expect(store.screen.problem.value).toBeNull();
    expect(store.screen.busy.value).not.toBeNull();
  });

  it("is refused in a page without a kernel, with the reason", () => {
    const { store, sent } = setup({ static: true });
    store.explain({ target: " Rome" });
    expect(sent).toHaveLength(0);
    expect(store.screen.problem.value?.message).toContain("Needs a running kernel");
    expect(store.live.value).toBe("static");
  });
});

it("says what is wrong with a broken state and keeps the last good one", () => {
  const { model, store } = setup();
  model.set("container", new Uint8Array([1, 2, 3]));
  expect(store.broken.value).toContain("not an attrib_widgets state");
  expect(store.reading.value).not.toBeNull();
});

describe("numbers from somewhere", () => {
  it("come from the state first", () => {
    const { store, sent } = setup();
    const pattern = store.data.pattern("L3H1").value;
    expect(pattern.state).toBe("ready");
    expect(store.data.why("L3H1", 4).value.state).toBe("ready");
    expect(sent.filter((m) => m.op !== "hello")).toHaveLength(0);
  });

  it("are asked for once when they are not embedded", async () => {
    const { store, sent, answer } = setup();
    const slot = store.data.why("L3H1", 2);
    expect(store.data.why("L3H1", 2)).toBe(slot);
    await settle();
    expect(sent.filter((m) => m.op === "why")).toHaveLength(1);
    expect(slot.value.state).toBe("loading");
    answer("error", { message: "no", hint: "do" });
    await settle();
    expect(slot.value).toMatchObject({ state: "error", text: "no", hint: "do" });
  });

  it("are said to need a kernel where there is none", () => {
    const { store } = setup({ static: true });
    expect(store.data.why("L3H1", 2).value).toMatchObject({ state: "absent", retry: null });
  });

  it("are not asked for where the model cannot give them, which is said instead", async () => {
    const made = { neurons: {}, absent: { neurons: "A mixture of experts is shown as one part." } };
    for (const options of [{}, { static: true }]) {
      const { store, sent } = setup(options, { container: version(1, made) });
      expect(store.data.neurons("L1.mlp").value).toMatchObject({ state: "absent", text: made.absent.neurons, retry: null });
      await settle();
      expect(sent.filter((m) => m.op === "neurons")).toHaveLength(0);
    }
  });

  it("add up: tokens, value bias and rounding make the bar", () => {
    const { store } = setup();
    const reading = store.reading.value;
    const sources = reading?.sources("L3H1", undefined);
    expect(sources?.sum).toBeCloseTo(reading?.value("L3H1") ?? NaN, 5);
    const rough = reading?.contribution(reading.row("L3H1")!, reading.pattern("L3H1")!.row(reading.position), reading.position);
    expect(rough?.[4]).toBeCloseTo(sources?.tokens[4] ?? NaN, 2);
  });
});
