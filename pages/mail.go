package pages

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
)

// letter is what the mail's templates are given: a mail without anything that
// could break a line, and the sentences that both forms of it have.
type letter struct {
	Mail
	Look *Look
	// Works says how long it works, Asked who asked.
	Works, Asked string
}

func renderMail(m Mail, look *Look) (subject, plain, rich string, err error) {
	l := newLetter(m, look)
	subject = "Sign in to " + l.Site
	if l.Code != "" {
		subject = l.Code + " is your sign-in code for " + l.Site
	}
	var out bytes.Buffer
	if err := look.templates.mailText.Execute(&out, l); err != nil {
		return "", "", "", fmt.Errorf("writing plain mail: %w", err)
	}
	plain = strings.TrimSpace(out.String()) + "\n"
	if look.templates.wrapped {
		plain = wrap(plain[:len(plain)-1]) + "\n"
	}
	out.Reset()
	if err := look.templates.mailHTML.Execute(&out, l); err != nil {
		return "", "", "", fmt.Errorf("writing HTML mail: %w", err)
	}
	return subject, plain, out.String(), nil
}

func newLetter(m Mail, look *Look) letter {
	for _, field := range []*string{&m.Site, &m.Email, &m.Code, &m.Link, &m.Network, &m.RequestID} {
		*field = oneWord(*field)
	}
	m.Browser = harmless(m.Browser)
	return letter{Mail: m, Look: look, Works: works(m), Asked: asked(m)}
}

func works(m Mail) string {
	what := "The code works"
	switch {
	case m.Code != "" && m.Link != "":
		what = "Code and link work"
	case m.Link != "":
		what = "The link works"
	}
	if m.ExpiresIn <= 0 {
		return what + " once."
	}
	return what + " once, for " + span(m.ExpiresIn) + " after this mail was sent."
}

func asked(m Mail) string {
	s := "Somebody asked for this mail"
	if m.Email != "" {
		s += " to " + m.Email
	}
	if m.Browser != "" {
		s += " with " + m.Browser
	}
	if m.Network != "" {
		s += " from the network address " + m.Network
	}
	if !m.Requested.IsZero() {
		s += " on " + stamp(m.Requested)
	}
	return s + "."
}

// oneWord takes blanks out of s, and marks that turn the direction of writing or
// are not seen at all: a line of its own could end the subject and begin a
// header, and where lines are wrapped, two words could forge the last one.
func oneWord(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}

// harmless keeps of a text that a stranger may have chosen what a browser's name
// needs: no address that a mail program would make into a link, no long speech.
func harmless(s string) string {
	const most = 60
	runes := []rune(s)
	for i, r := range runes {
		dot := r == '.' && i+1 < len(runes) && unicode.IsDigit(runes[i+1])
		if !dot && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("()-", r) {
			runes[i] = ' '
		}
	}
	runes = []rune(strings.Join(strings.Fields(string(runes)), " "))
	return strings.TrimSpace(string(runes[:min(len(runes), most)]))
}

// wrap breaks lines at blanks where they are longer than mail likes. Lines
// without one, such as links, stay whole, and so do those that begin with one,
// and the last line, which programs read.
func wrap(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines[:len(lines)-1] {
		if !strings.HasPrefix(line, " ") {
			lines[i] = wrapLine(line)
		}
	}
	return strings.Join(lines, "\n")
}

func wrapLine(line string) string {
	const width = 76
	var out strings.Builder
	column := 0
	for i, word := range strings.Fields(line) {
		if i > 0 && column+1+len(word) > width {
			out.WriteByte('\n')
			column = 0
		} else if i > 0 {
			out.WriteByte(' ')
			column++
		}
		out.WriteString(word)
		column += len(word)
	}
	return out.String()
}
