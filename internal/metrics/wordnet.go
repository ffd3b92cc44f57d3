package metrics

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A WordNet is the English WordNet 3.0 as its dict files hold it. It keeps their text
// (28 MB) and parses an entry when it is asked for one, so that loading takes as long
// as reading the files. It doesn't change and may be used by several goroutines.
type WordNet struct {
	parts [4]partOfSpeech // noun, verb, adj, adv
}

type partOfSpeech struct {
	index, data []byte              // index.POS and data.POS, see wndb(5WN)
	exceptions  map[string][]string // POS.exc: base forms of an irregular form
	endings     []suffixRule        // of regular forms
}

// The endings that morphy(7WN) detaches, in NLTK's order.
var partsOfSpeech = [4]struct {
	name    string
	endings []suffixRule
}{
	{"noun", []suffixRule{{"s", ""}, {"ses", "s"}, {"ves", "f"}, {"xes", "x"}, {"zes", "z"}, {"ches", "ch"}, {"shes", "sh"}, {"men", "man"}, {"ies", "y"}}},
	{"verb", []suffixRule{{"s", ""}, {"ies", "y"}, {"es", "e"}, {"es", ""}, {"ed", "e"}, {"ed", ""}, {"ing", "e"}, {"ing", ""}}},
	{"adj", []suffixRule{{"er", ""}, {"est", ""}, {"er", "e"}, {"est", "e"}}},
	{"adv", nil},
}

// FindWordNet returns the directory that $LONGFORM_WORDNET names or the first that
// holds WordNet's dict files of: wordnet in the user's cache of this program, where
// Debian's package wordnet-base puts them, and NLTK's data directories. The error says
// how to get them; it is an fs.ErrNotExist.
func FindWordNet() (dir string, err error) {
	return findData("LONGFORM_WORDNET", "index.noun", "WordNet 3.0 (index.noun, data.noun, ...)",
		"wordnet", "corpora/wordnet", "/usr/share/wordnet")
}

// findData looks for a directory with a file in the places of NLTK's own search and ours.
func findData(variable, file, what, name, nltk string, places ...string) (string, error) {
	if dir := os.Getenv(variable); dir != "" {
		places = []string{dir}
	} else {
		if cache, err := os.UserCacheDir(); err == nil {
			places = append([]string{filepath.Join(cache, "longform", name)}, places...)
		}
		roots := filepath.SplitList(os.Getenv("NLTK_DATA"))
		if home, err := os.UserHomeDir(); err == nil {
			roots = append(roots, filepath.Join(home, "nltk_data"))
		}
		for _, root := range append(roots, "/usr/share/nltk_data", "/usr/local/share/nltk_data") {
			places = append(places, filepath.Join(root, nltk))
		}
	}
	for _, dir := range places {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%s in %s: %w; run make setup-metrics, or name its directory in %s", what, strings.Join(places, ", "), fs.ErrNotExist, variable)
}

// LoadWordNet reads the dict files of a directory: index, data and exc of noun, verb,
// adj and adv. Only WordNet 3.0 will do: another one gives other scores.
func LoadWordNet(dir string) (*WordNet, error) {
	w := &WordNet{}
	for i, part := range partsOfSpeech {
		var texts [3][]byte
		for j, pattern := range []string{"index.%s", "data.%s", "%s.exc"} {
			text, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf(pattern, part.name)))
			if err != nil {
				return nil, fmt.Errorf("reading WordNet: %w", err)
			}
			texts[j] = text
		}
		for j, name := range []string{"index.", "data."} {
			if licence := texts[j][:min(len(texts[j]), 4<<10)]; !bytes.Contains(licence, []byte("WordNet 3.0 Copyright")) {
				return nil, fmt.Errorf("%s isn't a file of WordNet 3.0, which METEOR's figures are made with", filepath.Join(dir, name+part.name))
			}
		}
		p := partOfSpeech{texts[0], texts[1], map[string][]string{}, part.endings}
		for line := range bytes.Lines(texts[2]) {
			if forms := strings.Fields(string(line)); len(forms) > 1 {
				p.exceptions[forms[0]] = forms[1:]
			}
		}
		w.parts[i] = p
	}
	if len(w.parts[0].entry("dog")) == 0 {
		return nil, errors.New("WordNet in " + dir + " has no dog: its files are damaged; install them again")
	}
	return w, nil
}

// eachSynonym calls found with every lemma of the synsets of a word, which is in lower
// case, and of its base forms: as wordnet.synsets of NLTK finds them. A lemma comes as
// often as synsets have it, in its own case, and several words have _ between them.
func (w *WordNet) eachSynonym(word string, found func(lemma []byte)) {
	for i := range w.parts {
		p := &w.parts[i]
		for _, form := range p.baseForms(word) {
			p.lemmas(form, found)
		}
	}
}

// baseForms are the forms of a word that the index has, itself first.
func (p *partOfSpeech) baseForms(word string) []string {
	forms := []string{word}
	if irregular, ok := p.exceptions[word]; ok {
		forms = append(forms, irregular...)
	} else {
		for _, r := range p.endings {
			if s, ok := strings.CutSuffix(word, r.suffix); ok {
				forms = append(forms, s+r.to)
			}
		}
	}
	var known []string
	for _, form := range forms {
		if !slices.Contains(known, form) && p.entry(form) != nil {
			known = append(known, form)
		}
	}
	return known
}

// entry is the line of a form in the index, without the form; nil if it has none. The
// lines are sorted by their bytes, those of the licence begin with a space.
func (p *partOfSpeech) entry(form string) []byte {
	low, high := 0, len(p.index)
	for low < high {
		begin := low + bytes.LastIndexByte(p.index[low:low+(high-low)/2], '\n') + 1
		line, _, _ := bytes.Cut(p.index[begin:high], []byte{'\n'})
		lemma, rest, _ := bytes.Cut(line, []byte{' '})
		switch strings.Compare(form, string(lemma)) {
		case 0:
			return rest
		case -1:
			high = begin
		default:
			low = min(begin+len(line)+1, high)
		}
	}
	return nil
}

// lemmas calls found with the lemmas of all synsets of a form that the index has.
func (p *partOfSpeech) lemmas(form string, found func(lemma []byte)) {
	// pos synset_cnt p_cnt [ptr_symbol...] sense_cnt tagsense_cnt synset_offset...
	entry := bytes.Fields(p.entry(form))
	synsets := 0
	if len(entry) > 1 {
		synsets, _ = strconv.Atoi(string(entry[1]))
	}
	for _, field := range entry[max(0, len(entry)-synsets):] {
		offset, err := strconv.Atoi(string(field))
		if err != nil || offset < 0 || offset >= len(p.data) {
			continue // as NLTK does, with a warning
		}
		// synset_offset lex_filenum ss_type w_cnt word lex_id [word lex_id...] ...
		synset := p.data[offset:]
		next := func() (field []byte) {
			field, synset, _ = bytes.Cut(synset, []byte{' '})
			return field
		}
		next()
		next()
		next()
		words, _ := strconv.ParseUint(string(next()), 16, 8)
		for range words {
			lemma, _, _ := bytes.Cut(next(), []byte{'('}) // galore(ip)
			found(lemma)
			next()
		}
	}
}
