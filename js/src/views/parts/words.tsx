/** The words that stand on a screen, each with its meaning and how to read a number of it. */
import type { Meaning } from "../../core/types";

/** The entries whose words stand in a text, in the order of the glossary. */
export function termsIn(text: string, terms: Meaning[]): Meaning[] {
  const found = text.toLowerCase();
  const stands = (word: string) => new RegExp(`(^|[^a-z])${word.toLowerCase().replace(/[^a-z0-9 ]/g, "\\$&")}($|[^a-z])`).test(found);
  return terms.filter(({ name, also }) => [name, ...also].some(stands));
}

export function Words({ terms }: { terms: Meaning[] }) {
  return (
    <dl class="aw-words" data-part="words" role="group" aria-label="What the words mean" tabIndex={0}>
      {terms.map(({ name, means, read }) => (
        <>
          <dt key={name}>{name}</dt>
          <dd>
            {means} <span class="aw-quiet">{read}</span>
          </dd>
        </>
      ))}
    </dl>
  );
}
