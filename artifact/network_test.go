package artifact

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestReachOf(t *testing.T) {
	for in, want := range map[string]reach{
		"93.184.216.34": public, "2606:2800:220:1::1": public, "::ffff:93.184.216.34": public, "64:ff9b::5db8:d822": public,
		"10.0.0.1": private, "172.31.255.255": private, "192.168.1.1": private, "100.64.0.1": private, "fc00::1": private, "::ffff:10.0.0.1": private,
		"64:ff9b::a00:1": private, "2002:a00:1::": private, "198.18.0.1": private,
		"127.0.0.1": loopback, "127.1.2.3": loopback, "::1": loopback, "::ffff:127.0.0.1": loopback, "64:ff9b::7f00:1": loopback,
		"169.254.169.254": never, "::ffff:169.254.169.254": never, "fe80::1%eth0": never, "64:ff9b::a9fe:a9fe": never, "2002:a9fe:a9fe::1": never,
		"0.0.0.0": never, "::": never, "0.1.2.3": never, "255.255.255.255": never, "224.0.0.1": never, "ff02::1": never,
		"fd00:ec2::254": never, "100.100.100.200": never, "168.63.129.16": never,
	} {
		if got := reachOf(netip.MustParseAddr(in)); got != want {
			t.Errorf("reachOf(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestPermit(t *testing.T) {
	config := Config{PlainHTTP: []string{"dev.test:5000"}}.withDefaults()
	for _, c := range []struct {
		registry, at string // where the registry itself was found
		target, ip   string
		want         bool
	}{
		{"ghcr.io", "140.82.112.3", "blobs.example:443", "93.184.216.34", true},
		{"ghcr.io", "140.82.112.3", "blobs.example:443", "10.0.0.1", false},
		{"ghcr.io", "140.82.112.3", "blobs.example:443", "127.0.0.1", false},
		{"ghcr.io", "140.82.112.3", "blobs.example:443", "::1", false},
		{"ghcr.io", "140.82.112.3", "metadata.example:443", "169.254.169.254", false},
		{"ghcr.io", "140.82.112.3", "ghcr.io:8443", "10.0.0.1", true}, // the same host, wherever it is
		{"ghcr.io", "140.82.112.3", "ghcr.io:443", "169.254.169.254", false},
		{"ghcr.io", "140.82.112.3", "dev.test:5000", "192.168.0.1", true}, // a file of ours names it
		{"ghcr.io", "140.82.112.3", "dev.test:5001", "192.168.0.1", false},
		{"ghcr.io", "140.82.112.3", "dev.test:5000", "169.254.169.254", false},
		{"registry.corp", "10.0.0.1", "minio.corp:443", "10.9.9.9", true},
		{"registry.corp", "10.0.0.1", "s3.example:443", "93.184.216.34", true},
		{"registry.corp", "10.0.0.1", "localhost:443", "127.0.0.1", false},
		{"127.0.0.1:5000", "127.0.0.1", "localhost:6000", "127.0.0.1", true},
		{"127.0.0.1:5000", "127.0.0.1", "router.lan:443", "192.168.1.1", false},
	} {
		n := newNetwork(c.registry, &config)
		if err := n.permit(n.host, netip.MustParseAddr(c.at)); err != nil {
			t.Fatal(err)
		}
		err := n.permit(c.target, netip.MustParseAddr(c.ip))
		if (err == nil) != c.want || err != nil && !errors.Is(err, errForbidden) {
			t.Errorf("%s at %s, sent to %s at %s: %v, want allowed %t", c.registry, c.at, c.target, c.ip, err, c.want)
		}
	}
}

// TestNamesAreCheckedWhenTheyAreDialled: what a name resolves to is only known
// then, and not a byte may be sent before.
func TestNamesAreCheckedWhenTheyAreDialled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	config := Config{}.withDefaults()
	n := newNetwork("registry.example", &config)
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := n.dial(t.Context(), "tcp", "localhost:"+port)
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, errForbidden) {
		t.Errorf("dial: %v, want it refused", err)
	}
	n = newNetwork("localhost:"+port, &config)
	conn, err = n.dial(t.Context(), "tcp", "localhost:"+port)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "soon": 0, "-1": 0, "0": time.Second, "5": 5 * time.Second, "31": 30 * time.Second, "99999999999999999999": 0,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2026 03:04:00 GMT": time.Second, "Fri, 02 Jan 2099 03:04:00 GMT": 30 * time.Second,
	} {
		if got := retryAfter(in, now); got != want {
			t.Errorf("retryAfter(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestParseContentRange(t *testing.T) {
	for in, want := range map[string][3]int64{
		"bytes 0-0/10": {0, 0, 10}, "bytes 5-9/10": {5, 9, 10}, "bytes 5-9/*": {5, 9, -1},
		"": {}, "bytes 9-5/10": {}, "bytes 0-10/10": {}, "bytes -1-5/10": {}, "bytes */10": {}, "items 0-1/2": {},
	} {
		from, to, total, err := parseContentRange(in)
		if got := [3]int64{from, to, total}; got != want || (err != nil) != (want == [3]int64{}) {
			t.Errorf("parseContentRange(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:`+strings.Repeat("0", 64)+`","size":2},"layers":[]}`), "application/vnd.oci.image.manifest.v1+json")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"platform":null},{"platform":{"os":"linux"}}]}`), "application/vnd.oci.image.index.v1+json")
	f.Add([]byte(`{"a":{"b":[{}],"b":1}}`), "")
	c := New(Config{})
	f.Fuzz(func(t *testing.T, raw []byte, contentType string) {
		m, err := c.parseManifest(raw, contentType)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("raw text in %q", err)
			}
			return
		}
		for _, d := range append(m.layers, m.children...) {
			if !m.isIndex() && (d.Size < 0 || len(d.Digest.Hex()) != 64) {
				t.Errorf("let in %+v", d)
			}
		}
		m.platforms()
		_, _ = m.child(Host())
	})
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"os":"linux","created":null,"rootfs":{"diff_ids":[]},"config":{"Env":["A=b"],"Volumes":{"/x":{}},"Healthcheck":null}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := &manifest{config: descriptor{Digest: digest(raw), Size: int64(len(raw))}}
		if file, err := parseConfig(raw, m); err == nil {
			_ = file.check(Host())
			file.created()
			file.imageConfig()
		}
	})
}
