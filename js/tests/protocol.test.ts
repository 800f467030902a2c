import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { HostModel } from "../src/core/host/host";
import { Cancelled, Client, GONE, Gone, type Progress, RequestError, UNHEARD } from "../src/core/host/protocol";

interface Sent {
  v: number;
  id: string;
  op: string;
  args?: unknown;
  got?: number[];
}

function setup(status?: string) {
  const sent: Sent[] = [];
  const model = new HostModel({}, (message) => sent.push(message as Sent));
  const kernel = { status };
  if (status) Object.assign(model, { widget_manager: { kernel } });
  const client = new Client(model);
  const answer = (id: string | undefined, kind: string, more: object = {}, buffers: unknown[] = []) =>
    model.emit("msg:custom", { v: 1, id, kind, ...more }, buffers);
  return { sent, model, kernel, client, answer };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it("sends a request and resolves it with its data and buffers", async () => {
  const { sent, client, answer } = setup();
  const asked = client.request("head", { id: "L3H5" });
  expect(sent[0]).toEqual({ v: 1, id: asked.id, op: "head", args: { id: "L3H5" }, got: [] });
  answer(asked.id, "ack");
  const bytes = new Uint8Array([1]);
  answer(asked.id, "result", { data: { a: 1 } }, [bytes]);
  await expect(asked.result).resolves.toEqual({ data: { a: 1 }, buffers: [bytes] });
});

it("matches answers by id, in any order, and ignores what it does not know", async () => {
  const { client, answer, model } = setup();
  const [a, b] = [client.request("writes", { id: "L3H5" }), client.request("lens", {})];
  answer("nobody", "result", { data: { wrong: true } });
  answer(undefined, "result");
  model.emit("msg:custom", null, []);
  model.emit("msg:custom", { v: 2, id: a.id, kind: "result" }, []);
  answer(a.id, "surprise");
  answer(b.id, "result", { data: { n: 2 } });
  answer(b.id, "ack");
  answer(a.id, "result", { data: { n: 1 } });
  answer(a.id, "result", { data: { n: 9 } });
  expect((await a.result).data).toEqual({ n: 1 });
  expect((await b.result).data).toEqual({ n: 2 });
});

it("reports progress, errors with hint and field, and cancels by the same id", async () => {
  const { sent, client, answer } = setup();
  const seen: Progress[] = [];
  const a = client.request("trace", { mlps: "stop" }, (p) => seen.push(p));
  answer(a.id, "progress", { done: 1, total: 4, note: "layer 1" });
  expect(seen).toEqual([{ done: 1, total: 4, note: "layer 1" }]);
  a.cancel();
  expect(sent[1]).toEqual({ v: 1, id: a.id, op: "cancel", got: [] });
  answer(a.id, "cancelled");
  await expect(a.result).rejects.toBeInstanceOf(Cancelled);
  const b = client.request("effects", {});
  answer(b.id, "error", { message: "no such token", hint: "type a space", field: "target" });
  const error = (await b.result.catch((e: unknown) => e)) as RequestError;
  expect(error).toBeInstanceOf(RequestError);
  expect([error.message, error.hint, error.field]).toEqual(["no such token", "type a space", "target"]);
  a.cancel();
  expect(sent.filter((m) => m.op === "cancel")).toHaveLength(1);
});

it("says after three silent seconds of an idle kernel that nobody listens, and live again when it answers", async () => {
  const { client, answer } = setup("idle");
  const asked = client.request("hello", {});
  vi.advanceTimersByTime(2900);
  expect(client.live.value).toBe("live");
  vi.advanceTimersByTime(200);
  expect(client.live.value).toBe("unheard");
  const error = (await asked.result.catch((e: unknown) => e)) as Gone;
  expect([error instanceof Gone, error.message]).toEqual([true, UNHEARD]);
  const again = client.request("hello", {});
  answer(again.id, "ack");
  expect(client.live.value).toBe("live");
});

it("calls only a dead kernel gone", async () => {
  const { client, kernel } = setup("idle");
  const asked = client.request("hello", {});
  kernel.status = "dead";
  vi.advanceTimersByTime(3100);
  expect(client.live.value).toBe("gone");
  await expect(asked.result).rejects.toThrow(GONE);
});

it("waits for a busy kernel and for one whose state is unknown, and says for which", async () => {
  const busy = setup("busy");
  busy.client.request("hello", {});
  vi.advanceTimersByTime(30_000);
  expect(busy.client.live.value).toBe("busy");
  busy.kernel.status = "idle";
  vi.advanceTimersByTime(2000);
  expect(busy.client.live.value).toBe("waiting");
  vi.advanceTimersByTime(2000);
  expect(busy.client.live.value).toBe("unheard");
  busy.client.close();

  const unknown = setup();
  const asked = unknown.client.request("hello", {});
  vi.advanceTimersByTime(60_000);
  expect(unknown.client.live.value).toBe("waiting");
  unknown.answer(asked.id, "ack");
  expect(unknown.client.live.value).toBe("live");
  unknown.answer(asked.id, "result");
  vi.advanceTimersByTime(3000);
  expect(vi.getTimerCount()).toBe(0);
});

it("takes a closed connection for a gone kernel and leaves nothing behind", () => {
  const { client, model } = setup("idle");
  model.send = () => {
    throw new Error("Comm is closed");
  };
  client.request("hello", {});
  expect(client.live.value).toBe("gone");
  client.close();
  expect(model.listeners).toBe(0);
  expect(vi.getTimerCount()).toBe(0);
});

it("polls while a request is open: one at a time, first after half a second, never more than two seconds apart", () => {
  const { sent, client, answer } = setup();
  const polls = () => sent.filter((m) => m.op === "poll");
  const asked = client.request("trace", { mlps: "stop" });
  answer(asked.id, "ack");
  vi.advanceTimersByTime(499);
  expect(polls()).toHaveLength(0);
  vi.advanceTimersByTime(1);
  expect(polls()).toHaveLength(1);
  vi.advanceTimersByTime(10_000); // the first was not taken yet: the kernel is busy with a cell
  expect(polls()).toHaveLength(1);
  answer(polls()[0]?.id, "ack");
  vi.advanceTimersByTime(2000);
  expect(polls()).toHaveLength(2);
  answer(polls()[1]?.id, "ack");
  answer(asked.id, "result");
  vi.advanceTimersByTime(10_000);
  expect(polls()).toHaveLength(2);
});

it("confirms the numbered messages that it got with the next thing it sends, once", () => {
  const { sent, client, answer } = setup();
  const seen: Progress[] = [];
  const asked = client.request("trace", { mlps: "stop" }, (p) => seen.push(p));
  answer(asked.id, "progress", { n: 4, done: 1, total: 2, note: "" });
  answer(undefined, "traits", { n: 5 });
  asked.cancel();
  client.request("hello", {});
  expect(sent.map((m) => m.got)).toEqual([[], [4, 5], []]);
  expect(seen).toHaveLength(1);
});
