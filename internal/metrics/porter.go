package metrics

import (
	"strings"
	"unicode/utf8"
)

// stem is Porter's algorithm ("An algorithm for suffix stripping", Program 14(3),
// 1980) with the changes of NLTK's PorterStemmer in its default mode. The word is in
// lower case.
func stem(word string) string {
	if s, ok := irregular[word]; ok {
		return s
	}
	if utf8.RuneCountInString(word) <= 2 {
		return word
	}
	word = step1a(word)
	word = step1b(word)
	if s, ok := strings.CutSuffix(word, "y"); ok && utf8.RuneCountInString(s) > 1 && !lastIsVowel(s) {
		word = s + "i" // step 1c
	}
	word = step2(word)
	word = replace(word, step3, 0)
	word = step4(word)
	return step5(word)
}

var irregular = map[string]string{
	"sky": "sky", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news",
	"innings": "inning", "inning": "inning", "outings": "outing", "outing": "outing",
	"cannings": "canning", "canning": "canning", "howe": "howe",
	"proceed": "proceed", "exceed": "exceed", "succeed": "succeed",
}

type suffixRule struct{ suffix, to string }

var (
	step2Rules = []suffixRule{
		{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"}, {"izer", "ize"}, {"bli", "ble"}, {"alli", "al"},
		{"entli", "ent"}, {"eli", "e"}, {"ousli", "ous"}, {"ization", "ize"}, {"ation", "ate"}, {"ator", "ate"}, {"alism", "al"},
		{"iveness", "ive"}, {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"}, {"iviti", "ive"}, {"biliti", "ble"}, {"fulli", "ful"},
	}
	step3 = []suffixRule{
		{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"}, {"ical", "ic"}, {"ful", ""}, {"ness", ""},
	}
	step4Rules = []suffixRule{
		{"al", ""}, {"ance", ""}, {"ence", ""}, {"er", ""}, {"ic", ""}, {"able", ""}, {"ible", ""}, {"ant", ""}, {"ement", ""}, {"ment", ""},
		{"ent", ""}, {"ion", ""}, {"ou", ""}, {"ism", ""}, {"ate", ""}, {"iti", ""}, {"ous", ""}, {"ive", ""}, {"ize", ""},
	}
)

// replace applies the first rule whose suffix the word has, if what is left has a
// measure above least.
func replace(word string, rules []suffixRule, least int) string {
	for _, r := range rules {
		if s, ok := strings.CutSuffix(word, r.suffix); ok {
			if measure(s) > least {
				return s + r.to
			}
			return word
		}
	}
	return word
}

func step1a(word string) string {
	if s, ok := strings.CutSuffix(word, "ies"); ok && utf8.RuneCountInString(s) == 1 {
		return s + "ie" // dies, but not flies
	}
	for _, r := range []suffixRule{{"sses", "ss"}, {"ies", "i"}, {"ss", "ss"}, {"s", ""}} {
		if s, ok := strings.CutSuffix(word, r.suffix); ok {
			return s + r.to
		}
	}
	return word
}

func step1b(word string) string {
	if s, ok := strings.CutSuffix(word, "ied"); ok {
		if utf8.RuneCountInString(s) == 1 {
			return s + "ie"
		}
		return s + "i"
	}
	if s, ok := strings.CutSuffix(word, "eed"); ok {
		if measure(s) > 0 {
			return s + "ee"
		}
		return word
	}
	s, ok := strings.CutSuffix(word, "ed")
	if !ok || !hasVowel(s) {
		if s, ok = strings.CutSuffix(word, "ing"); !ok || !hasVowel(s) {
			return word
		}
	}
	if strings.HasSuffix(s, "at") || strings.HasSuffix(s, "bl") || strings.HasSuffix(s, "iz") {
		return s + "e"
	}
	last, size := utf8.DecodeLastRuneInString(s)
	if before, _ := utf8.DecodeLastRuneInString(s[:len(s)-size]); before == last && !lastIsVowel(s) {
		if last == 'l' || last == 's' || last == 'z' {
			return s
		}
		return s[:len(s)-size]
	}
	if measure(s) == 1 && endsShort(s) {
		return s + "e"
	}
	return s
}

func step2(word string) string {
	if s, ok := strings.CutSuffix(word, "alli"); ok && measure(s) > 0 {
		return step2(s + "al")
	}
	if s, ok := strings.CutSuffix(word, "logi"); ok {
		if measure(s+"l") > 0 { // the l counts, for the sake of geologi
			return s + "log"
		}
		return word
	}
	return replace(word, step2Rules, 0)
}

func step4(word string) string {
	if s, ok := strings.CutSuffix(word, "ion"); ok && !strings.HasSuffix(s, "s") && !strings.HasSuffix(s, "t") {
		return word
	}
	return replace(word, step4Rules, 1)
}

func step5(word string) string {
	if s, ok := strings.CutSuffix(word, "e"); ok {
		if m := measure(s); m > 1 || m == 1 && !endsShort(s) {
			word = s
		}
	}
	if s, ok := strings.CutSuffix(word, "l"); ok && strings.HasSuffix(s, "l") && measure(s) > 1 {
		return s
	}
	return word
}

// isVowel tells it of a letter after one that was a vowel or not (or after none,
// which counts as a vowel): a, e, i, o, u, and a y after a consonant.
func isVowel(r rune, afterVowel bool) bool {
	switch r {
	case 'a', 'e', 'i', 'o', 'u':
		return true
	case 'y':
		return !afterVowel
	}
	return false
}

// measure is Porter's m: how often a consonant follows a vowel.
func measure(word string) int {
	m, vowel := 0, true
	for i, r := range word {
		now := isVowel(r, vowel)
		if vowel && !now && i > 0 {
			m++
		}
		vowel = now
	}
	return m
}

func hasVowel(word string) bool {
	vowel := true
	for _, r := range word {
		if vowel = isVowel(r, vowel); vowel {
			return true
		}
	}
	return false
}

func lastIsVowel(word string) bool {
	vowel := true
	for _, r := range word {
		vowel = isVowel(r, vowel)
	}
	return vowel
}

// endsShort is Porter's condition *o, consonant, vowel and a consonant other than w,
// x, y at the end, and with NLTK also a word of one vowel and one consonant.
func endsShort(word string) bool {
	var letters []rune
	var vowels []bool
	vowel := true
	for _, r := range word {
		vowel = isVowel(r, vowel)
		letters, vowels = append(letters, r), append(vowels, vowel)
	}
	n := len(letters)
	if n == 2 {
		return vowels[0] && !vowels[1]
	}
	return n > 2 && !vowels[n-3] && vowels[n-2] && !vowels[n-1] && !strings.ContainsRune("wxy", letters[n-1])
}
