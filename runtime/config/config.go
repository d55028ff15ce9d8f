// Package config is how Ponix's parts are told where the infrastructure is.
//
// Each struct is one declaration for flags and environment: the field --nats-url
// is also PONIX_NATS_URL. Without any of them they find what `ponix up` started
// on this machine. Secrets come from the environment or from a file only, since
// anybody can read a command line.
package config

import (
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"sync"

	"github.com/alecthomas/kong"
)

// EnvPrefix is what the name of every environment variable starts with.
const EnvPrefix = "PONIX"

// Default returns a T whose fields have the defaults of their tags.
func Default[T any]() T {
	var t T
	k, err := kong.New(&t)
	if err == nil {
		_, err = k.Parse(nil)
	}
	if err != nil {
		panic(fmt.Sprintf("config: the defaults of %s: %v", reflect.TypeFor[T](), err))
	}
	return t
}

// Paths has a path that is empty be none, as every other variable that is set to nothing;
// kong takes it for the current directory.
func Paths() kong.Option {
	return kong.NamedMapper("path", kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		var path string
		if err := ctx.Scan.PopValueInto("file", &path); err != nil {
			return err
		}
		if path != "" {
			path = kong.ExpandPath(path)
		}
		target.SetString(path)
		return nil
	}))
}

// secret is lookupSecret with a fallback for where there is none.
func secret(name, file, fallback string) (string, error) {
	v, ok, err := lookupSecret(name, file)
	if !ok {
		v = fallback
	}
	return v, err
}

// Renewed returns what gives each new connection the value that read has by then, such as
// what is in a file. While read fails, the one before stays good, and the log says so. The
// error is that of the first.
func Renewed[T any](read func() (T, error)) (func() T, error) {
	value, err := read()
	var mu sync.Mutex
	var r renewal
	return func() T {
		mu.Lock()
		defer mu.Unlock()
		now, err := read()
		if r.tell(err); err == nil {
			value = now
		}
		return value
	}, err
}

// renewal is whether what was read last can be used.
type renewal struct{ failing bool }

// tell has the log tell of an error once, until there is none: whoever has changed a file
// would hear of it when what was there before is good no more.
func (r *renewal) tell(err error) {
	switch {
	case err != nil && !r.failing:
		slog.Warn("what has changed cannot be used; what was read before stays in use", "error", err)
	case err == nil && r.failing:
		slog.Info("what has changed can be used, and is in use from now on")
	}
	r.failing = err != nil
}

// lookupSecret reads the variable PONIX_<name>, or the file that
// PONIX_<name>_FILE names. The variable may be set to nothing beside a file.
func lookupSecret(name, file string) (value string, ok bool, err error) {
	if v, ok := os.LookupEnv(EnvPrefix + "_" + name); ok && (v != "" || file == "") {
		return v, true, nil
	}
	if file == "" {
		return "", false, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", false, &Error{EnvPrefix + "_" + name + "_FILE", err}
	}
	return strings.TrimRight(string(b), "\r\n"), true, nil
}

// Error is a setting that cannot be used. It names the variable.
type Error struct {
	Variable string
	Cause    error
}

func (e *Error) Error() string { return e.Variable + ": " + e.Cause.Error() }
func (e *Error) Unwrap() error { return e.Cause }
