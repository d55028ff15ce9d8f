package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// format is how a command shows rows.
type format struct {
	Format string `default:"table" enum:"table,json" help:"How rows are shown: ${enum} (one JSON object a line)."`
}

// output writes for a person at a terminal, and plainly otherwise.
type output struct {
	io.Writer
	colour bool
	failed atomic.Pointer[error] // the first that a write failed with
}

func newOutput(f *os.File) *output {
	return &output{Writer: f, colour: term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""}
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil && !errors.Is(err, syscall.EPIPE) { // nobody reads any more
		o.failed.CompareAndSwap(nil, &err)
	}
	return n, err
}

// failure is the error of what was written so far, such as on a full disk.
func (o *output) failure() error {
	if err := o.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// The colours that are used, as ANSI escape codes.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (o *output) paint(code, s string) string {
	if !o.colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// unseen are the characters that act on a terminal, or change how what is around them reads,
// as those do that turn a text's direction. U+200C and U+200D, which some scripts are written
// with, do not.
func unseen(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) && !unicode.Is(unicode.Join_Control, r)
}

// plainly shows characters that are unseen as what they are: a name may have any.
func plainly(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if !strings.ContainsFunc(s, unseen) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unseen(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// table shows rows below a header. Cells are never cut.
func (o *output) table(header []string, rows [][]string) {
	header = slices.Clone(header)
	width := make([]int, len(header))
	for _, r := range append([][]string{header}, rows...) {
		for i := range r {
			r[i] = plainly(r[i])
			width[i] = max(width[i], utf8.RuneCountInString(r[i]))
		}
	}
	b := bufio.NewWriter(o)
	line := func(cells []string, code string) {
		for i, cell := range cells {
			if i < len(cells)-1 {
				cell += strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2)
			}
			if code != "" {
				cell = o.paint(code, cell)
			}
			b.WriteString(cell) //nolint:errcheck // see failure
		}
		b.WriteByte('\n') //nolint:errcheck // see failure
	}
	line(header, bold)
	for _, r := range rows {
		line(r, "")
	}
	b.Flush() //nolint:errcheck // see failure
}

// pairs shows names and values below each other.
func (o *output) pairs(kv ...string) {
	w := tabwriter.NewWriter(o, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(kv); i += 2 {
		fmt.Fprintf(w, "%s\t%s\n", plainly(kv[i]), plainly(kv[i+1]))
	}
	w.Flush() //nolint:errcheck // see failure
}

// json writes v as one line.
func (o *output) json(v any) error {
	e := json.NewEncoder(o)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
