/** One field that is being edited: Enter runs, Escape puts back what was there, an error stays beside it. */
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Field } from "../../core/types";
import { useView } from "../parts/context";
import { Problem } from "./status";

interface Props {
  field: Field;
  label: string;
  value: string;
  /** a single token: a leading space is shown, and may be typed, as · */
  token?: boolean;
  run(text: string): void;
  children?: (fill: (text: string) => void) => ComponentChildren;
}

const DOT = "\u00b7";

export function Edit({ field, label, value, token = false, run, children }: Props) {
  const { store } = useView();
  const dotted = token && value.startsWith(" ");
  const [text, setText] = useState(dotted ? DOT + value.slice(1) : value);
  const input = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => {
    const root = input.current?.closest(".aw");
    input.current?.focus();
    input.current?.select();
    // The focus must not be lost with the field: unless it went somewhere, it goes back to the button that opened it.
    return () => {
      setTimeout(() => {
        const now = (root?.getRootNode() as Document | undefined)?.activeElement;
        if (!now || now === document.body) root?.querySelector<HTMLElement>(`[data-part="edit-${field}"]`)?.focus();
      });
    };
  }, []);
  const close = () => {
    store.screen.editing.value = "";
    if (store.screen.problem.value?.field === field) store.screen.problem.value = null;
  };
  // A token that truly begins with the dot is left alone.
  const typed = () => {
    const now = input.current?.value ?? text;
    return token && now.startsWith(DOT) && !value.startsWith(DOT) ? ` ${now.slice(1)}` : now;
  };
  const failed = store.screen.problem.value?.field === field;
  return (
    <form
      class={`aw-form ${token ? "aw-short" : ""}`}
      onSubmit={(event) => {
        event.preventDefault();
        store.screen.sent.value = field;
        run(typed());
      }}
      onKeyDown={(event) => {
        if (event.key === "Escape") close();
      }}
    >
      <input
        ref={input}
        class="aw-input"
        data-part={field}
        aria-label={label}
        aria-invalid={failed}
        value={text}
        spellcheck={false}
        autocomplete="off"
        autocapitalize="off"
        dir="auto"
        onInput={(event) => {
          store.screen.sent.value = "";
          setText(event.currentTarget.value);
        }}
      />
      <button type="submit" class="aw-btn aw-run">
        Run
      </button>
      <button type="button" class="aw-btn" onClick={close}>
        Cancel
      </button>
      <p class="aw-quiet aw-small aw-formhint">
        {token ? `${DOT} stands for the space before a word.` : "Enter runs, Escape puts it back."}
      </p>
      {children?.((filled) => {
        store.screen.sent.value = field;
        setText(filled);
      })}
      {failed && <Problem />}
    </form>
  );
}
