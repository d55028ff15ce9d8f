package runtime

import (
	"errors"
	"fmt"
	"strings"

	validatepb "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	validatev1 "ponix/proto/ponix/validate/v1"
	"ponix/runtime/wire"
)

// rules are those of a message in its .proto. Messages are left alone that have none, and
// those that have nothing but ids, all of them good: protovalidate takes 0.8 µs to find
// the one out and 1.1 µs for the other.
type rules struct {
	of        protoreflect.MessageDescriptor
	validator protovalidate.Validator
	some      bool   // there are some
	ids       []ids  // all of them: that these are ids; nil where there are others
	lists     []list // those that have a length at most
}

func rulesOf(v protovalidate.Validator, d protoreflect.MessageDescriptor) rules {
	return rules{d, v, hasRules(d, map[protoreflect.FullName]bool{}), onlyIDs(d), boundedLists(d)}
}

// violations holds m to the rules.
func (r *rules) violations(m proto.Message) ([]*Violation, error) {
	if !r.some || r.good(m.ProtoReflect()) {
		return nil, nil
	}
	err := r.validator.Validate(m, ruled)
	if err == nil {
		return nil, nil
	}
	var bad *protovalidate.ValidationError
	if !errors.As(err, &bad) {
		return nil, fmt.Errorf("the rules of %s: %w", r.of.FullName(), err)
	}
	var out []*Violation
	for _, x := range bad.Violations {
		out = append(out, &Violation{
			Field:       protovalidate.FieldPathString(x.Proto.GetField()),
			Description: describeViolation(r.of, x),
			Reason:      reasonOfRule(x.Proto.GetRuleId()),
		})
	}
	return out, nil
}

// reasonOfRule makes a reason of a rule's id: string.name becomes STRING_NAME.
func reasonOfRule(id string) string {
	return strings.ToUpper(strings.ReplaceAll(id, ".", "_"))
}

// describeViolation says what a field of d must be: where protovalidate speaks of its own
// rules, by the names that callers know.
func describeViolation(d protoreflect.MessageDescriptor, x *protovalidate.Violation) string {
	var names []string
	switch id := x.Proto.GetRuleId(); {
	case strings.HasPrefix(id, "enum.") && x.FieldDescriptor != nil:
		values := x.FieldDescriptor.Enum().Values()
		for i := range values.Len() {
			if v := values.Get(i); v.Number() != 0 {
				names = append(names, string(v.Name()))
			}
		}
		return "must be " + strings.Join(names, " or ")
	case id == "required":
		if o := d.Oneofs().ByName(protoreflect.Name(protovalidate.FieldPathString(x.Proto.GetField()))); o != nil {
			for i := range o.Fields().Len() {
				names = append(names, string(o.Fields().Get(i).Name()))
			}
			return "must be set: " + strings.Join(names, " or ")
		}
	}
	return x.Proto.GetMessage()
}

// ruled keeps the validator out of google.protobuf.Struct, which can have no rules
// inside and is expensive to walk; a field that is one may have rules itself.
var ruled = protovalidate.WithFilter(protovalidate.FilterFunc(func(_ protoreflect.Message, d protoreflect.Descriptor) bool {
	f, ok := d.(protoreflect.FieldDescriptor)
	if !ok || f.Kind() != protoreflect.MessageKind || f.Message().FullName() != "google.protobuf.Struct" {
		return true
	}
	return proto.HasExtension(f.Options(), validatepb.E_Field)
}))

// hasRules tells whether there are rules in the .proto for a message, or for any
// that may be inside of it.
func hasRules(d protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) bool {
	if seen[d.FullName()] {
		return false
	}
	seen[d.FullName()] = true
	if proto.HasExtension(d.Options(), validatepb.E_Message) {
		return true
	}
	for i := range d.Oneofs().Len() {
		if proto.HasExtension(d.Oneofs().Get(i).Options(), validatepb.E_Oneof) {
			return true
		}
	}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if proto.HasExtension(f.Options(), validatepb.E_Field) || f.Message() != nil && hasRules(f.Message(), seen) {
			return true
		}
	}
	return false
}

// ids is a field that has an id, or a list of so many.
type ids struct {
	protoreflect.FieldDescriptor
	least, most uint64 // of a list
}

// idRule is all that is said of most fields that name something, and idsRule of lists of them.
func idRule() *validatepb.FieldRules {
	text := &validatepb.StringRules{}
	proto.SetExtension(text, validatev1.E_Id, true)
	return validatepb.FieldRules_builder{String: text}.Build()
}

func idsRule(least, most uint64) *validatepb.FieldRules {
	return validatepb.FieldRules_builder{Repeated: validatepb.RepeatedRules_builder{MinItems: &least, MaxItems: &most, Items: idRule()}.Build()}.Build()
}

// onlyIDs returns a message's fields that have rules, nil where one has another rule
// than that it is an id, or a list of them, or something else than a field has one.
func onlyIDs(d protoreflect.MessageDescriptor) (all []ids) {
	if proto.HasExtension(d.Options(), validatepb.E_Message) || d.Oneofs().Len() > 0 {
		return nil
	}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if f.Message() != nil {
			return nil
		}
		if !proto.HasExtension(f.Options(), validatepb.E_Field) {
			continue
		}
		rule, want := proto.GetExtension(f.Options(), validatepb.E_Field).(*validatepb.FieldRules), idRule()
		list := rule.GetRepeated()
		if f.IsList() {
			want = idsRule(list.GetMinItems(), list.GetMaxItems())
		}
		if !proto.Equal(rule, want) {
			return nil
		}
		all = append(all, ids{f, list.GetMinItems(), list.GetMaxItems()})
	}
	return all
}

// good tells whether nothing but ids is asked of m, and it has them. Where it is
// false protovalidate decides.
func (r *rules) good(m protoreflect.Message) bool {
	for _, f := range r.ids {
		v := m.Get(f.FieldDescriptor)
		if !f.IsList() {
			if !wire.IsID(v.String()) {
				return false
			}
			continue
		}
		l := v.List()
		if n := uint64(l.Len()); n < f.least || n > f.most {
			return false
		}
		for i := range l.Len() {
			if !wire.IsID(l.Get(i).String()) {
				return false
			}
		}
	}
	return r.ids != nil
}
