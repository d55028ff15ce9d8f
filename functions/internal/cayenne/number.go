package cayenne

import "strconv"

// Number is an exact decimal, Unscaled / 10^Scale. A number of Scale 0 is an
// integer by its type; 27.0 °C is not, it has Scale 1.
type Number struct {
	Unscaled int64
	Scale    uint8 // at most 4
}

var powers = [...]int64{1, 10, 100, 1000, 10000}

// Float64 is the nearest double. A division of two integers that doubles hold
// is rounded once, so it is exactly that; a multiplication by 0.1 would not be.
func (n Number) Float64() float64 {
	return float64(n.Unscaled) / float64(powers[n.Scale])
}

// AppendJSON appends the shortest form, which has no exponent. A double reads
// back as Float64: no number here has more than 15 digits.
func (n Number) AppendJSON(dst []byte) []byte {
	whole, power := n.Unscaled, powers[n.Scale]
	if whole < 0 {
		dst = append(dst, '-')
		whole = -whole
	}
	part := whole % power
	dst = strconv.AppendInt(dst, whole/power, 10)
	if part == 0 {
		return dst
	}
	dst = append(dst, '.')
	for part != 0 {
		power /= 10
		dst = append(dst, '0'+byte(part/power))
		part %= power
	}
	return dst
}
