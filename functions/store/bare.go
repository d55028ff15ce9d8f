package store

import envelopev1 "ponix/proto/ponix/envelope/v1"

// AppendData appends the JSON text that an envelope has in ClickHouse. `ponix bench`
// makes the rows of its limit loop with it.
func AppendData(dst []byte, e *envelopev1.ProcessedEnvelope) ([]byte, error) {
	data, _, err := appendData(dst, e)
	return data, err
}
