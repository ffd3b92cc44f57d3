"""Scores pairs of texts with the reference implementations.

Reads one JSON object from standard input:

    pairs      [[candidate, [reference, ...]], ...]
    wordnet    directory of WordNet's dict files, or empty
    synonyms   words to look up in it
    punkt      directory of NLTK's English Punkt model, or empty
    seconds    true: only say how long each implementation takes

and writes one to standard output. Needs nltk, rouge-score and sacrebleu.
"""

import functools
import io
import json
import sys
import time

import nltk.data
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.stem.porter import PorterStemmer
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktSentenceTokenizer, load_punkt_params
from nltk.translate.meteor_score import meteor_score
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

task = json.load(sys.stdin)
pairs = task["pairs"]
nltk.data.path += [d for d in (task["wordnet"], task["punkt"]) if d]


class WordNet(WordNetCorpusReader):
    """NLTK's reader on dict files without lexnames and index.sense, which Debian's
    package leaves out and METEOR has no need of."""

    def open(self, file):
        if file == "lexnames":
            return io.StringIO("".join(f"{i:02d}\tname\t0\n" for i in range(45)))
        return super().open(file)

    def map_wn(self, version="wordnet"):
        return None


class NoWordNet:
    def synsets(self, word):
        return []


sentences = PunktSentenceTokenizer()
if task["punkt"]:
    sentences._params = load_punkt_params(nltk.data.FileSystemPathPointer(task["punkt"]))
treebank = NLTKWordTokenizer()


@functools.cache
def words(text):
    """word_tokenize of nltk, with that model of sentences"""
    return [word for sentence in sentences.tokenize(text) for word in treebank.tokenize(sentence)]


def meteor(wordnet):
    return [meteor_score([words(r) for r in references], words(c), wordnet=wordnet) for c, references in pairs]


def rouge(stems, pairs=pairs):
    kinds = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(kinds, use_stemmer=stems)
    scores = [scorer.score_multi(references, c) for c, references in pairs]
    return [[list(s[k]) for k in kinds] for s in scores]


def sentence(metric):
    return [metric.sentence_score(c, references).score for c, references in pairs]


def corpus(metric):
    """of the first reference alone, then of all, where texts have different numbers of them"""
    most = max(len(references) for _, references in pairs)
    streams = [[(references + [None] * most)[i] for _, references in pairs] for i in range(most)]
    return [metric.corpus_score([c for c, _ in pairs], s).score for s in (streams[:1], streams)]


wordnet = None
if task["wordnet"]:
    wordnet = WordNet(task["wordnet"], None)
if task.get("seconds"):
    seconds = {}
    for name, run in {
        "meteor": lambda: meteor(wordnet),
        "meteor, stems only": lambda: meteor(NoWordNet()),
        "rouge": lambda: rouge(True),
        "bleu": lambda: sentence(BLEU(effective_order=True)),
        "chrf": lambda: sentence(CHRF()),
    }.items():
        start = time.perf_counter()
        run()
        seconds[name] = time.perf_counter() - start
    json.dump(seconds, sys.stdout)
    sys.exit()

stemmer = PorterStemmer()
PorterStemmer.stem = functools.cache(PorterStemmer.stem)
everything = {word for c, references in pairs for text in [c, *references] for word in words(text)}
json.dump(
    {
        "sentences": [sentences.tokenize(c) for c, _ in pairs],
        "words": [words(c) for c, _ in pairs],
        "stems": {word: stemmer.stem(word.lower()) for word in everything},
        "synonyms": {
            word: sorted({lemma.name() for synset in wordnet.synsets(word) for lemma in synset.lemmas()})
            for word in task["synonyms"] or []
        },
        "meteor": meteor(wordnet) if wordnet else None,
        "exact_and_stem": meteor(NoWordNet()),
        # rouge-score is slow
        "rouge": rouge(False, pairs[::3]),
        "rouge_stems": rouge(True, pairs[::3]),
        "bleu": sentence(BLEU(effective_order=True)),
        "chrf": sentence(CHRF()),
        "corpus_bleu": corpus(BLEU()),
        "corpus_chrf": corpus(CHRF()),
    },
    sys.stdout,
)
