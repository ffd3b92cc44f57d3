package metrics

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMETEORExamples are those of NLTK's own documentation, which need no WordNet.
func TestMETEORExamples(t *testing.T) {
	candidate := strings.Fields("It is a guide to action which ensures that the military always obeys the commands of the party")
	var references [][]string
	for _, text := range []string{
		"It is a guide to action that ensures that the military will forever heed Party commands",
		"It is the guiding principle which guarantees the military forces always being under the command of the Party",
		"It is the practical guide for the army always to heed the directions of the party",
	} {
		references = append(references, strings.Fields(text))
	}
	for _, test := range []struct {
		references [][]string
		want       float64
	}{{references, 0.6944}, {references[:1], 0.6944}, {[][]string{strings.Fields("this is no match")[2:3]}, 0}, {nil, 0}} {
		got := METEOR{}.ScoreWords(candidate, test.references...)
		if math.Abs(got-test.want) > 5e-5 {
			t.Errorf("%v against %q, want %v", got, test.references, test.want)
		}
	}
}

// tinyWordNet writes dict files of two nouns and one synset.
func tinyWordNet(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	licence := "  1 WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved.\n"
	for name, text := range map[string]string{
		"index.noun": licence + "dog n 1 0 1 0 00000080  \nhound n 1 0 1 0 00000080  \n",
		"data.noun":  licence + strings.Repeat(" ", 79-len(licence)) + "\n00000080 05 n 04 dog 0 mutt 0 hound 0 guard_dog 0 000 | a pet\n",
		"noun.exc":   "dug dog\n",
	} {
		write(t, filepath.Join(dir, name), text)
		for _, part := range []string{"verb", "adj", "adv"} {
			other := strings.Replace(name, "noun", part, 1)
			if strings.HasSuffix(name, ".exc") {
				write(t, filepath.Join(dir, other), "")
			} else {
				write(t, filepath.Join(dir, other), licence)
			}
		}
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLabels(t *testing.T) {
	wordnet, err := LoadWordNet(tinyWordNet(t))
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]METEOR{}
	for _, m := range []METEOR{{}, {Sentences: &Punkt{}}, {Synonyms: wordnet}, {Sentences: &Punkt{}, Synonyms: wordnet}} {
		score := m.Score("A good hound.", "A good dog.")
		if strings.HasPrefix(m.Label(), "METEOR") != (m.Synonyms != nil) {
			t.Errorf("%+v is called %s", m, m.Label())
		}
		if perfect := score > 0.99; perfect != (m.Synonyms != nil) {
			t.Errorf("%s of synonyms is %v", m.Label(), score)
		}
		labels[m.Label()] = m
	}
	if len(labels) != 4 {
		t.Errorf("%d labels for 4 different scores", len(labels))
	}
	// Irregular and regular forms; several words are no synonym.
	for _, word := range []string{"dug", "dogs", "dog", "hounds"} {
		if s := (METEOR{Synonyms: wordnet}).ScoreWords([]string{word}, []string{"hound"}); s == 0 {
			t.Errorf("%s doesn't match hound", word)
		}
	}
	// Of several synonyms the last in the reference: two words in one chunk.
	s := METEOR{Synonyms: wordnet}.ScoreWords([]string{"dog", "x"}, []string{"hound", "mutt", "x"})
	if want := (1 - 0.5/8) * (2. / 3) / (0.9 + 0.1*2/3); math.Abs(s-want) > 1e-12 {
		t.Errorf("with two synonyms to choose from it is %v, want %v", s, want)
	}
	if s := (METEOR{Synonyms: wordnet}).ScoreWords([]string{"dog"}, []string{"guard_dog"}); s != 0 {
		t.Error("a dog is a guard_dog")
	}
}

func TestNoData(t *testing.T) {
	t.Setenv("LONGFORM_WORDNET", t.TempDir())
	t.Setenv("LONGFORM_PUNKT", t.TempDir())
	for variable, find := range map[string]func() (string, error){"LONGFORM_WORDNET": FindWordNet, "LONGFORM_PUNKT": FindPunkt} {
		if _, err := find(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), variable) || !strings.Contains(err.Error(), "setup-metrics") {
			t.Errorf("%s: %v", variable, err)
		}
	}
	t.Setenv("LONGFORM_WORDNET", "")
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	if err := os.MkdirAll(filepath.Join(cache, "longform"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tinyWordNet(t), filepath.Join(cache, "longform", "wordnet")); err != nil {
		t.Fatal(err)
	}
	if dir, err := FindWordNet(); err != nil || dir != filepath.Join(cache, "longform", "wordnet") {
		t.Errorf("%s, %v", dir, err)
	}
}

func TestDamagedData(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"a missing file": func(dir string) error { return os.Remove(filepath.Join(dir, "data.verb")) },
		"another version": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "data.adj"), []byte("  1 WordNet 3.1 Copyright\n"), 0o644)
		},
		"an empty index": func(dir string) error { return os.Truncate(filepath.Join(dir, "index.noun"), 80) },
	} {
		dir := tinyWordNet(t)
		if err := damage(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadWordNet(dir); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A cut data file leaves words without synonyms, as in NLTK, and harms nothing.
	dir := tinyWordNet(t)
	if err := os.Truncate(filepath.Join(dir, "data.noun"), 79); err != nil {
		t.Fatal(err)
	}
	wordnet, err := LoadWordNet(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s := (METEOR{Synonyms: wordnet}).ScoreWords([]string{"dog"}, []string{"hound"}); s != 0 {
		t.Errorf("%+v", s)
	}

	model := t.TempDir()
	for name, text := range map[string]string{"abbrev_types.txt": "mr\n", "sent_starters.txt": "the\n", "collocations.tab": "a\tb\n", "ortho_context.tab": "the\tmany\n"} {
		write(t, filepath.Join(model, name), text)
	}
	if _, err := LoadPunkt(model); err == nil || !strings.Contains(err.Error(), "ortho_context.tab:1") {
		t.Errorf("a damaged model: %v", err)
	}
}

// FuzzScores: no text breaks anything, a text against itself is perfect, and scores
// stay in their ranges.
func FuzzScores(f *testing.F) {
	f.Add("Mr. Smith isn't here... \"Why?\" he asked.", "he isn't — 3.5 \xff")
	f.Add("", ". . . .")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, score := range []float64{
			METEOR{}.Score(a, b), ROUGE(a, []string{b}, true).ROUGEL.F1, BLEU(a, b).Sentence() / 100, BLEU(a, b).Corpus() / 100,
			CHRF(a, b).Score() / 100,
		} {
			if !(score >= 0 && score <= 1+1e-9) {
				t.Errorf("%v of %q and %q", score, a, b)
			}
		}
		if len(fields(a)) > 0 && math.Abs(CHRF(a, a).Score()-100) > 1e-9 {
			t.Errorf("%q isn't itself: chrF %v", a, CHRF(a, a).Score())
		}
	})
}
