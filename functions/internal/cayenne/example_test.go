package cayenne_test

import (
	"fmt"

	"ponix/functions/internal/cayenne"
)

func ExampleDecode() {
	fmt.Println(cayenne.Decode([]byte{0x03, 0x67, 0x01, 0x10, 0x05, 0x67, 0x00, 0xff}))
	fmt.Println(cayenne.Decode([]byte{0x03, 0x67, 0x01, 0x10, 0x05, 0x67, 0x00}))
	// Output:
	// map[temperature_3:27.2 temperature_5:25.5] <nil>
	// map[] cayenne lpp: at byte 5: temperature is cut short: it takes 2 bytes, 1 are left
}
