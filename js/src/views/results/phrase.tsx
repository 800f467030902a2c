/** The tokens of a continuation as a spine, and under it what contributed to the one in focus, or to all of them. */
import type { Container } from "../../core/host/wire";
import type { PhraseHeader } from "../../core/types";
import { Observed } from "../parts/awaiting";
import { useView } from "../parts/context";
import { Spine, WordBars } from "../parts/spine";

export function PhraseView({ data }: { data: Container<PhraseHeader> }) {
  const { store } = useView();
  const { header } = data;
  const at = store.source.value;
  const whole = () => store.select("");
  return (
    <div class="aw-card aw-pad" data-part="phrase">
      <h2 class="aw-headline">{header.title}</h2>
      <p class="aw-sub">{header.note}</p>
      <Observed />
      <Spine header={header} current={at} follow pick={(i) => store.select("", i)} escape={whole} />
      <WordBars data={data} at={at} whole={whole} />
    </div>
  );
}
