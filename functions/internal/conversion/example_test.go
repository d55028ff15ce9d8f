package conversion_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ponix/functions/internal/conversion"
)

func Example() {
	converter, err := conversion.New(conversion.Limits{Time: time.Second})
	if err != nil {
		panic(err)
	}
	in := conversion.Input{
		Payload:    []byte{0x01, 0x67, 0x01, 0x10, 0x02, 0x68, 0x83},
		ReceivedAt: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
		DeviceID:   "door",
	}
	for _, expression := range []string{
		`cayenne_lpp_decode(input)`,
		`{'celsius': double(input.i16be(2)) / 10.0, 'open': input.bits(48, 1) == 1, 'raw': hex(input), 'device': device.id}`,
		`{'humidity': cayenne_lpp_decode(input).humidity_2, 'at': received_at}`,
		`{'battery': input.u8(7)}`,
		`{'battery': voltage}`,
	} {
		result, err := converter.Convert(context.Background(), expression, in)
		var bad *conversion.Error
		if errors.As(err, &bad) {
			fmt.Println(bad.Reason, bad.Message)
			continue
		}
		text, err := result.AppendJSON(nil)
		if err != nil {
			panic(err)
		}
		fmt.Println(string(text))
	}
	// Output:
	// {"humidity_2":65.5,"temperature_1":27.2}
	// {"celsius":27.2,"device":"door","open":true,"raw":"01670110026883"}
	// {"at":"2026-03-04T05:06:07Z","humidity":65.5}
	// EVALUATION_FAILED u8(7) reads outside the payload: it takes 1 bytes, the length is 7
	// INVALID_EXPRESSION 1:13: undeclared reference to 'voltage' (in container '')
}
