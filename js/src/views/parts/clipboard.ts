/** The clipboard, where the page may use it; an old-fashioned copy where it may not. */
export async function toClipboard(text: string, near: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "aw-offscreen";
    (near.parentElement ?? near).append(area);
    area.select();
    let done = false;
    try {
      done = document.execCommand("copy");
    } catch {
      // the code stays on screen, to be copied by hand
    }
    area.remove();
    near.focus();
    return done;
  }
}
