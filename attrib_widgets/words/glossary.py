"""What the words on the screen mean: one sentence each, and how to read them with a number.

The page, docstrings and notebooks explain a word from this one table.
"""

from __future__ import annotations

from typing import NamedTuple

from .errors import AttribError


class Term(NamedTuple):
    """A word: what it means, how to read a number of it, and other words that are printed for the same."""

    name: str
    means: str
    read: str
    also: tuple[str, ...] = ()


TERMS: tuple[Term, ...] = (
    Term(
        "logit",
        "The score of a token as the next one, before the softmax turns scores into probabilities.",
        "+1 logit multiplies the odds of a token against every other by 2.7; only differences between tokens decide.",
        ("logits",),
    ),
    Term(
        "probability",
        "How likely the model holds a token to be the next one: the softmax of all logits.",
        "·Paris 99.8 %: of a thousand such continuations it would write two otherwise.",
        ("top prediction", "entropy", "rank"),
    ),
    Term(
        "contribution",
        "What one part adds to the logit by itself, through the final norm as it was in this run.",
        "L3H1 +1.30 of 18.40: without that summand alone, and nothing else changed, the sum would be 1.30 smaller.",
        ("direct contribution", "bar", "writes"),
    ),
    Term(
        "attribution",
        "All contributions to one number, which sum to it; what rounding leaves between the two is the mismatch.",
        "sum 18.4017, model 18.4017, mismatch 9e−7: nothing is missing and nothing is counted twice.",
        ("mismatch",),
    ),
    Term(
        "gap",
        "How much of what is asked for tells a prompt from its comparison prompt: what an experiment takes away.",
        "Paris leads Berlin by 9.1 logits in the one prompt and by −6.8 in the other: a gap of 15.9.",
    ),
    Term(
        "head",
        "One attention head: it reads earlier tokens with weights of its own and writes what it gathered.",
        "L3H1 is head 1 of layer 3 (the chapter's Head 3.1), both counted from 0.",
        ("heads",),
    ),
    Term(
        "MLP",
        "The feed-forward part of a layer: it reads one position and writes to the same position.",
        "L1.mlp is that of layer 1, counted from 0.",
        ("MLPs",),
    ),
    Term(
        "residual stream",
        "The running sum that every part reads and adds to; the final norm and the unembedding turn it into logits.",
        "L2.pre is the stream before layer 2, L2.post behind it.",
        ("stream",),
    ),
    Term(
        "embed",
        "The row of the token itself, which starts the residual stream.",
        "embed −0.01: the word itself adds next to nothing directly; what parts read from it is theirs.",
        ("embedding", "pos"),
    ),
    Term(
        "bias",
        "A constant that a part adds whatever the prompt is; it belongs to no token.",
        "value bias +0.01: the head writes that much wherever it looks.",
        ("attn.bias", "norm.bias", "value bias", "decoder bias", "constants"),
    ),
    Term(
        "rounding",
        "What floating-point sums lose; measured from recorded tensors, never the rest of a subtraction.",
        "A few millionths in float32; more than half a unit in the last place is refused.",
    ),
    Term(
        "final norm",
        "The last normalisation before the unembedding; contributions take its scale as it was in this run.",
        "Experiments let it act (live): a part that shrinks the stream changes every other part's share.",
        ("norm",),
    ),
    Term(
        "soft cap",
        "A last squeeze of the logits in some models (Gemma 2); rows split the number before it.",
        "before the cap 31.2, behind it 24.6: the rows sum to 31.2.",
        ("cap",),
    ),
    Term(
        "attention probability",
        "How much of a head's weight a token gets from one reader; a reader's row sums to 1.",
        ">99.9 % at ·France: the head reads hardly anything else; what it carries from there is another question.",
        ("pattern", "attention pattern", "attention"),
    ),
    Term(
        "sink",
        "Attention that goes to a first or special token, or to no token, and carries next to nothing.",
        "74 % on <s> with +0.00 carried: the head is at rest.",
    ),
    Term(
        "source",
        "The token that a head read from, and what it carried from there to the number that is explained.",
        "·France +1.47: nearly all that L3H1 contributed came from there.",
        ("sources", "carried"),
    ),
    Term(
        "trace",
        "The contributions followed upstream: who wrote what a head carried, and so on to the embeddings.",
        "pruned +0.05 (by size 15 %): branches too small to draw, by their sum and by their size.",
        ("through", "pruned", "leaves"),
    ),
    Term(
        "token totals",
        "What each token of the prompt put into the number by all paths, patterns, norms and gates held.",
        "·France carries +11.07 of 18.40: an exact sum of a network that is held, no experiment.",
        ("held", "by all paths"),
    ),
    Term(
        "neuron",
        "One hidden unit of an MLP, with what it writes when it fires.",
        "L1N37 +0.42: its activation times what its output row adds to the logit.",
        ("neurons", "pre-activation"),
    ),
    Term(
        "feature",
        "A direction of a sparse dictionary (SAE) that stands for something, with how strongly it fires here.",
        "L3.z/1444 “about France” +1.30 of 1.47: activation times what the direction adds to the logit.",
        ("features", "SAE", "dictionary", "concept", "concepts"),
    ),
    Term(
        "error",
        "What a dictionary misses of what it describes; it is a row like the features.",
        "L4.mlp/error +1.26 of 1.31: the dictionary explains next to nothing here, and no feature is named.",
    ),
    Term(
        "loss recovered",
        "How much of the loss that comes of putting a mean in place of an activation a dictionary's output saves.",
        "96 %: with the output of the dictionary the model predicts nearly as well as before; the rest is its error.",
        ("recovered",),
    ),
    Term(
        "computed label",
        "A name that a rule gave to a feature from the contexts where it fires most; nobody checked it by hand.",
        "“after ·capital, before a capital”: read the contexts before trusting it.",
        ("label",),
    ),
    Term(
        "logit lens",
        "What the model would say if it stopped after a layer: final norm and unembedding of the stream there.",
        "Paris .82 behind layer 2: read there, the stream gives the answer already.",
        ("lens",),
    ),
    Term(
        "tuned lens",
        "A logit lens with a map trained for every layer, from the stream there to what the last norm expects.",
        "Italian .39 behind layer 2, .07 by the logit lens: it can be read there; whether it is used, patching tells.",
        ("translator", "translators", "held out"),
    ),
    Term(
        "target",
        "The token whose score is explained.",
        "·Paris: the dot stands for the space before the word.",
        ("answer",),
    ),
    Term(
        "rival",
        "The token that the answer is held against: of an experiment, what the other prompt makes likeliest.",
        "L1.mlp +3.96 for ·Paris and +3.56 for ·Berlin: it makes a capital likely, and hardly chooses which.",
        ("rather than", "against"),
    ),
    Term(
        "comparison prompt",
        "A second prompt of the same length with something changed, from which parts are taken in an experiment.",
        "France becomes Germany, the changed word: what stays the same cannot be tested by it.",
        ("corrupted", "compared with", "other prompt", "clean", "changed word"),
    ),
    Term(
        "observed",
        "Read off a run as it was; only a test, which changes something, can say what the answer depends on.",
        "The largest bar, +3.96, may cost nothing when it is replaced: observed is not tested.",
        ("tested", "suspect"),
    ),
    Term(
        "patching",
        "An experiment: a part gets what it wrote on the other prompt, and everything behind it is computed again.",
        "One cell is one such run.",
        ("patch", "patched", "activation patching"),
    ),
    Term(
        "ablation",
        "An experiment: a part's write is set to zero or to a mean, and everything behind it is computed again.",
        "Without L1.mlp 18.40 → 14.55: zero may be further off than what the part ever writes.",
        ("ablate", "ablated", "take it out"),
    ),
    Term(
        "steering",
        "An experiment: a feature, or another part, writes more or less strongly, and what follows is computed again.",
        "L0.mlp/5 × 0: ·Paris 99.8 % → 15 %: the other features of its place, and what they miss, stay as they were.",
        ("steer", "strength", "scaled", "held at"),
    ),
    Term(
        "damage",
        "The share of the gap that goes when a part gets its write from the other prompt.",
        "+0.49: without it 49 % of what tells the two prompts apart is gone; 1 is all of it.",
        ("necessity",),
    ),
    Term(
        "recovery",
        "The share of the gap that comes back when a part's write is put into the other prompt.",
        "+0.43: by itself it brings 43 % of it.",
        ("sufficiency",),
    ),
    Term(
        "direct damage",
        "The damage by the way to the logits alone: later parts keep what they had.",
        "+0.07 of a damage of +0.10: the rest goes through later parts.",
        ("direct recovery", "direct effect"),
    ),
    Term(
        "total effect",
        "What changes in the answer by all ways when a part changes.",
        "~12 %: estimated, while the inputs go from one prompt to the other; 14 %: measured by a test.",
        ("estimated", "attribution patching", "AtP", "between the runs", "EAP-IG", "partway", "relevance patching"),
    ),
    Term(
        "tau",
        "The share of the gap below which nothing is read out of an effect; 5 % unless you set it.",
        "An effect of 0.04 is little; borderline: with a tau a bit smaller or larger it gets another word.",
        ("borderline",),
    ),
    Term(
        "verdict",
        "The word that an experiment allows for a part, with the inequality under which it may be said.",
        "needed: nothing makes up for it; how much that is, 9 % say, is its damage, and the answer may stay.",
        (
            "needed",
            "partly replaced",
            "works through later parts",
            "through later parts",
            "suppresses",
            "not tested here",
        ),
    ),
    Term(
        "little alone",
        "The verdict on a part that alone hardly tells the prompts apart: without it less than tau of the gap goes.",
        "Without it 3 % of the gap goes at a tau of 5 %: it may still count together with others.",
    ),
    Term(
        "redundant",
        "A part whose loss others make up for: its effect shows once they are out too.",
        "can be spared alone, confirmed with L3H4: alone 1 %, the two together 30 %.",
        ("backup", "can be spared", "spared alone"),
    ),
    Term(
        "erasure",
        "How much of what a part wrote is still there at the end, once later parts have written over it.",
        "67 % reaches the final norm: L4.mlp took 17 % of it.",
        ("eraser", "erased"),
    ),
    Term(
        "circuit",
        "A set of parts that does the work by itself: everything outside comes from the other prompt.",
        "faithfulness 0.92: the set alone gives back 92 % of the gap.",
        ("faithfulness", "completeness", "minimality"),
    ),
    Term(
        "chat template",
        "The frame of special tokens that a chat model expects around messages.",
        "Messages are framed before they run; plain text is not.",
    ),
    Term(
        "nats",
        "The unit of log-probabilities, as logits are of scores: the natural logarithm of a share.",
        "−0.69 nats is a probability of 50 %, −4.6 nats one of 1 %; 0 is certain.",
        ("log-probability", "log p"),
    ),
    Term(
        "KL divergence",
        "How far one prediction is from another over the whole vocabulary, in nats.",
        "0 is the same prediction; a row of the lens with 2.4 is still far from the model's own.",
        ("KL",),
    ),
    Term(
        "forward pass",
        "One reading of one prompt by the model: what an experiment costs is counted in them.",
        "Test this · ≤ 7 forwards: at most as long as seven runs of this prompt.",
        ("forward", "forwards", "passes"),
    ),
    Term(
        "gradient",
        "How fast the answer changes when a number inside the model is moved a little; an estimate goes on from there.",
        "Estimated by gradients 166 %, tested 100 %: far from the run an estimate may be wrong.",
        ("gradients", "integrated gradients", "midpoint", "completeness error"),
    ),
    Term(
        "mixture of experts",
        "A layer with several MLPs, of which a router chooses a few for every token.",
        "The router chose E2 0.64, E1 0.36: the weights with which two experts count here.",
        ("mixture", "expert", "experts", "router"),
    ),
    Term(
        "sublayer",
        "The attention or the MLP of one layer, as a whole: what reads the stream and adds to it once.",
        "L3.attn is all heads of layer 3 together, and L3.mlp its MLP.",
        ("layer",),
    ),
    Term(
        "sampled",
        "Every token that the model writes is drawn by its probability (temperature 1); greedy takes the likeliest.",
        "sampled, seed 3: the same seed draws the same text again.",
        ("sample", "seed", "temperature", "greedy"),
    ),
    Term(
        "pin",
        "A question that is kept, to come back to it or to set it beside another.",
        "Two pins stand side by side as A, B and B − A, each column with a sum of its own.",
        ("pinned", "unpin", "side by side"),
    ),
    Term(
        "interval",
        "Where the mean over pairs of prompts may lie: Student's, 95 %, from eight pairs on.",
        "0.45 (0.38 to 0.52), n = 12: of a hundred such intervals about 95 hold the mean over all pairs.",
        ("n",),
    ),
    Term(
        "specific",
        "What a part writes toward a prompt's own answer over its mean toward all answers of the group.",
        "L3H1 +1.15 specific, p 0.001: no part came out so large in 999 permutations of the answers.",
        ("survey", "permuted", "permutations"),
    ),
    Term(
        "same sign",
        "The share of prompts in which a part has the sign of its mean; in brackets the same with permuted answers.",
        "92 % (51 %): steady, and by chance it would be steady in half of them; 98 % (97 %) says nothing.",
    ),
    Term(
        "selective",
        "How much larger the mean of a part is in one group of prompts than in the mean of the others.",
        "L3H5 +0.81 selective in two names: it writes there what it does not write in the other groups.",
        ("selectivity", "between groups", "Spearman"),
    ),
    Term(
        "role",
        "What a head is called for what it does on fixed probes or by its weights, above what chance gives the best.",
        "L2H4 0.73 as induction: above 0.40, so it is named; a head may have two roles, or none.",
        ("roles", "probes", "null", "name mover", "S-inhibition"),
    ),
    Term(
        "induction",
        "A head that attends from a repeated token to what followed it the first time.",
        "L2H4 0.73: that share of its attention, in the mean, on random tokens that are said twice.",
        ("previous token", "duplicate token", "current token", "first-token sink"),
    ),
    Term(
        "copying",
        "A head that writes for the token that it reads: its own token is among those that it promotes most.",
        "L2H7 1.00: the eigenvalues of what it reads and writes are all positive; negative copying writes against it.",
        ("copy suppression", "negative name mover", "eigenvalues"),
    ),
    Term(
        "effective embedding",
        "What a head reads of a token by itself: its embedding, with what the first MLP writes for it.",
        "Above 0 it is a property of the weights alone: no prompt, no position and no other token is in it.",
        ("effective embeddings", "circuits"),
    ),
    Term(
        "decile",
        "A tenth of all tokens of a corpus, by the length of what a head fetches there.",
        "10: the tenth where it is most active; contexts come from the middle of each, not from the top alone.",
        ("activity", "deciles"),
    ),
    Term(
        "graph",
        "Features, errors, tokens as nodes; an edge is what one put into another, patterns, norms and gates held.",
        "L2.z/359 put +4.07 of 18.40 into ·Paris; what was put into L2.z/359 sums to its own pre-activation in turn.",
        ("node", "nodes", "edge", "edges", "covered", "influential", "circuit-tracer"),
    ),
    Term(
        "supernode",
        "A group of nodes of a graph, taken as one: its edges are the signed sums of its members' edges, which stay.",
        "about France, 2 nodes as one, put +7.15 into ·Paris: +4.07 and +3.08.",
        ("supernodes", "member", "members", "ungroup"),
    ),
    Term(
        "influence",
        "Of a node, the share of a number that hangs on it by all ways, counted in magnitudes: how a graph is pruned.",
        "27 of 480 features have 80 % of all influence.",
    ),
    Term(
        "replacement score",
        "Of the influence that ends at tokens or at errors, the share that ends at tokens (circuit-tracer's).",
        "replacement 0.78: a fifth of the influence begins in what dictionaries miss.",
        ("replacement",),
    ),
    Term(
        "completeness score",
        "The share of all edges into what is shown, by influence, that does not come from errors (circuit-tracer's).",
        "completeness score 0.95: of what goes into the features that matter a twentieth comes from errors.",
    ),
    Term(
        "live",
        "Measured in the model as it runs: a feature is taken out, and what its target loses is set beside the edge.",
        "slope +1.10, Spearman +0.90, 95 % of the right sign: the edges say well what happens, and not exactly.",
        ("slope",),
    ),
)

_BY_NAME = {name.lower(): term for term in TERMS for name in (*term.also, term.name)}


def term(name: str) -> Term:
    """The entry of a word, or of another word for the same.

    Raises:
        AttribError: no such word, with those there are.
    """
    found = _BY_NAME.get(str(name).strip().lower())
    if found is None:
        raise AttribError(f"The glossary has no {name!r}.", f"It has {', '.join(t.name for t in TERMS)}.")
    return found
