import { expect, it } from "vitest";
import { guardKeys, move, step } from "../src/core/host/keyboard";

it("walks a triangle without leaving it", () => {
  const width = (row: number) => row + 1;
  expect(move("ArrowRight", { row: 2, column: 2 }, 4, width)).toEqual({ row: 2, column: 2 });
  expect(move("ArrowUp", { row: 2, column: 2 }, 4, width)).toEqual({ row: 1, column: 1 });
  expect(move("ArrowDown", { row: 3, column: 1 }, 4, width)).toEqual({ row: 3, column: 1 });
  expect(move("Home", { row: 3, column: 2 }, 4, width)).toEqual({ row: 3, column: 0 });
  expect(move("End", { row: 2, column: 0 }, 4, width)).toEqual({ row: 2, column: 2 });
  expect(move("End", { row: 0, column: 0 }, 4, width, true)).toEqual({ row: 3, column: 3 });
  expect(move("PageDown", { row: 0, column: 0 }, 4, width)).toEqual({ row: 3, column: 0 });
  expect(move("x", { row: 0, column: 0 }, 4, width)).toBeNull();
});

it("walks a list", () => {
  expect(step("ArrowDown", 0, 3)).toBe(1);
  expect(step("ArrowDown", 2, 3)).toBe(2);
  expect(step("ArrowRight", 0, 3)).toBeNull();
  expect(step("ArrowRight", 0, 3, true)).toBe(1);
  expect(step("End", 0, 3)).toBe(2);
});

it("marks whatever takes the focus, and lets no key out", () => {
  const host = document.createElement("div");
  const inner = document.createElement("button");
  host.append(inner);
  document.body.append(host);
  let heard = 0;
  const listen = () => heard++;
  document.addEventListener("keydown", listen);
  const stop = guardKeys(host);
  inner.dispatchEvent(new FocusEvent("focusin", { bubbles: true }));
  expect(inner.hasAttribute("data-lm-suppress-shortcuts")).toBe(true);
  inner.dispatchEvent(new KeyboardEvent("keydown", { key: "x", bubbles: true }));
  expect(heard).toBe(0);
  stop();
  inner.dispatchEvent(new KeyboardEvent("keydown", { key: "x", bubbles: true }));
  expect(heard).toBe(1);
  document.removeEventListener("keydown", listen);
  host.remove();
});
