package cayenne

import (
	"fmt"
	"testing"
)

func BenchmarkScan(b *testing.B) {
	for _, n := range []int{4, 16, 64, 3072} {
		var payload []byte
		for i := range n {
			payload = append(payload, byte(i*7), []byte{0, 1, 2, 103, 104, 101}[i%6])
			payload = append(payload, make([]byte, []int{1, 1, 2, 2, 1, 2}[i%6])...)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dst := make([]Reading, 0, n)
			for b.Loop() {
				var err error
				if dst, err = Scan(dst[:0], payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
