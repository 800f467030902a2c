"""What every panel of the page shows, how to read it, what it cannot show, and what to look at next.

``{part}``, ``{value}`` and ``{total}`` stand for what is on the screen: the open part, its number, the model's own.
"""

from __future__ import annotations

from typing import NamedTuple

from .errors import AttribError


class Panel(NamedTuple):
    """One panel, in four sentences or so."""

    shows: str
    read: str
    cannot: str
    next: str


PANELS: dict[str, Panel] = {
    "contributions": Panel(
        "Every part of the model with what it adds directly to the number that is explained, {total}.",
        "Each bar starts where the one before ended, so the last one ends at {total}; {part} moves it by {value}. "
        "Blue adds, orange takes away; the line below checks the sum against the model.",
        "What a part does through later parts, and whether the model would miss it: a long bar can be replaceable.",
        "Click a bar to see where its number comes from; then test the largest.",
    ),
    "heads": Panel(
        "Every head at once, a row for each layer: its attention pattern, below it the bar of its contribution, and an "
        "outline that is wide where its effect is.",
        "Bars of heads and MLPs share one scale about the middle of their cell: {part} adds {value}. Outlines are "
        "dashed where the effect is estimated, solid where tested; blue brings the answer back, orange takes it "
        "away. Pale heads have neither bar nor effect.",
        "Why a head has an effect and no bar (perhaps through later parts), or a bar and no effect (perhaps others "
        "make up for it).",
        "Click a head to lock it, Shift+click several to take them out together; “what … reads” has one row of every "
        "head, of the word that you choose; “roles” writes letters for what heads do on other texts.",
    ),
    "words": Panel(
        "One number under each word: what all heads together carried from its position to the prediction, what it put "
        "in by all paths, or what happens if another word stands there.",
        "Carried by heads sums to the bars of all heads, all paths to {total}: both are observed. “If another” is "
        "tested, and a change: below zero the word holds the answer up.",
        "Whose word it was: a position may have read others before heads carry from it. And why they looked there.",
        "Click a head for its own words, or test the largest bars.",
    ),
    "concepts": Panel(
        "What every part wrote, by the features of the model's dictionaries: the same feature of all heads of a layer "
        "is one row.",
        "Each bar starts where the one before ended. What no feature says (what dictionaries miss, and their biases) "
        "is one row that opens by part; parts without a dictionary are rows of their own; all sum to {total}.",
        "That the model uses these directions: dictionaries are fitted to it from outside, and labels are computed.",
        "Click a concept to see which parts wrote it and where it fires, or find features by a word; a long last row "
        "says not to trust the others.",
    ),
    "trace": Panel(
        "The number followed backwards, from the answer on top through what each part had read to the words below.",
        "A line is what one part took from another, as wide as its logits: upwards it stays at its word, sideways a "
        "head moved it. What is not drawn is said below. In the table an indented row is a share of the row above it; "
        "all ends sum to {total}.",
        "Why a head looked where it looked, and why neurons were on: patterns, norms and gates are held as they were.",
        "Point at a word to light its paths, or draw more with the slider; click a head, and ask there “Why there”.",
    ),
    "detail": Panel(
        "One part: what it adds, in the title, and below how that number came about.",
        "{part} adds {value} of {total} by itself, with the final norm as it was in this run.",
        "That the answer needs it: the number is observed until it is tested.",
        "The tabs take it apart; “Work it out” multiplies it out; “Test this” asks the model.",
    ),
    "tokens": Panel(
        "Which words of the prompt a head read, with its attention and what it carried from each.",
        "The numbers under the words, with the value bias, sum to {value}, what {part} adds. Much attention with +0.00 "
        "carried is rest.",
        "Why it looked there, and what had been written at that word before.",
        "Click a word to see who wrote what was carried; then “Why there”.",
    ),
    "pattern": Panel(
        "Where the head looks from every word of the prompt, not only from the last one.",
        "A row is a word that reads, a column a word that is read; each row sums to 100 %.",
        "What is carried along: attention alone adds nothing. “contribution” multiplies it in.",
        "Click a cell for the number; “Tokens” shows the row that made the answer.",
    ),
    "why": Panel(
        "Why the head looked at this word rather than at its strongest rival, by who wrote the two.",
        "The bars sum to the difference of the two scores; a difference of 1 is 2.7 times the attention.",
        "What it means by itself that a score is high: the softmax sees differences only.",
        "Click a part to open it, or another word to hold it against that.",
    ),
    "neurons": Panel(
        "The neurons of the MLP that wrote most of {value}, and the sum of all others.",
        "A bar is a neuron's activation times what its output row adds; all rows, the bias too, sum to {value}.",
        "What a neuron stands for: most fire for several unrelated things.",
        "Click a neuron to ask why it fired; “Features” names directions that are easier to read.",
    ),
    "experts": Panel(
        "The experts that the router chose here, with its weights, and what each wrote.",
        "A bar has the router's weight in it; all rows sum to {value}.",
        "What the experts that were not chosen would have written, or why the router chose these.",
        "“Features” and “Writes” read what they wrote together.",
    ),
    "features": Panel(
        "What the part wrote, by the directions of a sparse dictionary that fire here.",
        "All rows, the decoder's bias and the reconstruction error too, sum to {value}; a large error means that the "
        "dictionary misses it.",
        "That the model uses these directions: a dictionary is fitted to it from outside, and its labels are computed.",
        "Click a feature to read the texts where it fires most.",
    ),
    "feature": Panel(
        "One feature: what it adds here, where it fires in this prompt and elsewhere, and which words it promotes.",
        "Its line multiplies how strongly it fires by what one unit adds, divided by the norm, to its bar. "
        "Darker words fire more strongly.",
        "What its weaker firings stand for: the texts are the strongest ones, and the label is computed from them.",
        "Read the texts before trusting the label; then look at the same word in another prompt.",
    ),
    "writes": Panel(
        "Which next words the part raises and lowers most, the answer or not.",
        "+2.00 beside a word: the part alone adds 2 logits to it, 7.4 times the odds.",
        "What is the same for all words: that moves no probability. And what later parts make of it.",
        "Compare the answer with its rivals: what raises all of a kind alike does not choose among them.",
    ),
    "lens": Panel(
        "What the model would say if it stopped after each layer, at every word; through a tuned lens too.",
        "A row is a layer, a column a word; darker cells are surer. Where the answer first stands, it can be read. KL "
        "beside a row: how far it is from the output on other texts.",
        "How it came there, and that later layers read it so: the last norm and unembedding are lent to early layers.",
        "Click a cell for its words. Patching the stream tells whether what can be read there is used.",
    ),
    "attention": Panel(
        "Attention patterns of heads, one small square for each; a click enlarges one.",
        "A row is a word that reads, a column a word that is read; each row sums to 100 %.",
        "What is carried along, or whether the answer depends on it.",
        "Open the prompt in aw.explore(): there each head has its contribution beside its pattern.",
    ),
    "bars": Panel(
        "Rows that sum to one number.",
        "Blue adds, orange takes away, from one zero line; the line below checks the sum against the number itself.",
        "Whether the model would miss a row: these are sums, and no experiment.",
        "“What do the words mean?” below explains the names of the rows.",
    ),
    "comparison": Panel(
        "Two attributions side by side, part by part, and their difference.",
        "A, B and B − A stand on one scale; click a heading to sort by it. Each column has its own check.",
        "Why a part differs: its input may have changed, or what reads it.",
        "Open the part that differs most in both prompts; patching says what it matters.",
    ),
    "effects": Panel(
        "What happens to the answer when a word of the prompt is replaced by others.",
        "A number is the mean change over the replacements; the darkest word matters most.",
        "Which parts read that word, or what the words do together: one is replaced at a time.",
        "Open the prompt in aw.explore() with such a replacement to compare with.",
    ),
    "grid": Panel(
        "Numbers by row and column.",
        "Blue is above zero, orange below; point at a cell for its number.",
        "Where they come from: the array was given as it is.",
        "Sort out the largest cells with the table that “Save” writes.",
    ),
    "patching": Panel(
        "An experiment: a place gets what it held in the other prompt, and all behind it is computed again.",
        "A cell is one run: 1 brings the answer of the one prompt all the way to that of the other, 0 changes nothing.",
        "What stays the same in both prompts: it cannot be tested by exchanging them.",
        "Follow the strong cells through the layers; click one for its heads or its parts.",
    ),
    "phrase": Panel(
        "A continuation word by word: how likely each was, and which parts wrote it.",
        "The log-probabilities of its words sum to that of the phrase; click a word for its own bars.",
        "What the model would have said after another word: each one is read after those that are there.",
        "Open the least likely word: there the model had a choice.",
    ),
    "survey": Panel(
        "What every head and MLP writes to the answers of many prompts: a map of each group, all on one scale.",
        "The larger a square, the larger the part’s mean; the paler, the more its sign changes from prompt to prompt.",
        "What parts do through others, and what happens without them: that takes a test.",
        "Click a part for its prompts, test it on all of them, and click a prompt for all of its own parts.",
    ),
    "graph": Panel(
        "Which features put how much into the number and into one another: layers upwards, words across.",
        "A dot is as large as its influence, a line as wide as the influence that goes along it; blue adds, orange "
        "takes away. The rows of an opened node sum to what fires there.",
        "Why heads looked where they looked: patterns, norms and gates are held as they were.",
        "Click a dot for its rows and its card, a lit line or “heads” for who carried it; compare “live” with the edge "
        "before you believe it. Shift+click takes several dots as one: a group, whose edges are sums.",
    ),
    "table": Panel(
        "A result as its table, all numbers as printed.",
        "Click a heading to sort by it; bars have one zero line.",
        "Rows that were left out: “others” sums them, and “Save” writes all.",
        "“What do the words mean?” below explains the headings.",
    ),
    "values": Panel(
        "Words with a number each.",
        "The darker a word, the larger its number; point at it to read it.",
        "What the numbers are of: they were given as they are.",
        "“Save” writes them as a table.",
    ),
    "verdicts": Panel(
        "What was tested: for each part how much of the answer goes without it, and how much it brings by itself.",
        "To the right much is lost when the part is replaced; upwards it brings much back into the other prompt.",
        "What is the same in both prompts, and what parts below the largest do together.",
        "“How was this decided?” opens the rule behind a word; aw.circuit tests a set.",
    ),
}


def panel(name: str) -> Panel:
    """The entry of a panel.

    Raises:
        AttribError: no such panel, with those there are.
    """
    if name not in PANELS:
        raise AttribError(f"There is no panel {name!r}.", f"The panels are {', '.join(PANELS)}.")
    return PANELS[name]
