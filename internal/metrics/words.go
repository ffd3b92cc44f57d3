package metrics

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// words is NLTK's word_tokenize: sentences by Punkt, then the words of each.
func words(text string, sentences *Punkt) []string {
	var all []string
	for _, sentence := range sentences.Sentences(text) {
		all = append(all, treebankWords(sentence)...)
	}
	return all
}

// treebankWords is NLTKWordTokenizer.tokenize, the Penn Treebank's conventions with
// some more kinds of quotes. Like the original it goes over the sentence once for each
// of its rules and puts spaces where a word ends; the order matters. The original's
// rules for 'tis and 'twas, and a second one for the final period, are left out: others
// have always done their work before.
func treebankWords(sentence string) []string {
	t := []rune(sentence)
	t = startingQuotes(t)
	t = punctuation(t)
	t = pad(t, "][(){}<>")
	t = padRuns(t, '-', 2, 2)
	t = slices.Concat([]rune{' '}, t, []rune{' '})
	t = endingQuotes(t)
	t = contractions(t)
	return fields(string(t))
}

func startingQuotes(t []rune) []rune {
	t = pad(t, "«“‘„")
	t = padRuns(t, '`', 1, len(t))
	if len(t) > 0 && t[0] == '"' {
		t = slices.Concat([]rune("``"), t[1:])
	}
	t = padRuns(t, '`', 2, 2)
	t = rewrite(t, `"'`, func(t []rune, i int) (to int, by string) {
		if i == 0 || !strings.ContainsRune(" ([{<", t[i-1]) {
			return 0, ""
		}
		if t[i] == '"' {
			return i + 1, " `` "
		}
		if i+1 < len(t) && t[i+1] == '\'' {
			return i + 2, " `` "
		}
		return 0, ""
	})
	// A quote before a word, unless it begins a contraction.
	return rewrite(t, "'", func(t []rune, i int) (to int, by string) {
		if i > 0 && isWord(t[i-1]) || i+1 == len(t) || !isWord(t[i+1]) {
			return 0, ""
		}
		for _, c := range []string{"re", "ve", "ll", "m", "t", "s", "d", "n"} {
			if end := i + 1 + len(c); hasFold(t[i+1:], c) && (end == len(t) || !isWord(t[end])) {
				return 0, ""
			}
		}
		return i + 1, "' "
	})
}

func punctuation(t []rune) []rune {
	t = finalPeriod(t)
	t = rewrite(t, ":,", func(t []rune, i int) (to int, by string) {
		if i+1 < len(t) && !unicode.Is(unicode.Nd, t[i+1]) {
			return i + 2, " " + string(t[i]) + " " + string(t[i+1])
		}
		return 0, ""
	})
	if n := len(t); n > 0 && (t[n-1] == ':' || t[n-1] == ',') {
		t = slices.Concat(t[:n-1], []rune{' ', t[n-1], ' '})
	}
	t = padRuns(t, '.', 2, len(t))
	t = pad(t, ";@#$%&\u2012\u2013\u2014\u2015")
	t = pad(t, "?!")
	t = rewrite(t, "'", func(t []rune, i int) (to int, by string) {
		if i > 0 && t[i-1] != '\'' && i+1 < len(t) && t[i+1] == ' ' {
			return i + 2, " ' "
		}
		return 0, ""
	})
	return pad(t, "*")
}

// finalPeriod cuts off the period that ends the sentence, if nothing but quotes and
// brackets follows it.
func finalPeriod(t []rune) []rune {
	at := len(t) - 1
	for at >= 0 && t[at] != '.' {
		at--
	}
	if at < 1 || t[at-1] == '.' {
		return t
	}
	end := at + 1
	for end < len(t) && strings.ContainsRune("])}>\"'»”’ ", t[end]) {
		end++
	}
	for _, r := range t[end:] {
		if !unicode.IsSpace(r) {
			return t
		}
	}
	return slices.Concat(t[:at], []rune(" . "), t[at+1:end], []rune{' '})
}

func endingQuotes(t []rune) []rune {
	t = pad(t, "»”’")
	t = padRuns(t, '\'', 2, 2)
	t = rewrite(t, `"`, func(t []rune, i int) (to int, by string) { return i + 1, " '' " })
	for i, r := range t {
		if unicode.IsSpace(r) {
			t[i] = ' '
		}
	}
	t = slices.CompactFunc(t, func(a, b rune) bool { return a == ' ' && b == ' ' })
	cut := func(suffixes ...string) {
		t = rewrite(t, "'nN", func(t []rune, i int) (to int, by string) {
			if i == 0 || t[i-1] == '\'' || t[i-1] == ' ' {
				return 0, ""
			}
			for _, s := range suffixes {
				if end := i + len(s); hasPrefix(t[i:], s) && end < len(t) && t[end] == ' ' {
					return end + 1, " " + s + " "
				}
			}
			return 0, ""
		})
	}
	cut("'s", "'S", "'m", "'M", "'d", "'D", "'")
	cut("'ll", "'LL", "'re", "'RE", "'ve", "'VE", "n't", "N'T")
	return t
}

// contractions separates words that are written as one (Robert MacIntyre's list).
func contractions(t []rune) []rune {
	for _, c := range []struct{ first, second string }{
		{"can", "not"}, {"d", "'ye"}, {"gim", "me"}, {"gon", "na"}, {"got", "ta"}, {"lem", "me"}, {"more", "'n"}, {"wan", "na"},
	} {
		t = rewrite(t, c.first[:1]+strings.ToUpper(c.first[:1]), func(t []rune, i int) (to int, by string) {
			middle, end := i+len(c.first), i+len(c.first)+len(c.second)
			if i > 0 && isAlnum(t[i-1]) || end >= len(t) || isAlnum(t[end]) || !hasFold(t[i:], c.first) || !hasFold(t[middle:], c.second) {
				return 0, ""
			}
			if c.first == "wan" && !isSpace(t[end]) {
				return 0, ""
			}
			return end, " " + string(t[i:middle]) + " " + string(t[middle:end]) + " "
		})
	}
	return t
}

// pad puts spaces around each of some characters.
func pad(t []rune, chars string) []rune {
	return rewrite(t, chars, func(t []rune, i int) (to int, by string) {
		return i + 1, " " + string(t[i]) + " "
	})
}

// padRuns puts spaces around runs of r, of which least to most make one.
func padRuns(t []rune, r rune, least, most int) []rune {
	return rewrite(t, string(r), func(t []rune, i int) (to int, by string) {
		end := i
		for end < len(t) && t[end] == r && end-i < most {
			end++
		}
		if end-i < least {
			return 0, ""
		}
		return end, " " + string(t[i:end]) + " "
	})
}

// rewrite goes over t from left to right and asks at each of some characters, t[i],
// whether t[i:to] becomes something else; if so, it goes on at to, which is otherwise
// 0. With nothing to do it returns t itself.
func rewrite(t []rune, chars string, match func(t []rune, i int) (to int, by string)) []rune {
	var ascii [utf8.RuneSelf]bool
	for _, r := range chars {
		if r < utf8.RuneSelf {
			ascii[r] = true
		}
	}
	var out []rune
	done := 0
	for i := 0; i < len(t); i++ {
		if r := t[i]; r < utf8.RuneSelf && !ascii[r] || r >= utf8.RuneSelf && !strings.ContainsRune(chars, r) {
			continue
		}
		if to, by := match(t, i); to > 0 {
			out = append(append(out, t[done:i]...), []rune(by)...)
			done, i = to, to-1
		}
	}
	if done == 0 {
		return t
	}
	return append(out, t[done:]...)
}

func hasPrefix(t []rune, prefix string) bool {
	return len(t) >= len(prefix) && string(t[:len(prefix)]) == prefix
}

// hasFold is hasPrefix in any case; the prefix is in lower case.
func hasFold(t []rune, prefix string) bool {
	if len(t) < len(prefix) {
		return false
	}
	for i, want := range prefix {
		r := t[i]
		if r == 'ſ' {
			r = 's'
		}
		if unicode.ToLower(r) != want {
			return false
		}
	}
	return true
}
