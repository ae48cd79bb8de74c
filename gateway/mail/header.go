package mail

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// foldAt is the preferred length of a header line, in bytes (RFC 5322
	// allows 998 and recommends 78).
	foldAt = 76
	// wordBytes is how much text goes into one encoded word: with its frame
	// it stays below the 75 bytes of RFC 2047, and a line has room for it.
	wordBytes = 39
	// maxPlainWord is the longest word that is left as it is; a longer one
	// could not be folded.
	maxPlainWord = 60
)

// field renders one header field, folded, with its line end.
func field(name, value string) string {
	var b strings.Builder
	b.WriteString(name + ":")
	column := len(name) + 1
	for i, word := range strings.Fields(value) {
		if i > 0 && column+1+len(word) > foldAt {
			b.WriteString("\r\n")
			column = 0
		}
		b.WriteString(" " + word)
		column += 1 + len(word)
	}
	b.WriteString("\r\n")
	return b.String()
}

// unstructured encodes free text, such as a subject, for a header field.
func unstructured(s string) string {
	s = oneLine(s)
	if isPlain(s) {
		return s
	}
	return encodedWords(s)
}

// header renders the mailbox for a From field.
func (m mailbox) header() string {
	switch {
	case m.name == "":
		return m.address
	case isPlain(m.name):
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(m.name)
		return `"` + quoted + `" <` + m.address + ">"
	default:
		return encodedWords(m.name) + " <" + m.address + ">"
	}
}

// oneLine makes s valid UTF-8 on one line: runs of blanks and control
// characters become one blank.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.Join(strings.FieldsFunc(s, isBlank), " ")
}

func isControl(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }

func isBlank(r rune) bool { return isControl(r) || unicode.IsSpace(r) }

// isPlain tells whether s can stand in a header field unencoded: printable
// ASCII that nobody takes for an encoded word, and that can be folded.
func isPlain(s string) bool {
	if strings.Contains(s, "=?") {
		return false
	}
	for word := range strings.SplitSeq(s, " ") {
		if len(word) > maxPlainWord {
			return false
		}
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// encodedWords renders s in RFC 2047 words, cut between characters, never
// within one, as each word has to be valid by itself.
func encodedWords(s string) string {
	var words []string
	for s != "" {
		n := 0
		for n < len(s) {
			_, size := utf8.DecodeRuneInString(s[n:])
			if n+size > wordBytes {
				break
			}
			n += size
		}
		words = append(words, "=?utf-8?B?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, " ")
}
