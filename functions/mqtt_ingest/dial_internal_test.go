package mqttingest

import (
	"net/netip"
	"testing"
)

// TestPublic holds which addresses are somebody's in the public Internet.
func TestPublic(t *testing.T) {
	for _, yes := range []string{"8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "198.20.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "2a00:1450::1"} {
		if !public(netip.MustParseAddr(yes)) {
			t.Errorf("%s is taken for one that is not public", yes)
		}
	}
	for _, no := range []string{
		"127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
		"100.64.0.1", "198.18.0.1", "192.0.2.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::7f00:1", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "fec0::1", "2001:db8::1", "2002:7f00:1::", "64:ff9b::7f00:1",
	} {
		if public(netip.MustParseAddr(no)) {
			t.Errorf("%s is taken for public", no)
		}
	}
}
