package cayenne

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	time.Local = time.FixedZone("elsewhere", 5*60*60) // of which nothing may be seen in a result
	m.Run()
}

type vector struct {
	Payload string          `json:"payload"`
	Data    json.RawMessage `json:"data"`
}

// vectors are payloads of the reference encoder with what went into them.
func vectors(t testing.TB) []vector {
	text, err := os.ReadFile("testdata/cayenne_lpp.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(text, &vs); err != nil {
		t.Fatal(err)
	}
	if len(vs) == 0 {
		t.Fatal("there are no vectors")
	}
	return vs
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// plain is JSON as Go values, every number a float64.
func plain(t testing.TB, text []byte) any {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		rs, err := Scan(nil, unhex(t, v.Payload))
		if err != nil {
			t.Errorf("%s: %v", v.Payload, err)
			continue
		}
		want := plain(t, v.Data)
		if got := appendJSON(nil, rs); !reflect.DeepEqual(plain(t, got), want) {
			t.Errorf("%s is\n%s, want\n%s", v.Payload, got, v.Data)
		}
		text, err := json.Marshal(Map(rs))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(plain(t, text), want) {
			t.Errorf("%s is the map\n%s, want\n%s", v.Payload, text, v.Data)
		}
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, payload, want string }{
		{"empty", "", `{}`},
		{"digital input", "00 00 ff", `{"digital_input_0":255}`},
		{"digital output", "ff 01 01", `{"digital_output_255":1}`},
		{"analog input", "01 02 80 00", `{"analog_input_1":-327.68}`},
		{"analog output", "01 03 ff ff", `{"analog_output_1":-0.01}`},
		{"generic sensor", "01 64 ff ff ff ff", `{"generic_sensor_1":4294967295}`},
		{"illuminance", "01 65 ff ff", `{"illuminance_1":65535}`},
		{"presence", "01 66 02", `{"presence_1":2}`},
		{"temperature", "03 67 01 10", `{"temperature_3":27.2}`},
		{"temperature, whole", "03 67 00 c8", `{"temperature_3":20}`},
		{"temperature, below zero", "03 67 ff ff", `{"temperature_3":-0.1}`},
		{"humidity", "01 68 ff", `{"humidity_1":127.5}`},
		{"accelerometer", "06 71 04 d2 fb 2e 00 00", `{"accelerometer_6":{"x":1.234,"y":-1.234,"z":0}}`},
		{"barometer", "01 73 ff ff", `{"barometer_1":6553.5}`},
		{"voltage", "01 74 ff ff", `{"voltage_1":655.35}`},
		{"current", "01 75 ff ff", `{"current_1":65.535}`},
		{"frequency", "01 76 ff ff ff ff", `{"frequency_1":4294967295}`},
		{"percentage", "01 78 64", `{"percentage_1":100}`},
		{"altitude", "01 79 80 00", `{"altitude_1":-32768}`},
		{"concentration", "01 7d ff ff", `{"concentration_1":65535}`},
		{"power", "01 80 ff ff", `{"power_1":65535}`},
		{"distance", "01 82 ff ff ff ff", `{"distance_1":4294967.295}`},
		{"energy", "01 83 00 00 00 01", `{"energy_1":0.001}`},
		{"direction", "01 84 01 67", `{"direction_1":359}`},
		{"unix time", "01 85 ff ff ff ff", `{"unix_time_1":"2106-02-07T06:28:15Z"}`},
		{"unix time zero", "01 85 00 00 00 00", `{"unix_time_1":"1970-01-01T00:00:00Z"}`},
		{"gyrometer", "01 86 80 00 7f ff 00 01", `{"gyrometer_1":{"x":-327.68,"y":327.67,"z":0.01}}`},
		{"colour", "01 87 0a ff 00", `{"colour_1":"#0AFF00"}`},
		{"gps", "01 88 06 76 5f f2 96 0a 00 03 e8", `{"gps_1":{"altitude":10,"latitude":42.3519,"longitude":-87.9094}}`},
		{"gps, below the sea", "01 88 80 00 00 7f ff ff ff ff ff", `{"gps_1":{"altitude":-0.01,"latitude":-838.8608,"longitude":838.8607}}`},
		{"switch on", "01 8e ff", `{"switch_1":true}`},
		{"switch off", "01 8e 00", `{"switch_1":false}`},
		{"polyline of one point", "01 f0 08 01 00 00 01 ff ff ff", `{"polyline_1":{"points":[{"latitude":0.0001,"longitude":-0.0001}]}}`},
		{"polyline with steps", "01 f0 0a e4 00 00 00 00 00 00 87 78", `{"polyline_1":{"points":[{"latitude":0,"longitude":0},{"latitude":0.0014,"longitude":-0.0016},{"latitude":-0.0002,"longitude":-0.0002}]}}`},
		{"polyline with the greatest factor", "01 f0 08 ef 7f ff ff 80 00 00", `{"polyline_1":{"points":[{"latitude":8388607,"longitude":-8388608}]}}`},
		{"a repeated key keeps the last", "01 00 01 02 00 05 01 00 02", `{"digital_input_1":2,"digital_input_2":5}`},
		{"one channel, two types", "01 01 01 01 00 02", `{"digital_input_1":2,"digital_output_1":1}`},
		{"keys are sorted as text", "02 00 00 0a 00 00 64 00 00 01 8e 00 01 02 00 00", `{"analog_input_1":0,"digital_input_10":0,"digital_input_100":0,"digital_input_2":0,"switch_1":false}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rs, err := Scan(nil, unhex(t, c.payload))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(appendJSON(nil, rs)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			text, err := json.Marshal(Map(rs))
			if err != nil || string(text) != c.want {
				t.Errorf("the map is %s, %v\nwant %s", text, err, c.want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, payload, want string }{
		{"unknown type", "01 00 01 01 05 00", "at byte 4: type 5 is unknown"},
		{"unknown type without a value", "01 ff", "at byte 1: type 255 is unknown"},
		{"trailing byte", "01 00 01 07", "at byte 3: a single byte is left, a channel without a type"},
		{"only one byte", "01", "at byte 0: a single byte is left, a channel without a type"},
		{"no value", "01 67", "at byte 1: temperature is cut short: it takes 2 bytes, 0 are left"},
		{"cut short", "01 00 01 02 88 01 02 03", "at byte 4: gps is cut short: it takes 9 bytes, 3 are left"},
		{"polyline without a size", "01 f0", "at byte 1: polyline is cut short: it takes 8 bytes, 0 are left"},
		{"polyline cut short", "01 f0 09 01 00 00 00 00 00 00", "at byte 1: polyline is cut short: it takes 9 bytes, 8 are left"},
		{"polyline without a factor", "01 f0 08", "at byte 1: polyline is cut short: it takes 8 bytes, 1 are left"},
		{"polyline too small", "01 f0 07 01 00 00 00 00 00", "at byte 2: polyline has size 7, the least is 8"},
		{"polyline of size 0", "01 f0 00", "at byte 2: polyline has size 0, the least is 8"},
		{"factor 200, cut short", "01 f0 08 c8", "at byte 3: polyline has the delta factor 200, which means nothing"},
		{"factor 0", "01 f0 08 00 00 00 00 00 00 00", "at byte 3: polyline has the delta factor 0, which means nothing"},
		{"factor 200", "01 f0 08 c8 00 00 00 00 00 00", "at byte 3: polyline has the delta factor 200, which means nothing"},
		{"factor 226", "01 f0 08 e2 00 00 00 00 00 00", "at byte 3: polyline has the delta factor 226, which means nothing"},
		{"factor 240", "01 f0 08 f0 00 00 00 00 00 00", "at byte 3: polyline has the delta factor 240, which means nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			kept := []Reading{{}}
			rs, err := Scan(kept, unhex(t, c.payload))
			var bad *Error
			if !errors.As(err, &bad) || err.Error() != "cayenne lpp: "+c.want {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			if len(rs) != 1 {
				t.Errorf("%d readings are left, want the one that was there", len(rs))
			}
			if m, err := Decode(unhex(t, c.payload)); m != nil || err == nil {
				t.Errorf("Decode returns %v, %v", m, err)
			}
		})
	}
}

// TestNumber proves that the text of a number is what encoding/json writes for
// its double, over every number that two bytes can hold.
func TestNumber(t *testing.T) {
	t.Parallel()
	for scale := range powers {
		for i := math.MinInt16; i <= math.MaxUint16; i++ {
			n := Number{int64(i), uint8(scale)}
			if got, want := string(n.AppendJSON(nil)), strconv.FormatFloat(n.Float64(), 'f', -1, 64); got != want {
				t.Fatalf("%+v is %s, its double is %s", n, got, want)
			}
			exact, err := strconv.ParseFloat(strconv.Itoa(i)+"e-"+strconv.Itoa(scale), 64)
			if err != nil || n.Float64() != exact {
				t.Fatalf("%+v is %v, the nearest double is %v (%v)", n, n.Float64(), exact, err)
			}
		}
	}
}

// TestFactors holds what each code of a polyline's factor stands for.
func TestFactors(t *testing.T) {
	t.Parallel()
	want := map[byte]int64{227: 1, 228: 2, 229: 5, 230: 10, 231: 20, 232: 50, 233: 100, 234: 200, 235: 500, 236: 1000, 237: 2000, 238: 5000, 239: 10000}
	for code := byte(1); code <= 199; code++ {
		want[code] = int64(code)
	}
	for code := range 256 {
		if got := factorOf(byte(code)); got != want[byte(code)] {
			t.Errorf("code %d stands for %d, want %d", code, got, want[byte(code)])
		}
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	if got, want := len(table.keys), 27*256; got != want {
		t.Errorf("there are %d keys, want %d", got, want)
	}
	if !slices.IsSorted(table.keys) {
		t.Error("keys are not sorted")
	}
}

// TestLastOfMany holds that of many readings with few keys, which are sorted, the last
// of each counts.
func TestLastOfMany(t *testing.T) {
	t.Parallel()
	var payload []byte
	want := map[string]any{}
	for i := range 200 {
		channel := byte(i * 7 % 5)
		payload = append(payload, channel, 102, byte(i))
		want[fmt.Sprintf("presence_%d", channel)] = float64(i)
	}
	rs, err := Scan(nil, payload)
	if err != nil {
		t.Fatal(err)
	}
	if got := plain(t, appendJSON(nil, rs)); !reflect.DeepEqual(got, any(want)) {
		t.Errorf("got %v, want %v", got, want)
	}
}
