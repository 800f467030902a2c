/** Names explain themselves in the words of Python: names.json is what `described` says there, and a test there holds it. */
import { expect, it } from "vitest";
import { described } from "../src/core/maths/names";
import names from "./names.json";

it.each(Object.entries(names))("explains %s", (label, words) => {
  expect(described(label)).toBe(words);
});

it.each(["", "sum", "12 others", "·Paris", "L3H", "decoder bias", "all of L3H1"])("says nothing of %j", (label) => {
  expect(described(label)).toBeUndefined();
});
