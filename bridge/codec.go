package bridge

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// frame is a message left as it came.
type frame []byte

// passThrough leaves frames alone and gives everything else (reflection,
// health) to the codec for protobuf.
type passThrough struct{ encoding.CodecV2 }

func (p passThrough) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return mem.BufferSlice{mem.SliceBuffer(*f)}, nil
	}
	return p.CodecV2.Marshal(v)
}

func (p passThrough) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*frame); ok {
		*f = data.Materialize()
		return nil
	}
	return p.CodecV2.Unmarshal(data, v)
}
