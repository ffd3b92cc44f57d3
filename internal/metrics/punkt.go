package metrics

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A Punkt finds the ends of sentences (Kiss and Strunk, "Unsupervised Multilingual
// Sentence Boundary Detection", Computational Linguistics 32(4), 2006) as NLTK's
// PunktSentenceTokenizer does. The zero value is one without training, which knows no
// abbreviations; nil is the same. It may be used by several goroutines.
type Punkt struct {
	abbreviations map[string]bool
	collocations  map[[2]string]bool // of which the first ends with a period
	starters      map[string]bool    // words that often begin a sentence
	contexts      map[string]int     // in which a word was seen: bits as below
}

// Contexts of a word with an upper or lower case first letter.
const (
	upperInside = 1 << 2
	upperAny    = 1<<1 | upperInside | 1<<3
	lowerFirst  = 1 << 4
	lowerAny    = lowerFirst | 1<<5 | 1<<6
)

// FindPunkt returns the directory of NLTK's English model: what $LONGFORM_PUNKT names,
// or punkt in the user's cache of this program, or tokenizers/punkt_tab/english in one
// of NLTK's data directories. The error says how to get it; it is an fs.ErrNotExist.
func FindPunkt() (dir string, err error) {
	return findData("LONGFORM_PUNKT", "abbrev_types.txt", "Punkt model for English (abbrev_types.txt, ortho_context.tab, ...)",
		"punkt", "tokenizers/punkt_tab/english")
}

// LoadPunkt reads a model in the form of NLTK's package punkt_tab: abbrev_types.txt,
// sent_starters.txt, collocations.tab and ortho_context.tab.
func LoadPunkt(dir string) (*Punkt, error) {
	p := &Punkt{map[string]bool{}, map[[2]string]bool{}, map[string]bool{}, map[string]int{}}
	for _, file := range []struct {
		name    string
		columns int
		add     func(columns []string) error
	}{
		{"abbrev_types.txt", 1, func(c []string) error { p.abbreviations[c[0]] = true; return nil }},
		{"sent_starters.txt", 1, func(c []string) error { p.starters[c[0]] = true; return nil }},
		{"collocations.tab", 2, func(c []string) error { p.collocations[[2]string{c[0], c[1]}] = true; return nil }},
		{"ortho_context.tab", 2, func(c []string) (err error) { p.contexts[c[0]], err = strconv.Atoi(c[1]); return err }},
	} {
		path := filepath.Join(dir, file.name)
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading the Punkt model: %w", err)
		}
		number := 0
		for line := range bytes.Lines(text) {
			number++
			columns := strings.Split(strings.TrimSuffix(string(line), "\n"), "\t")
			if len(columns) != file.columns || file.add(columns) != nil {
				return nil, fmt.Errorf("%s:%d is %q, not a line of a Punkt model; install it again", path, number, line)
			}
		}
	}
	return p, nil
}

// Sentences cuts a text into sentences, without the space between them.
func (p *Punkt) Sentences(text string) []string {
	if p == nil {
		p = &Punkt{}
	}
	t := []rune(text)
	end := len(t)
	for end > 0 && isSpace(t[end-1]) {
		end--
	}
	var cuts [][2]int
	begin := 0
	for _, c := range candidates(t) {
		if p.hasBreak(string(t[c.begin:c.next])) {
			cuts = append(cuts, [2]int{begin, c.mark + 1})
			begin = c.rest
		}
	}
	return realign(t, append(cuts, [2]int{begin, max(begin, end)}))
}

// A candidate is a mark (. ? !) that may end a sentence: with the word before it,
// which begins at begin, and up to next, which is behind the word after it or behind
// the punctuation at once after it. If it does end one, the next begins at rest.
type candidate struct{ begin, mark, rest, next int }

// candidates finds them from left to right. Of several marks in one word the last
// stands for all.
func candidates(t []rune) []candidate {
	var all []candidate
	last := candidate{mark: -1}
	begin, stop := 0, 0 // of the word before the last mark
	for i, r := range t {
		if r != '.' && r != '?' && r != '!' || i+1 == len(t) {
			continue
		}
		c := candidate{mark: i, rest: i + 1, next: i + 2}
		if !nonWord(t[i+1]) {
			for c.rest < len(t) && unicode.IsSpace(t[c.rest]) {
				c.rest++
			}
			if c.rest == i+1 || c.rest == len(t) {
				continue
			}
			for c.next = c.rest; c.next < len(t) && !unicode.IsSpace(t[c.next]); {
				c.next++
			}
		}
		// The word begins after the last space since the last mark, if it is of ASCII
		// and not the text's first character.
		space := i - 1
		for space > stop && !strings.ContainsRune(" \t\n\r\v\f", t[space]) {
			space--
		}
		if space > stop {
			begin = space + 1
		}
		stop = i
		c.begin = begin
		if last.mark >= 0 && last.mark <= c.begin {
			all = append(all, last)
		}
		last = c
	}
	if last.mark >= 0 {
		all = append(all, last)
	}
	return all
}

// realign moves closing quotes and brackets from the beginning of a sentence to the
// end of the one before.
func realign(t []rune, cuts [][2]int) []string {
	var sentences []string
	moved := 0
	for i, cut := range cuts {
		begin, end := cut[0]+moved, cut[1]
		moved = 0
		if i+1 < len(cuts) {
			next := t[cuts[i+1][0]:cuts[i+1][1]]
			if closing, all := closes(next); closing > 0 {
				end, moved = cuts[i+1][0]+closing, all
			}
		}
		if begin < end {
			sentences = append(sentences, string(t[begin:end]))
		}
	}
	return sentences
}

// closes counts the quotes and brackets that a sentence begins with if a space, two
// dashes or nothing follows them, and the same together with the space.
func closes(t []rune) (closing, all int) {
	for i, r := range t {
		if !strings.ContainsRune("\"')]}‘’“”«»", r) {
			return 0, 0
		}
		all = i + 1
		for all < len(t) && unicode.IsSpace(t[all]) {
			all++
		}
		if all > i+1 || all == len(t) || hasPrefix(t[all:], "--") {
			return i + 1, all
		}
	}
	return 0, 0
}

// hasBreak tells whether a sentence ends within a piece of text.
func (p *Punkt) hasBreak(context string) bool {
	var tokens []punktToken
	for line := range strings.SplitSeq(context, "\n") {
		for _, word := range punktWords([]rune(line)) {
			tokens = append(tokens, p.token(word))
		}
	}
	for i := range len(tokens) - 1 {
		if p.breaks(tokens[i], tokens[i+1]) {
			return true
		}
	}
	return false
}

// A punktToken is a word with what the first pass sees in itself.
type punktToken struct {
	text         []rune
	kind         string // lower case, numbers are one
	breaks       bool   // probably ends a sentence
	abbreviation bool   // or an ellipsis
}

func (p *Punkt) token(text []rune) punktToken {
	word := string(text)
	t := punktToken{text: text, kind: lower(word)}
	if isNumber(text) {
		t.kind = "##number##"
	}
	switch {
	case word == "." || word == "?" || word == "!":
		t.breaks = true
	case len(text) > 1 && strings.Trim(word, ".") == "":
		t.abbreviation = true
	case strings.HasSuffix(word, ".") && !strings.HasSuffix(word, ".."):
		base := lower(strings.TrimSuffix(word, "."))
		t.abbreviation = p.abbreviations[base] || p.abbreviations[base[strings.LastIndexByte(base, '-')+1:]]
		t.breaks = !t.abbreviation
	}
	return t
}

// breaks tells whether a sentence ends with t: the second pass, with the sections of
// the paper.
func (p *Punkt) breaks(t, next punktToken) bool {
	if t.text[len(t.text)-1] != '.' {
		return t.breaks
	}
	kind, nextKind := t.kind, next.kind
	if len(kind) > 1 {
		kind = strings.TrimSuffix(kind, ".")
	}
	if next.breaks && len(nextKind) > 1 {
		nextKind = strings.TrimSuffix(nextKind, ".")
	}
	if p.collocations[[2]string{kind, nextKind}] {
		return false // 4.1.2
	}
	initial := len(t.text) == 2 && isWord(t.text[0]) && !unicode.Is(unicode.Nd, t.text[0])
	starts, sure := p.starts(next, nextKind)
	upper := isUpper(next.text[0])
	if t.abbreviation && !initial {
		if sure && starts || upper && p.starters[nextKind] {
			return true // 4.1.1, 4.1.3
		}
	}
	if initial || kind == "##number##" { // 4.3
		if sure && !starts || !sure && initial && upper && p.contexts[nextKind]&lowerAny == 0 {
			return false
		}
	}
	return t.breaks
}

// starts is the orthographic heuristic of section 4.1.1: whether the word begins a
// sentence, if the ways in which it was seen say so for sure.
func (p *Punkt) starts(t punktToken, kind string) (starts, sure bool) {
	if len(t.text) == 1 && strings.ContainsRune(";:,.!?", t.text[0]) {
		return false, true
	}
	seen := p.contexts[kind]
	if isUpper(t.text[0]) && seen&lowerAny != 0 && seen&upperInside == 0 {
		return true, true
	}
	if isLower(t.text[0]) && (seen&upperAny != 0 || seen&lowerFirst == 0) {
		return false, true
	}
	return false, false
}

// punktWords are the words of a line with their periods, other punctuation apart.
func punktWords(line []rune) [][]rune {
	var words [][]rune
	for i := 0; i < len(line); {
		if unicode.IsSpace(line[i]) {
			i++
			continue
		}
		end := i + multiChar(line[i:])
		if end == i {
			end = i + 1
			if !strings.ContainsRune("(\"`{[:;&#*@)}]-,", line[i]) {
				for !wordEnds(line[end:]) {
					end++
				}
			}
		}
		words = append(words, line[i:end])
		i = end
	}
	return words
}

// wordEnds tells whether no word goes on with t.
func wordEnds(t []rune) bool {
	ends := func(t []rune) bool {
		return len(t) == 0 || unicode.IsSpace(t[0]) || nonWord(t[0]) || multiChar(t) > 0
	}
	return ends(t) || t[0] == ',' && ends(t[1:])
}

// multiChar is the length of the dashes or the ellipsis, perhaps with spaces, at the
// beginning of t; 0 if there is none.
func multiChar(t []rune) int {
	if len(t) < 2 || t[0] != '-' && t[0] != '.' {
		return 0
	}
	n := 1
	for n < len(t) && t[n] == t[0] {
		n++
	}
	if n > 1 {
		return n
	}
	if t[0] == '-' {
		return 0
	}
	for n+1 < len(t) && unicode.IsSpace(t[n]) && t[n+1] == '.' {
		n += 2
	}
	if n < 5 {
		return 0
	}
	return n
}

// nonWord is what no word contains.
func nonWord(r rune) bool {
	return strings.ContainsRune(")\";}]*:@'({[‘’“”«»?!", r)
}

// isNumber: -?[.,]?\d[\d,.-]*\.?
func isNumber(t []rune) bool {
	if len(t) > 0 && t[0] == '-' {
		t = t[1:]
	}
	if len(t) > 0 && (t[0] == '.' || t[0] == ',') {
		t = t[1:]
	}
	digit := func(r rune) bool { return unicode.Is(unicode.Nd, r) }
	return len(t) > 0 && digit(t[0]) && !slices.ContainsFunc(t[1:], func(r rune) bool {
		return !digit(r) && r != ',' && r != '.' && r != '-'
	})
}
