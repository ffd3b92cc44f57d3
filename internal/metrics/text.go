package metrics

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// isSpace is Python's str.isspace: where str.split cuts and what \s of the module re
// matches.
func isSpace(r rune) bool {
	return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f
}

// fields is Python's str.split().
func fields(text string) []string {
	return strings.FieldsFunc(text, isSpace)
}

// isWord is \w of Python's module regex (UTS 18): what NLTK's own patterns match.
func isWord(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_'
	}
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}

// isAlnum is \w of Python's module re.
func isAlnum(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsNumber(r) || r == '_'
}

func isUpper(r rune) bool { return unicode.IsUpper(r) || unicode.Is(unicode.Other_Uppercase, r) }
func isLower(r rune) bool { return unicode.IsLower(r) || unicode.Is(unicode.Other_Lowercase, r) }

// lower is Python's str.lower. It differs from strings.ToLower in two letters: a
// capital sigma at the end of a word becomes a final one, and the dotted capital I
// keeps its dot.
func lower(text string) string {
	if !strings.ContainsAny(text, "Σİ") {
		return strings.ToLower(text)
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == 'İ':
			b.WriteString("i\u0307")
		case r == 'Σ' && endsWord(text[:i], text[i+len("Σ"):]):
			b.WriteRune('ς')
		default:
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return b.String()
}

// endsWord is the condition Final_Sigma of Unicode, section 3.13.
func endsWord(before, after string) bool {
	ignored := func(r rune) bool {
		return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk) || strings.ContainsRune("'.:^`·՟״‘’․‧︓﹒﹕＇．：", r)
	}
	cased := func(r rune) bool { return isUpper(r) || isLower(r) || unicode.IsTitle(r) }
	last, _ := utf8.DecodeLastRuneInString(strings.TrimRightFunc(before, ignored))
	first, _ := utf8.DecodeRuneInString(strings.TrimLeftFunc(after, ignored))
	return cased(last) && !cased(first)
}
