// Builds the committed bundle. Prints the sizes and fails over budget.
//
// The budget is on what is synced with every widget: script and style, deflated here by zopfli (which looks longer than
// zlib for the same format) and put in base85 by widgets/transport/assets.py. The plain files are committed beside the
// packed one, to be read, searched and compared. Measured on 83,148 bytes of script: packing saves 41,500 (of 99,600,
// base85 instead of base64 5,800; of 98,500, terser after esbuild 3,200; of 97,400, zopfli 3,250); class names of two letters 3,100,
// mangled properties 800 (4,300 more where names are also those of the DOM), a binding of our own to the signals about
// 2,500. Views loaded on demand would be missing from a notebook that is shown without its kernel.
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { fileURLToPath } from "node:url";
import { zlibAsync } from "@gfx/zopfli";
import * as esbuild from "esbuild";
import { minify } from "terser";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = fileURLToPath(new URL("../attrib_widgets/static/", import.meta.url));
const BUDGET = 100_000; // bytes synced, script and style together; tests/widgets hold the exact sum to it
const OWN = 60_000; // of the view of a survey, and of a graph, which have bundles of their own
const UNPACKER = 1639; // what the unpacking module adds

const common = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  charset: "ascii",
  // tsconfig.json names the automatic runtime, for the editor and the tests; calls of h() are shorter.
  tsconfigRaw: { compilerOptions: { jsx: "react", jsxFactory: "h", jsxFragmentFactory: "Fragment", useDefineForClassFields: true } },
  inject: ["src/jsx.ts"],
  define: { "process.env.NODE_ENV": '"production"' },
  logLevel: "warning",
};

const scripts = { attrib_widgets: "src/index.ts", page: "src/page.ts", survey: "src/survey.ts", survey_page: "src/survey_page.ts", graph: "src/graph.ts", graph_page: "src/graph_page.ts" };
await esbuild.build({ ...common, entryPoints: scripts, outdir: out });
for (const name of Object.keys(scripts)) {
  const file = `${out}${name}.js`;
  // What esbuild made small, with names that pack better.
  const { code } = await minify(readFileSync(file, "utf8"), { module: true, ecma: 2022, format: { ascii_only: true } });
  writeFileSync(file, `${code}\n`);
}
await esbuild.build({
  ...common,
  target: ["chrome111", "firefox113", "safari16.4"],
  entryPoints: { attrib_widgets: "src/styles/index.css", survey: "src/styles/survey.css", graph: "src/styles/graph.css" },
  outdir: out,
});

const size = (name) => {
  const bytes = readFileSync(out + name);
  console.log(`${name.padEnd(20)} ${String(bytes.length).padStart(7)} bytes  ${gzipSync(bytes).length} gzipped`);
  return bytes;
};
/** Packs what a widget of this bundle syncs, and whether it is small enough. */
async function packed(name, budget) {
  const [script, style] = [size(`${name}.js`), size(`${name}.css`)];
  const text = `${script}\nexport const style = ${JSON.stringify(String(style).trimEnd())};\n`;
  const deflated = await zlibAsync(Buffer.from(text), { numiterations: 15 });
  writeFileSync(`${out}${name}.z`, deflated);
  const synced = UNPACKER + Math.ceil(deflated.length / 4) * 5;
  console.log(`minified             ${String(script.length + style.length).padStart(7)} bytes of script and style`);
  console.log(`synced               ${String(synced).padStart(7)} of ${budget} bytes`);
  return synced <= budget;
}
const fits = [await packed("attrib_widgets", BUDGET), await packed("survey", OWN), await packed("graph", OWN)];
size("page.js");
size("survey_page.js");
size("graph_page.js");
if (!fits.every(Boolean)) {
  console.error("over budget");
  process.exit(1);
}
