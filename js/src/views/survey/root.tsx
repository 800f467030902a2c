/** The view of a survey, with its help. */
import { decode } from "../../core/host/wire";
import type { Store } from "../../core/state/store";
import { Survey } from "../../core/state/survey";
import type { SurveyHeader } from "../../core/types";
import { Status } from "../explorer/status";
import { Help } from "../parts/help";
import { SurveyView } from "./survey";

const READ = new WeakMap<object, Survey>();

/** Each state is read once. */
function read(state: object): Survey {
  const found = READ.get(state) ?? new Survey(decode<SurveyHeader>(state));
  READ.set(state, found);
  return found;
}

export function View({ store }: { store: Store }) {
  const state = store.state.value;
  if (store.broken.value || !state) return <Status />;
  return (
    <div class="aw-alone">
      <Help of="survey" />
      <SurveyView of={read(state as object)} />
      <Status />
    </div>
  );
}
