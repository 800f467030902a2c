// Writes offline pages from the test fixtures, to look at the views without Python:  node dev.mjs /tmp/pages
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import * as esbuild from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = resolve(process.argv[2] ?? join(tmpdir(), "aw-pages"));
mkdirSync(out, { recursive: true });
const shared = { absWorkingDir: here, bundle: true, format: "esm", target: "es2022", jsx: "automatic", jsxImportSource: "preact" };
await esbuild.build({ ...shared, entryPoints: ["tests/fixture.ts"], outfile: join(out, "fixture.mjs"), platform: "node" });
const bundle = async (entry) => (await esbuild.build({ ...shared, entryPoints: [entry], write: false, minify: true })).outputFiles[0].text;
const [script, style] = [await bundle("src/page.ts"), await bundle("src/styles/index.css")];
const f = await import(pathToFileURL(join(out, "fixture.mjs")).href);

const escape = (text) => text.replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--");
function page(name, kind, bytes, traits = {}) {
  const state = Buffer.from(bytes).toString("base64");
  const json = JSON.stringify({ kind, state, selected: "", source: -1, options: { hidden: [], static: true }, ...traits }).replaceAll("<", "\\u003c");
  const html = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${name}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:">
<style>:root{color-scheme:light dark}body{margin:12px;background:#fff;color:#1b1f24}@media(prefers-color-scheme:dark){body{background:#111418;color:#e6e9ed}}
${style}</style></head><body><main id="aw-root"></main><script type="application/json" id="aw-state">${json}</script><script type="module">${escape(script)}</script></body></html>`;
  writeFileSync(join(out, `${name}.html`), html);
}
page("paris", "explorer", f.state());
page("live", "explorer", f.state(), { options: { hidden: [], static: false } });
page("hidden", "explorer", f.state(), { options: { hidden: ["candidates", "values", "detail"], static: true } });
page("long", "explorer", f.state(f.explorer(f.longPrompt(60), { corrupted: null })));
page("huge", "explorer", f.state(f.explorer(f.longPrompt(300), { corrupted: null })));
page("hostile", "explorer", f.state(f.explorer(f.HOSTILE, { corrupted: null })));
page("attention", "attention", f.attention(12, 8));
page("attention60", "attention", f.attention(60, 16));
page("bars", "bars", f.bars());
page("trace", "trace", f.trace());
page("lens", "lens", f.lens());
page("lens40", "lens", f.lens(40));
const { made, verdicts } = f.tested();
page("tested", "explorer", f.state(made), { tested: verdicts });
page("verdicts", "verdicts", f.verdicts());
page("patching", "patching", f.patching());
page("effects", "effects", f.effects());
rmSync(join(out, "fixture.mjs"));
console.log(out);
