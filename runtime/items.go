package runtime

import (
	"bytes"
	"encoding/json"
	"fmt"

	validatepb "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"ponix/runtime/wire"
)

// list is a field of a message that has so many items at most, by its rule.
type list struct {
	protoreflect.FieldDescriptor
	most int
}

func boundedLists(d protoreflect.MessageDescriptor) (lists []list) {
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		rules, _ := proto.GetExtension(f.Options(), validatepb.E_Field).(*validatepb.FieldRules)
		if most := rules.GetRepeated().GetMaxItems(); f.IsList() && most > 0 {
			lists = append(lists, list{f, int(most)})
		}
	}
	return lists
}

// tooMany tells of a list in an encoded message that is too long. That is looked for
// before the message is decoded: an item may have two bytes, and takes hundreds then, and
// thousands where it breaks rules of its own.
func (r *rules) tooMany(data []byte) *Violation {
	for _, l := range r.lists {
		if len(data) > 2*l.most && l.items(data) > l.most {
			return &Violation{Field: string(l.Name()), Description: fmt.Sprintf("must contain no more than %d item(s)", l.most), Reason: reasonOfRule("repeated.max_items")}
		}
	}
	return nil
}

// items counts those of a list, if not too many. What cannot be read is for the decoder
// to refuse.
func (l list) items(data []byte) (n int) {
	if wire.IsJSON(data) {
		return l.itemsOfJSON(data)
	}
	for len(data) > 0 {
		number, _, size := protowire.ConsumeField(data)
		if size < 0 {
			break
		}
		if number == l.Number() {
			n++
		}
		data = data[size:]
	}
	return n
}

func (l list) itemsOfJSON(data []byte) (n int) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.Token() //nolint:errcheck // it is the brace
	var skipped json.RawMessage
	for d.More() {
		name, err := d.Token()
		if err != nil {
			break
		}
		if name != l.JSONName() && name != string(l.Name()) {
			if d.Decode(&skipped) != nil {
				break
			}
			continue
		}
		if open, err := d.Token(); err != nil || open != json.Delim('[') {
			break
		}
		for ; n <= l.most && d.More(); n++ {
			if d.Decode(&skipped) != nil {
				return n
			}
		}
		break
	}
	return n
}
