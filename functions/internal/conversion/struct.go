package conversion

import (
	"math"

	"google.golang.org/protobuf/types/known/structpb"

	"ponix/functions/internal/cayenne"
)

// Struct returns the result as protobuf's object. An integer beyond 2^53 becomes
// the nearest double there; Exact tells. Of the zero Result it is nil.
func (r Result) Struct() *structpb.Struct {
	if len(r.nodes) == 0 {
		return nil
	}
	numbers, objects := 0, 0
	for i := range r.nodes {
		switch n := &r.nodes[i]; {
		case n.isNumber():
			numbers++
		case n.kind == kindObject:
			objects++
		}
	}
	s := structs{
		nodes:   r.nodes[1:],
		values:  make([]structpb.Value, len(r.nodes)-1),
		numbers: make([]structpb.Value_NumberValue, numbers),
		objects: make([]structValue, objects),
	}
	return s.object(&r.nodes[0]).StructValue
}

// structValue is an object and what makes it a value.
type structValue struct {
	structpb.Value_StructValue
	object structpb.Struct
}

// structs makes messages of nodes. It allocates the many small ones together.
type structs struct {
	nodes   []node
	values  []structpb.Value
	numbers []structpb.Value_NumberValue
	objects []structValue
}

func (s *structs) object(n *node) *structpb.Value_StructValue {
	o := &s.objects[0]
	s.objects = s.objects[1:]
	fields := make(map[string]*structpb.Value, n.size)
	for range n.size {
		key := s.nodes[0].key
		fields[key] = s.value()
	}
	o.object.Fields = fields
	o.StructValue = &o.object
	return &o.Value_StructValue
}

// value makes a message of the next node and of what is in it.
func (s *structs) value() *structpb.Value {
	n, v := &s.nodes[0], &s.values[0]
	s.nodes, s.values = s.nodes[1:], s.values[1:]
	switch n.kind {
	case kindNull:
		v.Kind = &structpb.Value_NullValue{}
	case kindBoolean:
		v.Kind = &structpb.Value_BoolValue{BoolValue: n.bits != 0}
	case kindText:
		v.Kind = &structpb.Value_StringValue{StringValue: n.text}
	case kindObject:
		v.Kind = s.object(n)
	case kindList:
		items := make([]*structpb.Value, n.size)
		for i := range items {
			items[i] = s.value()
		}
		v.Kind = &structpb.Value_ListValue{ListValue: &structpb.ListValue{Values: items}}
	default:
		s.numbers[0].NumberValue = n.float64()
		v.Kind = &s.numbers[0]
		s.numbers = s.numbers[1:]
	}
	return v
}

func (n *node) isNumber() bool { return n.kind >= kindInteger && n.kind <= kindDouble }

// float64 is the nearest double of a number.
func (n *node) float64() float64 {
	switch n.kind {
	case kindUnsigned:
		return float64(n.bits)
	case kindDecimal:
		return cayenne.Number{Unscaled: int64(n.bits), Scale: n.scale}.Float64()
	case kindDouble:
		return math.Float64frombits(n.bits)
	}
	return float64(int64(n.bits))
}
