package cayenne

import (
	"slices"
	"strconv"
	"strings"
)

// shape says how the bytes of a value are read.
type shape uint8

const (
	unknown  shape = iota
	number         // one number
	axes           // {x, y, z}
	position       // {latitude, longitude, altitude}
	boolean        // not zero is true
	moment         // seconds since 1970
	colour         // red, green, blue
	polyline       // {points: [{latitude, longitude}, …]}
)

// format is how the values of one type look on the wire.
type format struct {
	name   string
	shape  shape
	size   int   // bytes; of a polyline the least
	signed bool  // two's complement
	factor int64 // what a number is multiplied by before it is scaled; 0 means 1
	scale  uint8 // decimal places
}

// polylineMin is the size of a polyline of one point.
const polylineMin = 8

// formats is the table of types, indexed by the type byte.
var formats = [256]format{
	0:   {name: "digital_input", shape: number, size: 1},
	1:   {name: "digital_output", shape: number, size: 1},
	2:   {name: "analog_input", shape: number, size: 2, signed: true, scale: 2},
	3:   {name: "analog_output", shape: number, size: 2, signed: true, scale: 2},
	100: {name: "generic_sensor", shape: number, size: 4},
	101: {name: "illuminance", shape: number, size: 2},
	102: {name: "presence", shape: number, size: 1},
	103: {name: "temperature", shape: number, size: 2, signed: true, scale: 1},
	104: {name: "humidity", shape: number, size: 1, factor: 5, scale: 1},
	113: {name: "accelerometer", shape: axes, size: 6, scale: 3},
	115: {name: "barometer", shape: number, size: 2, scale: 1},
	116: {name: "voltage", shape: number, size: 2, scale: 2},
	117: {name: "current", shape: number, size: 2, scale: 3},
	118: {name: "frequency", shape: number, size: 4},
	120: {name: "percentage", shape: number, size: 1},
	121: {name: "altitude", shape: number, size: 2, signed: true},
	125: {name: "concentration", shape: number, size: 2},
	128: {name: "power", shape: number, size: 2},
	130: {name: "distance", shape: number, size: 4, scale: 3},
	131: {name: "energy", shape: number, size: 4, scale: 3},
	132: {name: "direction", shape: number, size: 2},
	133: {name: "unix_time", shape: moment, size: 4},
	134: {name: "gyrometer", shape: axes, size: 6, scale: 2},
	135: {name: "colour", shape: colour, size: 3},
	136: {name: "gps", shape: position, size: 9},
	142: {name: "switch", shape: boolean, size: 1},
	240: {name: "polyline", shape: polyline, size: polylineMin},
}

// order sorts keys without comparing them: the high byte is the place of the
// type's name among the names, the low byte that of the channel's digits among
// the digits of all channels. No name is the beginning of another.
type order uint16

// tables are what is derived from formats: a key for each type and channel, and
// what sorts them.
type tables struct {
	types    [256]uint16 // type → place of its name, times 256
	channels [256]uint8  // channel → place of its digits
	keys     []string    // order → key
}

var table = makeTables()

func makeTables() *tables {
	t := &tables{}
	var types, channels []int
	for i := range 256 {
		if formats[i].shape != unknown {
			types = append(types, i)
		}
		channels = append(channels, i)
	}
	slices.SortFunc(types, func(a, b int) int { return strings.Compare(formats[a].name, formats[b].name) })
	slices.SortFunc(channels, func(a, b int) int { return strings.Compare(strconv.Itoa(a), strconv.Itoa(b)) })
	for place, channel := range channels {
		t.channels[channel] = uint8(place)
	}
	for place, typ := range types {
		t.types[typ] = uint16(place) << 8
		for _, channel := range channels {
			t.keys = append(t.keys, formats[typ].name+"_"+strconv.Itoa(channel))
		}
	}
	return t
}
