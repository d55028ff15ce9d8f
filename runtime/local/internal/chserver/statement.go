package chserver

import (
	"regexp"
	"strings"
)

// form is how a statement's result reaches the client.
type form uint8

const (
	command form = iota // none
	table               // one buffer
	stream              // block by block
	insert              // none; the client sends blocks
)

// statement is SQL with what this server has to know of it.
type statement struct {
	form form
	sql  string

	// Of an insert.
	target, columns, settings string
}

var (
	blank      = regexp.MustCompile(`^(?s:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)+`)
	insertHead = regexp.MustCompile(`(?is)^INSERT\s+INTO\s+(?:TABLE\s+)?((?:FUNCTION\s+)?(?:` + "`[^`]*`" + `|[^\s(` + "`" + `])+)\s*(\([^()]*\))?\s*(?:SETTINGS\s+((?:\w+\s*=\s*(?:'(?:\\.|[^'\\])*'|[^\s'(),;]+)\s*,?\s*)+))?(?:VALUES|FORMAT\s+(?:Native|Values))?\s*;?\s*$`)
	streams    = regexp.MustCompile(`(?i)^(?:(?:SELECT|WITH|FROM)\b|\()`)
	tables     = regexp.MustCompile(`(?i)^(?:SHOW|DESC|DESCRIBE|EXPLAIN|EXISTS|CHECK|VALUES)\b`)
	formatTail = regexp.MustCompile(`(?i)\sFORMAT\s+\w+\s*$`)
	totals     = regexp.MustCompile(`(?i)\bWITH\s+TOTALS\b`)
	quoted     = regexp.MustCompile("(?s)'(?:\\\\.|[^'\\\\])*'|\"(?:\\\\.|[^\"\\\\])*\"|`(?:\\\\.|[^`\\\\])*`|--[^\n]*|/\\*.*?\\*/")
)

// parse tells the forms apart by their first words, as a client would: the engine alone knows SQL.
func parse(sql string) statement {
	sql = sql[len(blank.FindString(sql)):]
	if m := insertHead.FindStringSubmatch(sql); m != nil {
		return statement{form: insert, sql: sql, target: m[1], columns: m[2], settings: m[3]}
	}
	s := statement{sql: sql}
	switch {
	case streams.MatchString(sql):
		s.form = stream
	case tables.MatchString(sql):
		s.form = table
	default:
		return s
	}
	s.sql = strings.TrimRight(s.sql, "; \t\r\n")
	s.sql = formatTail.ReplaceAllString(s.sql, "") // the protocol has one format
	return s
}

// totals says that the query has a WITH TOTALS, outside of quotes and comments.
func (s statement) totals() bool {
	return totals.MatchString(s.sql) && totals.MatchString(quoted.ReplaceAllString(s.sql, " '' "))
}
