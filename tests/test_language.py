"""The project's text uses the field's words and American spelling, not the words and phrases listed here."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("rsc_mlflow", "entry_points", "dashboards", "benchmarks", "results", "docs", "docs_build", "grids")
SUFFIXES = {".py", ".md", ".js", ".css", ".yaml"}

COINED = {
    r"rehears(?:als?|e|ed|es|ing)": "leave-one-out calibration",
    r"mean_out": "mean_over_out_models",
    r"outbox(?:es)?": "upload queue",
    r"postm[ae]n": "background uploader",
    r"hurr(?:y|ies|ied)": "flush_soon, immediately",
    r"patien(?:ce|t|tly)": "retry timeout, with_retries",
    r"is_passing": "is_transient",
    r"undivided|shielded|insisting": "cooperative cancellation",
    r"note_away|was_away": "record_outage, recent_outage",
    r"break_off|last words": "abort, shutdown budget",
    r"uncollected": "gc_disabled",
    r"hub": "RunRepository",
    r"say_headers": "set_security_headers",
    r"deaf": "ignores SIGINT",
    r"judg(?:ed|ing|e?ments?)": "evaluate, evaluation",
    r"companion(?:s)?": "comparison model",
    r"knobs?": "mitigations, options",
    r"data(?: |-)sets?": "dataset",
    r"mend(?:s|ed|ing)?": "fix",
    r"dumbbells?": "before_after_plot",
    r"strangers?|kitchens?|pulses?": "no metaphor",
    r"for living|for dead": "treats … as alive",
    r"connects? the pattern (?:with|to)": "learns to associate the pattern with the class",
    r"commands people type": "common commands",
}
"""What this project once called things → what to write."""

_ISE = (
    "anonym|apolog|author|capital|categor|character|crystal|custom|emphas|equal|final|formal|general|global|harmon|ideal"
    "|initial|item|legal|linear|local|material|maxim|memor|minim|mobil|modern|modular|neutral|normal|optim|organ|parallel"
    "|parametr|penal|personal|popular|priorit|quant|random|rational|real|recogn|regular|serial|special|stabil|standard"
    "|summar|symbol|synchron|token|util|vector|visual"
)
BRITISH = {
    rf"\w*(?:{_ISE})is(?:e|ed|es|er|ers|ing|able|ation|ations)": "-ize, -ization",
    r"(?:re)?analys(?:e|ed|er|ers|ing)": "analyze",
    r"\w*(?:behavi|col|endeav|fav|flav|harb|hon|hum|lab|neighb|rig|rum|vap|vig)our\w*": "-or",
    r"\w*(?:label|model|travel|signal|level|channel|tunnel|marshal|initial|total|fuel)l(?:ed|ing|er|ers)": "one l",
    r"greys?|grey(?:ed|ing|er|ish|scale)": "gray",
    r"cent(?:re|res|red|ring)|fibres?|litres?|(?:milli|centi|kilo)?metres?|theatres?": "-er, centering",
    r"catalogu(?:e|es|ed|ing)|analogues?": "catalog, analog",
    r"programmes?": "program",
    r"licences?|defences?|offences?": "license, defense, offense",
    r"practis(?:e|ed|es|ing)": "practice",
    r"artefacts?": "artifact",
    r"age(?:ing)": "aging",
    r"learnt|spelt|burnt|dreamt": "learned, spelled",
    r"fulfil|fulfilment|enrol|enrolment|skilful|instal": "fulfill, enroll, skillful, install",
    r"sceptic\w*|moulds?|ploughs?|tyres?|cheques?|draughts?|maths|whilst|amongst": "American spelling",
}
"""British spelling → American."""

PHRASES = {
    r"(?<!there\s)(?:is|are|was|were) no (?!longer|more than|less than|fewer than)\w+": "is not a (valid) …",
    r"(?:go|goes|going|gone|went) on(?! (?:the|each|every|an?|to)\b)": "continue, resume",
    r"(?:an?|one) (?:line|curve|point|row|column|marker|figure|panel|bar|number) an? \w+": "one … per …",
    r"anew": "again, from scratch",
    r"whoever": "anyone who",
    r"cut short": "truncated",
    r"takes? for|taken for": "counts as",
    r"an? \w+ of (?:its|their|our) own": "its own …, a separate …",
    r"found out": "check, detect",
    r"(?:ends?|stops?|stopped|exits?|raised?|reported|refused|stored|said) at once": "immediately",
    r"in place of": "instead of",
    r"stands? (?:in|on|at|beside)": "is in, is on",
    r"(?:is|are) (?:not )?(?:already )?there(?=[.;:,)])": "exists",
}
"""Turns of phrase that read as if translated → what to write."""

RULES = {
    re.compile(rf"(?<!\w)(?:{words})(?!\w)".replace(" ", r"\s+"), re.IGNORECASE): instead
    for words, instead in (COINED | BRITISH | PHRASES).items()
}


def findings(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, words and what to write instead, for each use of a word of the rules."""
    for pattern, instead in RULES.items():
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, match[0], instead


def files() -> list[Path]:
    """The texts of the project: documents and code, without the tests."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    return sorted([*found, *ROOT.glob("*.md"), ROOT / "MLproject", ROOT / "Makefile"])


SENTENCES = [
    "The [postman] empties two [outboxes] in a [hurry], with much [patience]: [Patiently], if [is_passing](error).",
    "Each [rehearsal] is kept in [mean_out]; nobody [rehearses].",
    "An [undivided], [shielded] and [insisting] call.",
    "[note_away]() comes before [was_away](), and [break_off] before the [last words].",
    "The [hub] is [uncollected]; [say_headers] makes the [deaf] children hear.",
    "[Judged] by this [judgment], a [companion] was [judging] the [knobs] and one [knob].",
    "This [data set] is one of two [data\nsets].",
    "What [mends] it was [mended]; a [dumbbell] in a [stranger]'s [kitchen] has no [pulse].",
    "It takes the silent [for living]. The network [connects the pattern with] the class.",
    "The [commands people type] most.",
    "This [is no dataset] name; shadow models [are no attacks]. There is no run, there\nare no points; no longer.",
    "[Going on] after a crash: training [goes on]. The pattern goes on each image; go on to the next page.",
    "[A line a ridge] penalty, [one row\na solver]; one line per model, a row and a column.",
    "It starts [anew], [whoever] wrote it; a file that is [cut short] is [taken for] a checkpoint.",
    "In [a process of its own] it was [found out] that runs [end at once]; text [in place of] a file [stands in] it.",
    "If the file [is not there], it [is already there]; is there one? It stands for a family; many at once; their own.",
    "We [normalise], re-[initialise], [Optimised] and [deserialises]; [regularisation], [quantisation], [visualisers].",
    "They [analyse] and [analysed] what [minimises] the loss, as MLflow's judges do.",
    "[Colour], [colours], [behaviour], [neighbouring], [favourite] and [honours].",
    "[Labelled] and [unlabelled] points of a [modelling] course; it [signalled].",
    "A [grey] [centre], [centred] in a [greyscale] [catalogue] of [centimetres].",
    "The [programme] needs a [licence] for [defence]; [practise], [artefacts], [ageing], [learnt], [fulfil].",
    "[Whilst] [maths] is for [sceptics].",
    "GitHub's heartbeat beats; RSC_PATIENCE_SECONDS is read; recommend, amend, depend; from scratch; impulse.",
    "Otherwise noise may rise, and a wise, precise, pairwise promise is advised; four hours of your tour.",
    "Normalize, initialized, regularization, color, behavior, neighbors, labeled, modeling, gray, centered, parameter.",
    "Analyses and an analysis, controlled, called, filled, killed, smaller; a dialogue; the optimist, datasets.",
]
"""Made-up sentences; the words in brackets, and no others, are against the rules."""


@pytest.mark.parametrize("marked", SENTENCES)
def test_the_marked_words_of_a_sentence_are_found(marked: str) -> None:
    text = re.sub(r"\[(.*?)\]", r"\1", marked, flags=re.DOTALL)
    expected = re.findall(r"\[(.*?)\]", marked, re.DOTALL)
    assert sorted(word for _, word, _ in findings(text)) == sorted(expected)


def test_the_sentences_break_every_rule() -> None:
    text = re.sub(r"[\[\]]", "", "\n".join(SENTENCES))
    assert [pattern.pattern for pattern in RULES if not pattern.search(text)] == []


def test_every_stem_is_found_with_s_and_not_with_z() -> None:
    words = [stem + ending for stem in _ISE.split("|") for ending in ("ise", "ised", "ises", "ising", "isation")]
    assert [word for _, word, _ in findings(" ".join(words))] == words
    assert not list(findings(" ".join(re.sub(r"is(\w+)$", r"iz\1", word) for word in words)))


def test_a_finding_names_its_line_and_what_to_write() -> None:
    assert list(findings("one\ntwo\nthe outbox")) == [(3, "outbox", "upload queue")]


def test_the_projects_texts_keep_to_the_rules() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {word!r}; write: {instead}"
        for path in files()
        for line, word, instead in findings(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_documents_code_and_help_are_among_the_texts() -> None:
    names = {str(path.relative_to(ROOT)) for path in files()}
    assert {"README.md", "CHANGELOG.md", "MLproject", "docs/concepts.md", "rsc_mlflow/fields.py"} <= names
    assert {"entry_points/command.py", "dashboards/app.py", "results/texts.py", "benchmarks/__main__.py"} <= names
