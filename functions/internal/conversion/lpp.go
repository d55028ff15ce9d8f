package conversion

import (
	"errors"
	"reflect"
	"slices"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"ponix/functions/internal/cayenne"
)

// lppMap is the map of a Cayenne payload. It decodes a reading when it is asked
// for; what is rarely asked for is answered by an ordinary map.
type lppMap struct {
	readings []cayenne.Reading // sorted by key
	payload  int               // bytes
	whole    traits.Mapper     // nil until needed
	room     [8]cayenne.Reading
}

var _ traits.Mapper = (*lppMap)(nil)

// decodeCayenne is cayenne_lpp_decode.
func decodeCayenne(payload types.Bytes) ref.Val {
	m := &lppMap{payload: len(payload)}
	var err error
	if m.readings, err = cayenne.Scan(m.room[:0], payload); err != nil {
		return types.WrapErr(err)
	}
	return m
}

func (m *lppMap) all() traits.Mapper {
	if m.whole == nil {
		m.whole = types.NewStringInterfaceMap(types.DefaultTypeAdapter, cayenne.Map(m.readings))
	}
	return m.whole
}

// Find returns the value of a key. Only strings can be one.
func (m *lppMap) Find(key ref.Val) (ref.Val, bool) {
	s, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	for i := range m.readings {
		if m.readings[i].Key() == string(s) {
			return value(m.readings[i]), true
		}
	}
	return nil, false
}

// value is a reading as a CEL value.
func value(r cayenne.Reading) ref.Val {
	if n, ok := r.Number(); ok {
		if n.Scale == 0 {
			return types.Int(n.Unscaled)
		}
		return types.Double(n.Float64())
	}
	return types.DefaultTypeAdapter.NativeToValue(r.Value())
}

// Get returns the value of a key, or an error.
func (m *lppMap) Get(key ref.Val) ref.Val {
	if v, ok := m.Find(key); ok {
		return v
	}
	if s, ok := key.(types.String); ok {
		return types.WrapErr(errors.New("no such key: " + string(s)))
	}
	return types.NewErr("no such key of type %s", key.Type().TypeName())
}

// Contains tells whether there is a key.
func (m *lppMap) Contains(key ref.Val) ref.Val {
	s, ok := key.(types.String)
	return types.Bool(ok && slices.ContainsFunc(m.readings, func(r cayenne.Reading) bool { return r.Key() == string(s) }))
}

// Iterator goes through the keys in their order, so that two loops of an expression agree,
// and so do two evaluations. Other maps have no order.
func (m *lppMap) Iterator() traits.Iterator {
	keys := make([]string, len(m.readings))
	for i, r := range m.readings {
		keys[i] = r.Key()
	}
	return types.NewStringList(types.DefaultTypeAdapter, keys).Iterator()
}

func (m *lppMap) Size() ref.Val                    { return types.Int(len(m.readings)) }
func (m *lppMap) Type() ref.Type                   { return types.MapType }
func (m *lppMap) IsZeroValue() bool                { return len(m.readings) == 0 }
func (m *lppMap) Equal(other ref.Val) ref.Val      { return m.all().Equal(other) }
func (m *lppMap) Value() any                       { return m.all().Value() }
func (m *lppMap) ConvertToType(t ref.Type) ref.Val { return m.all().ConvertToType(t) }
func (m *lppMap) ConvertToNative(t reflect.Type) (any, error) {
	return m.all().ConvertToNative(t)
}
