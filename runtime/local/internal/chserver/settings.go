package chserver

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/ClickHouse/ch-go/proto"

	"ponix/runtime/local/internal/chdb"
)

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// apply makes the settings of a query those of the engine's session, where they would otherwise
// outlive it: what an earlier query set and this one does not goes back to what it was.
func (c *session) apply(q *proto.Query) error {
	want := map[string]string{}
	for _, s := range q.Settings {
		if !settingName.MatchString(s.Key) {
			return &chdb.Error{Code: codeUnknownSetting, Text: "DB::Exception: Unknown setting " + s.Key + ". (UNKNOWN_SETTING)"}
		}
		want[s.Key] = s.Value
		if s.Custom {
			want[s.Key] = unquote(s.Value)
		}
	}
	own := c.own()
	maps.DeleteFunc(want, func(name, _ string) bool { return name == "log_comment" }) // KILL QUERY needs ours
	change, reset := map[string]string{}, []string(nil)
	for name, value := range want {
		if old, set := c.settings[name]; !set || old != value {
			change[name] = value
		}
	}
	for name := range c.settings {
		if _, still := want[name]; still {
			continue
		}
		if value, mine := own[name]; mine {
			change[name] = value
		} else {
			reset = append(reset, name+" = DEFAULT")
		}
	}
	list := strings.Join(append(reset, assignments(change)...), ", ")
	if list == "" {
		return nil
	}
	if err := c.db.Exec("SET " + list); err != nil {
		return err
	}
	c.settings = want
	return nil
}

// assignments is the list of a SET statement, in a fixed order.
func assignments(settings map[string]string) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		list = append(list, name+" = "+quote(settings[name]))
	}
	return list
}

// params are the values of the query's {name:Type} placeholders.
func params(q *proto.Query) []chdb.Param {
	var out []chdb.Param
	for _, p := range q.Parameters {
		out = append(out, chdb.Param{Name: p.Key, Value: unquote(p.Value)})
	}
	return out
}

var quoting = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

// quote makes a string literal.
func quote(s string) string { return "'" + quoting.Replace(s) + "'" }

var nameQuoting = strings.NewReplacer(`\`, `\\`, "`", "\\`")

// quoteName makes an identifier.
func quoteName(s string) string { return "`" + nameQuoting.Replace(s) + "`" }

// unquote undoes the quoting of a field dump, the form that settings and parameters travel in
// (ClickHouse: src/Core/Field.cpp, FieldVisitorDump).
func unquote(s string) string {
	if len(s) < 2 || s[0] != '\'' || s[len(s)-1] != '\'' {
		return s
	}
	escapes := map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', '0': 0, 'b': '\b', 'f': '\f'}
	var out strings.Builder
	for s = s[1 : len(s)-1]; s != ""; s = s[1:] {
		char := s[0]
		if char == '\\' && len(s) > 1 {
			s = s[1:]
			char = s[0]
			if escaped, ok := escapes[char]; ok {
				char = escaped
			}
		}
		out.WriteByte(char)
	}
	return out.String()
}
