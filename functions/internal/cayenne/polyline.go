package cayenne

// A polyline is: its size in bytes, itself included; the factor, as a code; the
// latitude and the longitude of the first point, 3 bytes each; then a byte a
// point, its low nibble the step in latitude, its high nibble that in longitude.
// All numbers are signed and count factor / 10000 degrees. This is what the
// encoder of ElectronicCats/CayenneLPP writes.

// Codes up to literalFactors mean themselves; those from firstFactor on are
// looked up.
const (
	literalFactors = 199
	firstFactor    = 227
)

var factors = [...]int64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000}

// factorOf returns what a code stands for; 0 is not a factor.
func factorOf(code byte) int64 {
	switch i := int(code) - firstFactor; {
	case code <= literalFactors:
		return int64(code)
	case i >= 0 && i < len(factors):
		return factors[i]
	}
	return 0
}

// checkPolyline checks what the size of the value does not: at is the offset of
// its first byte, which is there.
func checkPolyline(value []byte, at int) error {
	if size := value[0]; size < polylineMin {
		return errorAt(at, "polyline has size %d, the least is %d", size, polylineMin)
	}
	if len(value) > 1 && factorOf(value[1]) == 0 {
		return errorAt(at+1, "polyline has the delta factor %d, which means nothing", value[1])
	}
	return nil
}

// visitPolyline reports the points of a checked polyline.
func visitPolyline(key string, b []byte, v Visitor) {
	factor := factorOf(b[1])
	latitude, longitude := signed(b[2:5]), signed(b[5:8])
	point := func() {
		v.Object("", 2)
		v.Number("latitude", Number{latitude * factor, 4})
		v.Number("longitude", Number{longitude * factor, 4})
		v.End()
	}
	v.Object(key, 1)
	v.List("points", len(b)-polylineMin+1)
	point()
	for _, step := range b[polylineMin:] {
		latitude += int64(int8(step<<4) >> 4)
		longitude += int64(int8(step) >> 4)
		point()
	}
	v.End()
	v.End()
}
