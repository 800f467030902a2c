/**
 * Light or dark, read from the text colour that the host gives: light text means a dark host. Works in JupyterLab,
 * Notebook 7, Colab, VS Code, marimo's shadow root and a bare page, without knowing any of them.
 */
import { css, luminance, type Palette, parse, type RGB } from "../maths/colour";

const WATCHED = ["class", "style", "theme", "data-theme", "data-jp-theme-name", "data-jp-theme-light", "data-vscode-theme-kind"];

export function isDark(host: Element): boolean {
  const colour = parse(getComputedStyle(host).color);
  return colour !== null && luminance(colour) > 0.4;
}

/** The first painted background behind an element, if it is plain enough for our text to be read on it. */
function ground(host: Element, dark: boolean): RGB | null {
  for (let e: Element | null = host; e; e = e.parentElement ?? ((e.getRootNode() as ShadowRoot).host || null)) {
    const colour = getComputedStyle(e).backgroundColor;
    const rgb = /rgba\(.*(?:,|\/)\s*0?\.\d+\s*\)/.test(colour) ? null : parse(colour);
    if (!rgb) continue;
    const light = luminance(rgb);
    return dark ? (light <= 0.03 ? rgb : null) : light >= 0.9 ? rgb : null;
  }
  return null;
}

/** Sets the theme on the root and returns its colours as numbers. */
export function applyTheme(host: HTMLElement, root: HTMLElement): Palette {
  const dark = isDark(host);
  root.dataset["awTheme"] = dark ? "dark" : "light";
  root.style.removeProperty("--aw-ground");
  const behind = ground(host, dark);
  if (behind) root.style.setProperty("--aw-ground", css(behind));
  const style = getComputedStyle(root);
  const read = (name: string, fallback: RGB): RGB => parse(style.getPropertyValue(`--aw-${name}`)) ?? fallback;
  return {
    dark,
    ground: behind ?? read("ground", dark ? [17, 20, 24] : [255, 255, 255]),
    ink: read("ink", dark ? [230, 233, 237] : [27, 31, 36]),
    plus: read("plus", [0, 103, 165]),
    minus: read("minus", [184, 78, 0]),
    sequence: [1, 2, 3].map((i) => read(`seq-${i}`, [128, 128, 128])),
  };
}

/**
 * Calls back once the element is part of the page: before that it has no computed style, so no theme can be read.
 * (Hosts such as JupyterLab attach a view after it was drawn.) Returns the function that stops waiting.
 */
export function onceAttached(root: HTMLElement, attached: () => void): () => void {
  if (root.isConnected) return () => {};
  const observer = new ResizeObserver(() => {
    if (!root.isConnected) return;
    observer.disconnect();
    attached();
  });
  observer.observe(root);
  return () => observer.disconnect();
}

/** Calls back whenever the host may have changed its theme. Returns the function that stops watching. */
export function watchTheme(changed: () => void): () => void {
  const later = () => requestAnimationFrame(changed);
  const observer = new MutationObserver(later);
  for (const node of [document.documentElement, document.body]) {
    observer.observe(node, { attributes: true, attributeFilter: WATCHED });
  }
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", later);
  // JupyterLab flips the attribute before the new style sheet has loaded
  document.addEventListener("load", later, true);
  return () => {
    observer.disconnect();
    media.removeEventListener("change", later);
    document.removeEventListener("load", later, true);
  };
}
