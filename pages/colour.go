package pages

import (
	"fmt"
	"math"
	"strconv"
)

// colour is one of sRGB, each part from 0 to 1.
type colour [3]float64

var (
	black, white = colour{}, colour{1, 1, 1}
	// sheetLight and sheetDark are what buttons stand on.
	sheetLight, sheetDark = white, mustColour("#191d1b")
)

// palette are the colours of a button: itself, under the pointer, and its text.
type palette struct{ Accent, Over, On string }

// plainLight and plainDark are those of style.css.
var (
	plainLight = palette{"#1b6350", "#134a3b", "#ffffff"}
	plainDark  = palette{"#8fd6b9", "#abe4cc", "#08251a"}
)

func (p palette) variables() string {
	return "--accent:" + p.Accent + ";--accent-over:" + p.Over + ";--on-accent:" + p.On
}

func parseColour(text string) (colour, error) {
	var c colour
	if len(text) != 7 || text[0] != '#' {
		return c, fmt.Errorf("accent %q: write a colour as in \"#1b6350\"", text)
	}
	for i := range c {
		part, err := strconv.ParseUint(text[1+2*i:3+2*i], 16, 8)
		if err != nil {
			return c, fmt.Errorf("accent %q: write a colour as in \"#1b6350\"", text)
		}
		c[i] = float64(part) / 255
	}
	return c, nil
}

func mustColour(text string) colour {
	c, err := parseColour(text)
	if err != nil {
		panic(err)
	}
	return c
}

func (c colour) String() string {
	text := "#"
	for _, part := range c {
		text += fmt.Sprintf("%02x", int(math.Round(part*255)))
	}
	return text
}

// mix goes from c towards another colour, by a share from 0 to 1.
func (c colour) mix(other colour, share float64) colour {
	for i := range c {
		c[i] += (other[i] - c[i]) * share
	}
	return c
}

// luminance is the relative luminance of WCAG 2.2.
func (c colour) luminance() float64 {
	for i, part := range c {
		if part <= 0.04045 {
			c[i] = part / 12.92
		} else {
			c[i] = math.Pow((part+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2]
}

// contrast is the contrast ratio of WCAG 2.2, from 1 to 21.
func (c colour) contrast(other colour) float64 {
	a, b := c.luminance(), other.luminance()
	return (max(a, b) + 0.05) / (min(a, b) + 0.05)
}

// palette makes the colours of a button on the ground. The accent goes towards the
// end, black or white, until the ring of the focus, which has the same colour, is
// seen on the ground, and until black or white can be read on it under the pointer
// too.
func (c colour) palette(ground, end colour) palette {
	const step = 0.02
	for share := 0.0; share < 1; share += step {
		accent := c.mix(end, share)
		over, on := accent.mix(end, 0.2), white
		if on.contrast(accent) < black.contrast(accent) {
			on = black
		}
		if accent.contrast(ground) >= 3.1 && min(on.contrast(accent), on.contrast(over)) >= 4.6 {
			return palette{accent.String(), over.String(), on.String()}
		}
	}
	return palette{end.String(), end.mix(ground, 0.2).String(), ground.String()}
}
