/** Tokens and targets, as text nodes only. */
import { pieces, tokenText } from "../../core/maths/format";
import type { Named, Target } from "../../core/types";
import { useView } from "./context";

/** A token as text nodes only; spaces and invisible characters become quiet marks. */
export function Token({ text }: { text: string }) {
  return (
    <bdi class="aw-token">
      {pieces(text).map((p) => (p.mark ? <span class="aw-mark">{p.text}</span> : p.text))}
    </bdi>
  );
}

/** A token inside running text: spaces are spaces; what cannot be seen is still a mark. */
export function Prose({ text }: { text: string }) {
  return <>{pieces(text).map((p) => (p.mark ? p.text.split(/(\u00b7+)/).map((t) => (t.startsWith("\u00b7") ? " ".repeat(t.length) : t && <span class="aw-mark">{t}</span>)) : p.text))}</>;
}

/** The name of a part, and beside it what that is where the name alone would mislead. */
export function Called({ of }: { of: string }) {
  const kind = useView().store.kindOf(of);
  return (
    <>
      {of}
      {kind && <small class="aw-quiet"> {kind.short}</small>}
    </>
  );
}

const OR = 3;

/** A token, or the first of a set of them. */
export function Names({ of }: { of: Named }) {
  const all = of.texts ?? [of.text];
  return (
    <>
      {all.slice(0, OR).map((text, i) => (
        <>
          {i > 0 && <span class="aw-mark"> or </span>}
          <Token text={text} />
        </>
      ))}
      {all.length > OR && <span class="aw-mark"> …</span>}
    </>
  );
}

/** The same as a line of text. */
export function namesText(of: Named): string {
  const all = of.texts ?? [of.text];
  return all.slice(0, OR).map(tokenText).join(" or ") + (all.length > OR ? " …" : "");
}

/** The name of what is held against the target, or a stand-in while the answer is hidden. */
export function RivalName() {
  const { store } = useView();
  const against = store.reading.value?.header.target.against;
  return against && !store.hides("candidates") ? <Names of={against} /> : <>the other</>;
}

/** The name of the target, or a stand-in while the answer is hidden. */
export function TargetName({ of }: { of?: Target }) {
  const { store } = useView();
  const target = of ?? store.reading.value?.header.target;
  if (!target) return null;
  if (target.id === null) return <>{target.text}</>; // a number inside the model
  if (store.hides("candidates")) return <>the answer</>;
  return (
    <>
      {target.kind === "log_prob" && "log p of "}
      <Names of={target} />
      {target.against && (
        <>
          {" over "}
          <Names of={target.against} />
        </>
      )}
    </>
  );
}
