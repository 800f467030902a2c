// Builds the committed bundle. Prints the sizes and fails over budget: the bundle travels with every widget.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = fileURLToPath(new URL("../attrib_widgets/static/", import.meta.url));
const BUDGET = 100_000; // bytes of script and style together, minified

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

await esbuild.build({
  ...common,
  entryPoints: { attrib_widgets: "src/index.ts", page: "src/page.ts" },
  outdir: out,
});
await esbuild.build({
  ...common,
  target: ["chrome111", "firefox113", "safari16.4"],
  entryPoints: { attrib_widgets: "src/styles/index.css" },
  outdir: out,
});

const size = (name) => {
  const bytes = readFileSync(out + name);
  console.log(`${name.padEnd(20)} ${String(bytes.length).padStart(7)} bytes  ${gzipSync(bytes).length} gzipped`);
  return bytes.length;
};
const total = size("attrib_widgets.js") + size("attrib_widgets.css");
size("page.js");
console.log(`script and style     ${total} of ${BUDGET} bytes`);
if (total > BUDGET) {
  console.error("over budget");
  process.exit(1);
}
