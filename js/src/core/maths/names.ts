/** Names that explain themselves; `described` in words/components.py says the same. */

const ZERO = "; counting from 0";
const FORMS: [string, string][] = [
  ["L(\\d+)H(\\d+)", `head $2 of layer $1, the chapter\u2019s Head $1.$2${ZERO}`],
  ["L(\\d+)N(\\d+)", `neuron $2 of the MLP of layer $1${ZERO}`],
  ["L(\\d+)\\.mlp", `the MLP of layer $1, the chapter\u2019s MLP $1${ZERO}`],
  ["L(\\d+)\\.attn", `all heads of layer $1 together${ZERO}`],
  ["L(\\d+)\\.laurel", `the learned residual (LAuReL) of layer $1, added with its attention${ZERO}`],
  ["L(\\d+)\\.beside", `what layer $1 adds beside its attention and its MLP${ZERO}`],
  ["L(\\d+)", `layer $1 as a whole, attention and MLP${ZERO}`],
  ["L(\\d+)\\.attn\\.bias", `the constant that the attention of layer $1 adds whatever it reads${ZERO}`],
  ["L(\\d+)\\.mlp\\.bias", `the constant that the MLP of layer $1 adds whatever it reads${ZERO}`],
  ["L(\\d+)\\.mlp/E(\\d+)", `expert $2 of the mixture in layer $1${ZERO}`],
  ["(L(\\d+)H\\d+)/(\\d+)", "feature $3 of the dictionary of L$2.z, read through $1"],
  ["(.+)/(\\d+)", "feature $2 of the dictionary of $1"],
  ["(L\\d+)(H\\d+)/error", "what the dictionary of $1.z misses, read through $1$2"],
  ["(.+)/error", "what the dictionary of $1 misses"],
  ["embed", "the embedding of the token that is read last, before any layer"],
  ["pos", "the embedding of its position"],
  ["norm\\.bias", "the constant that the norm in front of what is explained adds"],
  ["neuron\\.bias", "the constant in front of a neuron"],
  ["encoder\\.bias", "the constant in front of a feature"],
  ["value\\.bias", "the constant that a head carries wherever it looks"],
  ["query\\.bias", "the constant of a head\u2019s queries"],
  ["key\\.bias", "the constant of a head\u2019s keys"],
  ["alibi", "what distance takes from a score"],
  ["unembed\\.bias", "the constant of this token in the unembedding"],
  ["rounding", "what the model\u2019s arithmetic rounded, measured"],
  ["softcap", "what the soft cap takes"],
  ["entropy", "what turns logits into the log-probability"],
];

/** "L3H1: head 1 of layer 3, the chapter's Head 3.1; counting from 0"; undefined of what names no part. */
export function described(label: string): string | undefined {
  for (const [form, means] of FORMS) {
    const named = new RegExp(`^${form}$`);
    if (named.test(label)) return `${label}: ${label.replace(named, means)}`;
  }
  return undefined;
}
