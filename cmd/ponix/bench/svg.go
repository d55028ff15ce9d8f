package bench

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// chart is lines over one axis: a panel for each figure, side by side.
type chart struct {
	title, x string
	panels   []panel
}

type panel struct {
	title  string
	points []point // in the order of x
}

type point struct{ x, y, low, high float64 }

// Measures of the picture, in pixels.
const (
	panelWidth, panelHeight = 304, 260
	left, right, top, foot  = 48, 16, 74, 50
)

// scale maps values to pixels: evenly, or logarithmically where they span more than
// a power of ten. On the latter, 0 is a power below the smallest other value.
type scale struct {
	from, to   float64 // values
	start, end float64 // pixels
	log        bool
	zero       float64 // where 0 is
}

func newScale(values []float64, start, end float64) scale {
	s := scale{start: start, end: end, to: values[0], zero: math.Inf(1)}
	for _, v := range values {
		s.to = max(s.to, v)
		if v > 0 {
			s.zero = min(s.zero, v/10)
		}
	}
	s.from = s.to
	for _, v := range values {
		s.from = min(s.from, max(v, s.zero))
	}
	if s.log = s.to/s.from > 15; s.log {
		return s
	}
	s.from, s.to = 0, max(s.to*1.08, 1e-9)
	return s
}

// tens widens the scale to whole powers of ten.
func (s scale) tens() scale {
	if s.log {
		s.from, s.to = math.Pow(10, math.Floor(math.Log10(s.from))), math.Pow(10, math.Ceil(math.Log10(s.to)))
	}
	return s
}

func (s scale) at(v float64) float64 {
	part := (v - s.from) / (s.to - s.from)
	if s.log {
		part = math.Log(max(v, s.zero)/s.from) / math.Log(s.to/s.from)
	}
	return s.start + part*(s.end-s.start)
}

// ticks are some four round values.
func (s scale) ticks() (all []float64) {
	if s.log {
		for v := s.from; v <= s.to*1.001; v *= 10 {
			all = append(all, v)
		}
		return all
	}
	step := math.Pow(10, math.Floor(math.Log10(s.to)))
	for _, f := range []float64{0.2, 0.25, 0.5, 1, 2} {
		if s.to/(step*f) <= 5 {
			step *= f
			break
		}
	}
	for v := 0.0; v <= s.to; v += step {
		all = append(all, v)
	}
	return all
}

// short is a value in few characters: 250k, 1M.
func short(v float64) string {
	unit := ""
	switch {
	case v >= 1e6:
		v, unit = v/1e6, "M"
	case v >= 1e3:
		v, unit = v/1e3, "k"
	}
	digits := 0
	if v < 10 && v != math.Trunc(v) {
		digits = 1
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', digits, 64), ".0") + unit
}

const colours = "0969da cf222e 1a7f37 8250df" // one a panel

// svg draws the chart: light, whatever is around it.
func (c chart) svg() string {
	var b strings.Builder
	width := panelWidth * len(c.panels)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" font-family="-apple-system,'Segoe UI',Helvetica,Arial,sans-serif" font-size="11" fill="#59636e">`+"\n", width, panelHeight)
	fmt.Fprintf(&b, `<rect x="0.5" y="0.5" width="%d" height="%d" rx="6" fill="#fff" stroke="#d1d9e0"/>`+"\n", width-1, panelHeight-1)
	fmt.Fprintf(&b, `<text x="16" y="26" font-size="15" font-weight="600" fill="#1f2328">%s</text>`+"\n", html.EscapeString(c.title))
	for i, p := range c.panels {
		p.draw(&b, float64(i*panelWidth), c.x, "#"+strings.Fields(colours)[i])
	}
	return b.String() + "</svg>\n"
}

func (p panel) draw(b *strings.Builder, offset float64, axis, colour string) {
	var xs, ys []float64
	for _, at := range p.points {
		xs, ys = append(xs, at.x), append(ys, at.low, at.high)
	}
	x, y := newScale(xs, offset+left+14, offset+panelWidth-right-14), newScale(ys, panelHeight-foot, top).tens()
	fmt.Fprintf(b, `<text x="%.0f" y="50" font-weight="600" fill="%s">%s</text>`+"\n", offset+16, colour, html.EscapeString(p.title))
	for _, v := range y.ticks() {
		fmt.Fprintf(b, `<path d="M%.1f %.1fH%.1f" stroke="#e6eaef"/><text x="%.1f" y="%.1f" text-anchor="end">%s</text>`+"\n",
			offset+left, y.at(v), offset+panelWidth-right, offset+left-6, y.at(v)+4, short(v))
	}
	fmt.Fprintf(b, `<path d="M%.1f %dH%.1f" stroke="#818b98"/>`+"\n", offset+left, panelHeight-foot, offset+panelWidth-right)
	fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", offset+(left+panelWidth-right)/2, panelHeight-12, html.EscapeString(axis))
	var line, band strings.Builder
	for i, at := range p.points {
		fmt.Fprintf(&line, "%c%.1f %.1f", "ML"[min(i, 1)], x.at(at.x), y.at(at.y))
		fmt.Fprintf(&band, "%c%.1f %.1f", "ML"[min(i, 1)], x.at(at.x), y.at(at.high))
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x.at(at.x), panelHeight-foot+18, short(at.x))
	}
	for i := len(p.points) - 1; i >= 0; i-- {
		fmt.Fprintf(&band, "L%.1f %.1f", x.at(p.points[i].x), y.at(p.points[i].low))
	}
	fmt.Fprintf(b, `<path d="%sZ" fill="%s" opacity="0.15"/><path d="%s" fill="none" stroke="%[2]s" stroke-width="2"/>`+"\n", band.String(), colour, line.String())
	for _, at := range p.points {
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/><text x="%.1f" y="%.1f" text-anchor="middle" fill="#1f2328">%s</text>`+"\n",
			x.at(at.x), y.at(at.y), colour, x.at(at.x), y.at(at.high)-8, short(at.y))
	}
}
